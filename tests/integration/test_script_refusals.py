"""What no standalone script can show is refused, with the reason."""

from dataclasses import replace

import pytest

from properties.cases.case import Case, Fill, Input, Spec
from properties.failures.scripts import standalone_script
from properties.trials.implementation import CannotRun
from tests.helpers.scripts import CORRECT, FAILED


@pytest.mark.parametrize("name", ["here:make.<locals>.Layer", "here:<lambda>", "__main__:Layer"])
def test_layers_without_an_importable_name(name: str) -> None:
    with pytest.raises(CannotRun, match="no script can import") as refused:
        standalone_script("values_exact", name, "cpu", Case(), FAILED)
    assert name in str(refused.value)
    assert "define the layer at the top level of a module" in str(refused.value)


def test_unknown_property() -> None:
    with pytest.raises(CannotRun, match="there is no property 'nope'; the properties are constructs, "):
        standalone_script("nope", CORRECT, "cpu", Case(), FAILED)


# By property: a verdict, or a case, with which torch alone does not show the failure. Without these there is none.
WITHOUT_SCRIPT = {
    "feeds_position_embedding": (Case(), "nvsubquadratic's PositionEmbeddingND does not fit the output"),
    "uncovered_pixels_ignored": (Case(Spec(1, 1, 1, 1, 2), Input(1, (2,))), "words of another version"),
    "same_in_every_layout": (Case(), "words of another version"),
    "compiled_later_sizes": (Case(input=Input(1, (9,), "float16"), fill=Fill("wide")), "something is wrong"),
    "no_recompilation": (Case(input=Input(1, (9,), "float16"), fill=Fill("wide")), "something is wrong"),
}


@pytest.mark.parametrize("name", WITHOUT_SCRIPT)
def test_failures_without_a_script(name: str) -> None:
    case, what = WITHOUT_SCRIPT[name]
    with pytest.raises(CannotRun):
        standalone_script(name, CORRECT, "cpu", case, replace(FAILED, what=what))
