"""The properties as a whole: each states a law of the contract, speaks of every trial, and holds for our layer."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from torch import Tensor

from patchify import Patchify
from properties import laws
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.cases.drawing import cases, draw_cases
from properties.cases.landmarks import landmarks
from properties.contract import CLAUSES
from properties.laws import LAWS
from properties.laws.law import Law, VacuousLaw, law
from properties.runs.plan import make_plan
from properties.trials.comparison import ROUNDED
from properties.trials.ending import Raised
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Inapplicable, Passed, Verdict

BY_NAME = {prop.name: prop for prop in LAWS}
HERE = tuple(prop for prop in LAWS if prop.runs_on("cpu"))
QUICK = tuple(prop for prop in HERE if prop.on in ("cases", "drawn"))


@pytest.mark.parametrize("name", BY_NAME)
def test_property_names_clauses_and_law(name: str) -> None:
    prop = BY_NAME[name]
    assert prop.clauses
    assert set(prop.clauses) <= set(CLAUSES)
    assert len(set(prop.clauses)) == len(prop.clauses)
    # A property is of one level.
    assert {CLAUSES[clause].level for clause in prop.clauses} == {prop.level}
    first = prop.statement.split("\n\n")[0]
    assert re.fullmatch(r"[A-Z`].*\.", first, flags=re.DOTALL)
    assert prop.on in ("cases", "drawn", "compiled", "histories", "copies", "huge", "outside")
    assert re.fullmatch(r"[a-z][a-z0-9_]+", name)


def test_every_clause_is_checked() -> None:
    checked = {clause for prop in LAWS for clause in prop.clauses}
    assert checked == set(CLAUSES)


def test_names_are_unique() -> None:
    assert [name for name, count in Counter(prop.name for prop in LAWS).items() if count > 1] == []


def test_every_family_is_registered() -> None:
    folder = Path(laws.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "law", "own", "retired"}
    assert files == {prop.judge.__module__.rpartition(".")[2] for prop in LAWS}


def test_reasons_name_properties() -> None:
    folder = Path(laws.__file__).parent
    texts = [path.read_text() for path in (*folder.glob("*.py"), folder.parent / "trials" / "trial.py")]
    groups = [named for text in texts for named in re.findall(r"\(see ([a-z0-9_, ]+)\)", text)]
    named = {name for group in groups for name in group.split(", ")} - {"the gradient properties"}
    assert len(named) > 5
    assert named <= set(BY_NAME)


# Before its backward pass torch's own faults are looked for, with a layer of its own.
PIXELS_APART = Case(Spec(1, 1, 1, 1, 2), Input(2, (4,)), backward=Backward(("input", "weight")))


@pytest.mark.parametrize("prop", QUICK, ids=lambda prop: prop.name)
@given(case=cases())
@example(case=PIXELS_APART)
@settings(max_examples=12)
def test_holds_for_our_layer(prop: Law, case: Case) -> None:
    with undisturbed("cpu"):
        verdict = prop(Trial(case, Patchify))
    assert isinstance(verdict, Passed | Inapplicable), verdict


@cache
def judged() -> dict[str, list[tuple[Case, Verdict]]]:
    """What every property says of our layer on one long sequence."""
    found: dict[str, list[tuple[Case, Verdict]]] = {prop.name: [] for prop in QUICK}
    for case in draw_cases("tests/families", 150):
        with undisturbed("cpu"):
            trial = Trial(case, Patchify)
            for prop in QUICK:
                found[prop.name].append((case, prop(trial)))
    return found


# What judges landmarks only says nothing of drawn cases.
OF_DRAWN_CASES = [prop for prop in QUICK if prop.name != "documented_examples"]


@pytest.mark.parametrize("prop", OF_DRAWN_CASES, ids=lambda prop: prop.name)
def test_says_something_of_many_trials(prop: Law) -> None:
    verdicts = judged()[prop.name]
    failures = [f"{verdict} on {case}" for case, verdict in verdicts if isinstance(verdict, Failed)]
    assert not failures, "\n".join(failures)
    assert sum(isinstance(verdict, Passed) for _, verdict in verdicts) >= 10


# These compare two runs of the layer. Ours computes the same again, bit for bit on most machines; the bound is for
# layers that need not, such as one that takes another kernel where no gradient is wanted, or for a larger batch.
RUN_TWICE = {
    "commutes_with_sample_permutation",
    "same_in_every_layout",
    "functional_call_agrees",
    "samples_independent",
    "huge_batch",
    "runs_hooks",
}


def test_no_bound_is_too_loose() -> None:
    """A bound that our layer comes nowhere near would let wrong values through."""
    errors: dict[str, float] = {}
    for name, verdicts in judged().items():
        found = [
            verdict.error_over_bound
            for _, verdict in verdicts
            if isinstance(verdict, Passed) and verdict.error_over_bound is not None
        ]
        if found:
            errors[name] = max(found)
    assert len(errors) > len(RUN_TWICE) + 10
    assert {name for name, error_over_bound in errors.items() if error_over_bound <= 1e-3} <= RUN_TWICE


def test_documented_examples_are_landmarks() -> None:
    verdicts = [BY_NAME["documented_examples"](Trial(case, Patchify)) for case in landmarks(("float64",)).values()]
    # Three examples, each with four fills.
    assert [type(verdict) for verdict in verdicts].count(Passed) == 12
    assert not any(isinstance(verdict, Failed) for verdict in verdicts)


@pytest.mark.parametrize("data_dim", [1, 2, 3])
def test_compiled_properties_hold_for_our_layer(data_dim: int) -> None:
    case = Case(
        Spec(3, 5, data_dim, 2, stride=3, bias=True),
        Input(2, (6, 9, 7)[:data_dim], "float32"),
        Fill("exact", 1000),
        backward=Backward(PARAMETERS_AND_INPUT, "random"),
        autocast="bfloat16",
    )
    compiled = [prop for prop in HERE if prop.on == "compiled"]
    with undisturbed("cpu"):
        trial = Trial(case, Patchify)
        verdicts = {prop.name: prop(trial) for prop in compiled}
    assert {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, Failed)} == {}
    # torch itself fails to compile some volumes of dynamic size.
    silent = {name for name, verdict in verdicts.items() if isinstance(verdict, Inapplicable)}
    assert silent <= ({"compiled_later_sizes", "no_recompilation"} if data_dim == 3 else set())


def test_a_law_that_expects_nothing_is_an_error_of_the_harness() -> None:
    def nothing(trial: Trial) -> None:
        """Says nothing."""
        trial.embed(trial.layer, trial.make_input(), "forward")

    with pytest.raises(VacuousLaw, match=r"^the law nothing expected nothing of 1D, 1 -> 1 channels"):
        law("C7")(nothing)(Trial(Case(), Patchify))


def test_law_must_have_clause_and_statement() -> None:
    def silent(trial: Trial) -> None:
        trial.expect(True, "it is not true")

    def stated(trial: Trial) -> None:
        """Holds."""
        trial.expect(True, "it is not true")

    for clauses, judge in ((("C7",), silent), ((), stated)):
        message = f"^the law {judge.__name__} must name its clauses and state itself in a docstring$"
        with pytest.raises(TypeError, match=message):
            law(*clauses)(judge)
    prop = law("C7", "C9")(stated)
    assert (prop.name, prop.clauses, prop.statement, prop.level, prop.on) == (
        "stated",
        ("C7", "C9"),
        "Holds.",
        "contract",
        "cases",
    )
    assert law("H3", on="drawn")(stated).level == "robust"


def test_what_is_raised_becomes_a_verdict() -> None:
    def holds(trial: Trial) -> None:
        """Holds."""
        trial.expect(True, "it is not true")

    def violated(trial: Trial) -> None:
        """Holds."""
        trial.expect(1 > 2, "one is not more than two", "here", observed=1, expected=2)

    def unjudged(trial: Trial) -> None:
        """Holds."""
        trial.close("values are wrong", trial.tokens, trial.expected_tokens, which=ROUNDED)

    def unusable(trial: Trial) -> None:
        """Holds."""
        trial.inapplicable("there is nothing to see")

    def raised(trial: Trial) -> None:
        """Holds."""
        raise Raised("forward", ValueError("no"))

    def broken(trial: Trial) -> None:
        """Holds."""
        raise ZeroDivisionError("a bug of the harness")

    trial = Trial(Case(), Patchify)
    assert law("C7")(holds)(trial) == Passed()
    assert law("C7")(violated)(trial) == Failed("one is not more than two", "here", "1", "2")
    assert law("C7")(unjudged)(trial) == Inapplicable("all values of this case are exact")
    assert law("C7")(unusable)(trial) == Inapplicable("there is nothing to see")
    expected = Failed("forward raised an exception", observed="ValueError: no", expected="no exception")
    assert law("C7")(raised)(trial) == expected
    # What the harness itself does wrong is no verdict on the layer.
    with pytest.raises(ZeroDivisionError, match=r"^a bug of the harness$"):
        law("C7")(broken)(trial)


class Padded(Patchify):
    """Right, but for large inputs it asks for more memory than there is."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] > 1:
            torch.empty(2**60, dtype=torch.uint8)
        return super().forward(x)


def test_memory_that_is_not_there_says_nothing_of_a_layer() -> None:
    for batch, expected in ((1, Passed), (2, Inapplicable)):
        trial = Trial(Case(input=Input(batch, (2,))), Padded)
        for name in ("runs_forward", "returns_tensor", "grid_shape", "values_exact", "homogeneous"):
            verdict = BY_NAME[name](trial)
            assert isinstance(verdict, expected)
            if isinstance(verdict, Inapplicable):
                assert verdict == Inapplicable("the layer asks for more memory than there is")


def test_plan_judges_every_property_somewhere() -> None:
    plan = make_plan(Patchify, cases=1, seed=7, levels=("contract", "robust"))
    assert {prop for shard in plan.shards for prop in plan.properties_of(shard)} == set(plan.properties)
    # Patchify is for everything, and nothing is outside of that.
    assert {prop for prop in HERE if prop not in plan.properties} == {prop for prop in HERE if prop.on == "outside"}


OVERFLOWING = Case(
    Spec(3, 12, 2, 2, stride=6), Input(2, (14, 14), "float16"), Fill("address"), backward=Backward(("weight",))
)


@pytest.mark.parametrize("prop", [prop for prop in HERE if prop.on != "compiled"], ids=lambda prop: prop.name)
def test_overflow_is_nobodys_fault(prop: Law) -> None:
    """The gradient of the weight is within the range of float16, twice the gradient is not."""
    assert not isinstance(prop.judge_case(OVERFLOWING, Patchify), Failed)
