"""The pytest plugin, in sessions of its own: selection, table, messages, exit codes, xdist, no trace elsewhere."""

import re

import pytest

# Imported here, since a session in this process forgets the modules that it imports, and torch can be imported once.
import properties.pytest_plugin.contract_run  # noqa: F401
from tests.helpers.forked import run_forked
from tests.helpers.printed import unfolded

pytest_plugins = ["pytester"]

COMMAND = ("--pyargs", "properties", "-p", "no:cacheprovider")
# Everything that no test here is about is left out, so that each run is one shard of one cheap property.
CHEAP = (
    *("--patchify-cases", "20", "--patchify-seed", "7", "--patchify-strength", "0"),
    *("--patchify-only", "zero_input_gives_bias,homogeneous"),
)
LAYERS = """
import patchify

class Right(patchify.Patchify):
    pass

class BiasTwice(patchify.Patchify):
    def forward(self, x):
        tokens = super().forward(x)
        return tokens if self.conv.bias is None else tokens + self.conv.bias
"""


@pytest.fixture(autouse=True)
def _layers(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(layers=LAYERS)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest on the contract, in this process: importing torch takes longer than these runs."""
    return pytester.runpytest_inprocess(*COMMAND, *arguments)


def run_apart(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest on the contract up to where layers are judged, in a fork of this process."""
    return run_forked(pytester, *COMMAND, *arguments)


def table(result: pytest.RunResult) -> list[str]:
    """The section that the plugin prints, up to the verdict, unfolded."""
    lines = unfolded("\n".join(result.outlines))
    start = next(i for i, line in enumerate(lines) if re.fullmatch("=+ patchify contract =+", line))
    end = next(i for i, line in enumerate(lines) if re.match("(PASSED|FAILED): ", line) and i > start)
    return lines[start + 1 : end + 1]


def rows(lines: list[str]) -> list[tuple[str, str, str]]:
    """The laws of a table, their checks, and what came of them."""
    found = (re.fullmatch(r"  (\w+) +(\d+) .* (\w+) *", line) for line in lines)
    return [(row[1], row[2], row[3]) for row in found if row]


def test_passes(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*COMMAND, "-v", *CHEAP, "--patchify-implementation", "layers:Right")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "patchify: run seed 7: layers:Right on cpu, float64, float32, bfloat16, float16, level contract, "
            "20 random cases and the landmarks; from layers.py",
            "*test_contract.py::test_property[[]homogeneous-random0[]] PASSED*",
            "*test_contract.py::test_property[[]zero_input_gives_bias-random0[]] PASSED*",
        ]
    )
    lines = table(result)
    assert rows(lines) == [("homogeneous", "19", "passed"), ("zero_input_gives_bias", "19", "passed")]
    assert lines[-1] == "PASSED: layers:Right: 2 of 2 properties held in 38 checks on 20 cases (run seed 7)"


def test_fails_with_the_message(pytester: pytest.Pytester) -> None:
    arguments = (*CHEAP, "--patchify-implementation", "layers:BiasTwice", "-k", "zero_input_gives_bias")
    result = run(pytester, *arguments, "--patchify-regressions", "records")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "zero_input_gives_bias failed: 1 of 1 output values of a zero input are not the bias",
            "  where     sample 0, token (0), channel 0",
            "  observed  4",
            "  expected  2",
            "  replay    patchify-verify run --implementation layers:BiasTwice --seed 7 *",
        ]
    )
    # What was not selected is not in the table, and does not count as a property that ran no check.
    lines = table(result)
    assert any(line.startswith("relations (1) ") for line in lines)
    assert not any("homogeneous" in line for line in lines)
    assert lines[-1] == "FAILED: layers:BiasTwice: 0 of 1 properties held in 19 checks on 20 cases (run seed 7)"
    (record,) = (pytester.path / "records").iterdir()
    assert lines[-2] == f"zero_input_gives_bias: patchify-verify replay records/{record.name}"


def test_xdist_shares_a_fresh_seed_and_gives_the_same_table(pytester: pytest.Pytester) -> None:
    """Of a layer that passes, and of what is selected; what fails is shared in ``test_sessions``."""
    arguments = (
        *("--patchify-implementation", "layers:Right", "--patchify-cases", "20", "--patchify-strength", "0"),
        *("--patchify-only", "zero_input_gives_bias,homogeneous,right_after_any_history"),
        *("--patchify-dtypes", "float64", "-k", "not homogeneous"),
    )
    shared = run(pytester, *arguments, "-n", "2")
    found = re.search(r"^patchify: run seed (\d+): ", shared.stdout.str(), flags=re.MULTILINE)
    assert found
    alone = run(pytester, *arguments, "--patchify-seed", found[1])
    assert shared.parseoutcomes()["passed"] == alone.parseoutcomes()["passed"] > 1
    assert alone.ret == shared.ret == pytest.ExitCode.OK
    assert table(shared) == table(alone)
    verdict = rf"PASSED: layers:Right: 2 of 2 properties held in \d+ checks on \d+ cases \(run seed {found[1]}\)"
    assert re.fullmatch(verdict, table(alone)[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--patchify-implementation", "layers:Absent"),
            "ERROR: cannot import implementation 'layers:Absent': layers has no 'Absent'",
        ),
        (
            ("--patchify-implementation", "layers"),
            "ERROR: implementation must be of the form 'package.module:Name', got 'layers'",
        ),
        (("--patchify-device", "cuda:99"), "ERROR: device 'cuda:99' is not available: *"),
        (("--patchify-only", "nope"), "ERROR: only names 'nope', which is none of: constructs, *, H10"),
        (
            ("--patchify-dtypes", "int8"),
            "ERROR: dtypes names 'int8', which is none of: float64, float32, bfloat16, float16",
        ),
        (
            ("--patchify-expected-failure", "homogeneous"),
            "*error: argument --patchify-expected-failure: expected PROPERTY=REASON, got 'homogeneous'",
        ),
        (("--patchify-shards", "0"), "*error: argument --patchify-shards: expected a number, at least 1, got '0'"),
    ],
)
def test_usage_errors(pytester: pytest.Pytester, arguments: tuple[str, ...], message: str) -> None:
    result = run(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_expected_failure_is_an_xfail(pytester: pytest.Pytester) -> None:
    expected = (*CHEAP, "-rx", "--patchify-expected-failure", "zero_input_gives_bias=a known bug")
    result = run(pytester, *expected, "-k", "zero_input", "--patchify-implementation", "layers:BiasTwice")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(xfailed=1, deselected=1)
    result.stdout.fnmatch_lines(["XFAIL *zero_input_gives_bias-random0* - a known bug"])
    assert table(result)[-1] == (
        "PASSED: layers:BiasTwice: 0 of 1 properties held in 19 checks on 20 cases; 1 failed as expected (run seed 7)"
    )


def test_expected_failure_that_does_not_come_fails_the_run(pytester: pytest.Pytester) -> None:
    expected = (*CHEAP, "--patchify-expected-failure", "zero_input_gives_bias=a known bug")
    result = run(pytester, *expected, "--patchify-implementation", "layers:Right")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    lines = table(result)
    assert lines[-2] == "zero_input_gives_bias was expected to fail (a known bug), but passed 19 checks"
    assert lines[-1].startswith("FAILED: layers:Right: 2 of 2 properties held in 38 checks on 20 cases ")


def test_property_that_ran_no_check_fails_the_run(pytester: pytest.Pytester) -> None:
    arguments = (
        *("--patchify-cases", "1", "--patchify-seed", "7", "--patchify-strength", "0"),
        *("--patchify-only", "second_derivative_numerically"),
    )
    result = run(pytester, *arguments, "--patchify-dtypes", "float32")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert table(result)[-2] == "second_derivative_numerically ran no check: the case is not float64 (1)"
    assert table(result)[-1].startswith("FAILED: patchify:Patchify: 0 of 1 properties held in 0 checks on 1 cases ")


def test_wrong_oracle_stops_the_run(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from oracles import unfold
        right = unfold.forward
        unfold.forward = lambda *arguments: right(*arguments) + 1
        """
    )
    result = run_apart(pytester, *CHEAP, "--confcutdir", ".", "--rootdir", ".", "-c", "/dev/null", "-p", "conftest")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    output = result.stdout.str() + result.stderr.str()
    assert "could not run: the torch oracle in torch.int64 on a sequence with a remainder: tokens is" in output


def test_runs_of_other_tests_do_not_import_torch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_of_ours_is_loaded(request):
            assert request.config.pluginmanager.hasplugin("patchify_harness.plugin")
            ours = "properties.pytest_plugin.contract_run"
            assert {"torch", "numpy", "hypothesis.strategies", ours} & set(sys.modules) == set()
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert not any(line.startswith("patchify:") or "patchify contract" in line for line in result.outlines)


def test_options_are_listed_in_help(pytester: pytest.Pytester) -> None:
    result = run_forked(pytester, "--help")
    result.stdout.fnmatch_lines(["verifying implementations of Patchify:", "*--patchify-implementation=MODULE:NAME"])
