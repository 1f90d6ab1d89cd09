"""``@parametrize_with_laws``: the laws as items of one's own tests."""

import pytest

# Imported here, since a session in this process forgets the modules that it imports, and torch can be imported once.
import properties.pytest_plugin.law_items  # noqa: F401
from properties import CannotRun, parametrize_with_laws
from tests.mutants.forward import BiasAddedTwice

pytest_plugins = ["pytester"]

MINE = """
import patchify
import pytest
from properties import Domain, parametrize_with_laws

OPTIONS = dict(cases=12, strength=0, scope_sample=200, seed=7, jobs=0)
OPTIONS["domain"] = Domain(data_dims=(1,), in_features=(1, 2))
OPTIONS["only"] = ["values_exact", "zero_input_gives_bias", "grid_shape", "commutes_with_axis_permutation"]

class BiasTwice(patchify.Patchify):
    def forward(self, x):
        tokens = super().forward(x)
        return tokens if self.conv.bias is None else tokens + self.conv.bias

@parametrize_with_laws({layer}, **OPTIONS{more})
def test_layer(law):
    law()
"""


def run(pytester: pytest.Pytester, layer: str, more: str = "") -> pytest.RunResult:
    pytester.makepyfile(test_mine=MINE.format(layer=layer, more=more))
    return pytester.runpytest_inprocess("-v", "-p", "no:cacheprovider", "-rs", "-W", "ignore")


def test_one_item_for_each_law(pytester: pytest.Pytester) -> None:
    result = run(pytester, "patchify.Patchify")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(["test_mine.py::test_layer[[]grid_shape[]] PASSED*"])
    result.stdout.fnmatch_lines(["SKIPPED * says nothing: there is one spatial axis*"])


def test_one_bug_fails_one_item(pytester: pytest.Pytester) -> None:
    result = run(pytester, "BiasTwice")
    result.assert_outcomes(passed=1, failed=1, skipped=2)
    result.stdout.fnmatch_lines(["values_exact failed: * of * output values differ from unfold + matmul"])
    result.stdout.fnmatch_lines(["SKIPPED * fails for the same cause as values_exact: the bias is added twice"])


def test_expected_failures_are_strict(pytester: pytest.Pytester) -> None:
    result = run(pytester, "BiasTwice", ', expected_failures={"values_exact": "known", "grid_shape": "no longer"}')
    result.assert_outcomes(xfailed=1, failed=1, skipped=2)
    result.stdout.fnmatch_lines(["[[]XPASS(strict)[]] no longer"])


def test_names_are_checked() -> None:
    with pytest.raises(CannotRun, match="expected_failures names 'values_exat', which is none of: constructs, "):
        parametrize_with_laws(BiasAddedTwice, expected_failures={"values_exat": "a slip"})
    with pytest.raises(TypeError, match="parametrize_with_laws has no option case"):
        parametrize_with_laws(BiasAddedTwice, case=3)
    with pytest.raises(TypeError, match="expected_failures names homogeneous, which is not judged here"):
        parametrize_with_laws(BiasAddedTwice, only=["C8"], expected_failures={"homogeneous": "not here"})
