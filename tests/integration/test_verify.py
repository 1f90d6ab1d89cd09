"""``properties.verify``: what it takes, what it refuses, and what its report says."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from oracles import unfold
from oracles.agreement import OracleError
from patchify import Patchify
from properties import Report, VerificationFailed, print_report, verify
from properties.cases.case import DTYPES
from properties.cases.factors import LEVELS
from properties.cases.landmarks import landmarks
from properties.laws import LAWS
from properties.laws.law import Law
from properties.reports.json import report_json
from properties.runs.plan import make_plan
from properties.runs.result import Tally
from properties.runs.shard_names import is_compiled
from properties.runs.verify import run
from properties.trials.trial import Trial
from tests.helpers.printed import unfolded

LANDMARKS = len(landmarks())


class BiasTwice(Patchify):
    """Adds the bias once more."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens if self.conv.bias is None else tokens + self.conv.bias


def check(implementation: Any = Patchify, **changes: Any) -> Report:
    """A small run of one cheap property, in this process."""
    small = {"cases": 20, "seed": 7, "only": ["zero_input_gives_bias"], "strength": 0, "jobs": 0}
    arguments: dict[str, Any] = small | changes
    return verify(implementation, **arguments)


def test_report_of_a_correct_layer() -> None:
    report = verify(Patchify, cases=20, seed=7, only=["returns_tensor", "homogeneous"], strength=0)
    assert report.passed
    assert (report.failures, report.expected_failures, report.problems, report.stopped) == ((), (), (), None)
    assert report.seed == 7
    assert report.checks == {"returns_tensor": 20 + LANDMARKS, "homogeneous": 19}
    assert report.cases == 20 + LANDMARKS
    assert report.landmarks == tuple(landmarks())
    assert {axis: tuple(counts) for axis, counts in report.coverage.items()} == LEVELS
    assert {sum(counts.values()) for counts in report.coverage.values()} == {20 + LANDMARKS}
    assert report.verdict_line == (
        f"PASSED: patchify.layer:Patchify: 2 of 2 properties held in {39 + LANDMARKS} checks on {20 + LANDMARKS} cases "
        "(run seed 7)"
    )
    report.raise_if_failed()


def test_report_of_a_wrong_layer() -> None:
    report = check(BiasTwice)
    assert not report.passed
    (failure,) = report.failures
    assert failure.property == "zero_input_gives_bias"
    assert failure.case.spec.bias
    first = "zero_input_gives_bias failed: 1 of 1 output values of a zero input are not the bias"
    assert failure.message.splitlines()[0] == first
    assert failure.record is None
    assert report.problems == (first,)
    assert report.verdict_line == (
        "FAILED: tests.integration.test_verify:BiasTwice: 0 of 1 properties held in 19 checks on 20 cases (run seed 7)"
    )
    with pytest.raises(VerificationFailed, match=f"^{re.escape(report.verdict_line + chr(10) * 2 + failure.message)}$"):
        report.raise_if_failed()
    assert issubclass(VerificationFailed, AssertionError)


def test_dotted_name_and_callable_agree() -> None:
    by_name, by_class = check("patchify:Patchify"), check(Patchify)
    assert by_name.tallies == by_class.tallies
    assert (by_name.plan.name, by_class.plan.name) == ("patchify:Patchify", "patchify.layer:Patchify")
    assert by_name.plan.implementation is Patchify


@pytest.mark.parametrize("implementation", [Patchify, BiasTwice])
def test_same_seed_same_report(implementation: type[Patchify]) -> None:
    first, second = check(implementation), check(implementation)
    assert first.tallies == second.tallies
    assert first.coverage == second.coverage
    assert first.failures == second.failures
    assert check(implementation, seed=8).coverage != first.coverage


def test_fresh_seed_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    report = check(cases=1, seed=None)
    assert capsys.readouterr().out == f"run seed {report.seed}\n"
    again = check(cases=1, seed=report.seed)
    assert again.coverage == report.coverage
    assert capsys.readouterr().out == ""


def test_fresh_seeds_differ() -> None:
    assert len({make_plan(Patchify).seed for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        (["homogeneous"], ["homogeneous"]),
        (["empty_batch"], ["empty_batch"]),  # robust, but asked for
        (["C6"], ["default_stride_grid"]),
        (["C2", "same_in_every_layout", "C6"], ["rejects_data_dim", "default_stride_grid", "same_in_every_layout"]),
        (["H6"], [prop.name for prop in LAWS if "H6" in prop.clauses]),
        (["same_on_second_call"], ["right_after_any_history"]),  # what it was has become a history
    ],
)
def test_only(only: list[str], chosen: list[str]) -> None:
    assert [prop.name for prop in make_plan(Patchify, only=only).properties] == chosen


def test_levels() -> None:
    def levels(*names: str) -> set[str]:
        return {prop.level for prop in make_plan(Patchify, levels=names).properties}

    assert {prop.level for prop in make_plan(Patchify).properties} == {"contract"}
    assert (levels("robust"), levels("contract", "robust")) == ({"robust"}, {"contract", "robust"})
    assert make_plan(Patchify, levels=("contract", "robust")).properties == tuple(
        prop for prop in LAWS if prop.runs_on("cpu") and prop.on != "outside"
    )


def test_dtypes() -> None:
    report = check(dtypes=["float16"], only=["returns_tensor"])
    assert report.coverage["dtype"] == dict.fromkeys(DTYPES, 0) | {"float16": 20 + len(landmarks(["float16"]))}


def test_property_that_ran_no_check_fails_the_run() -> None:
    report = check(cases=0)
    assert not report.passed
    assert report.problems == ("zero_input_gives_bias ran no check: no case was run",)
    with pytest.raises(VerificationFailed, match=re.escape("\n\nzero_input_gives_bias ran no check: no case was run")):
        report.raise_if_failed()
    without_bias = verify(Patchify, cases=1, seed=7, only=["bias_gradient_bounded"], dtypes=["float64"], budget=1e-9)
    assert without_bias.problems == ("bias_gradient_bounded ran no check: no case was run",)


def test_error_of_the_harness_is_no_failure_of_the_layer() -> None:
    """The report says which line raised, and the run is no verdict."""

    def judge(trial: Trial) -> None:
        raise ZeroDivisionError("a bug\nin a law")

    broken = Law("broken", ("C7",), "Cannot be judged.", judge, on="drawn")
    plan = replace(make_plan(Patchify, cases=3, seed=7, strength=0, only=["homogeneous"]), properties=(broken,))
    report = run(plan, jobs=0)
    assert (report.passed, report.incomplete, report.failures) == (False, True, ())
    (line,) = report.problems
    told = r"the harness failed, in test_verify.py, line \d+: ZeroDivisionError: a bug in a law"
    assert re.fullmatch(rf"broken was not judged on 3 cases: {told}", line)


def test_laws_of_another_device_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A run of a level says which of its laws this device cannot show; one that names its laws leaves none out."""
    plan = make_plan(Patchify, cases=0, levels=("contract", "robust"))
    print_report(Report(plan, ()), Console(width=10_000))
    names = [prop.name for prop in LAWS if prop.device == "cuda"]
    assert names
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("not judged: "))
    assert line == "not judged: " + ", ".join(f"{name} (on cuda alone)" for name in names)
    assert not make_plan(Patchify, only=["homogeneous"]).left_out


def test_what_is_skipped_is_told() -> None:
    plan = make_plan(Patchify, only=["C12", "C7"], skip=["values_exact"], compile=False)
    compiled = [prop.name for prop in LAWS if prop.on == "compiled" and "C12" in prop.clauses]
    assert plan.left_out == {"values_exact": "skipped"} | dict.fromkeys(compiled, "it compiles")
    assert plan.properties
    assert not {prop.name for prop in plan.properties} & plan.left_out.keys()
    assert not any(is_compiled(shard) for shard in plan.shards)


def test_failure_that_was_expected() -> None:
    report = check(BiasTwice, expected_failures={"zero_input_gives_bias": "a known bug"})
    assert report.passed
    assert report.failures == ()
    assert [failure.property for failure in report.expected_failures] == ["zero_input_gives_bias"]
    assert report.verdict_line == (
        "PASSED: tests.integration.test_verify:BiasTwice: 0 of 1 properties held in 19 checks on 20 cases; "
        "1 failed as expected (run seed 7)"
    )


def test_failure_that_was_expected_and_did_not_come() -> None:
    report = check(expected_failures={"zero_input_gives_bias": "a known bug", "homogeneous": "another"})
    assert not report.passed
    assert report.problems == (
        "zero_input_gives_bias was expected to fail (a known bug), but passed 19 checks",
        "homogeneous was expected to fail, but was not run",
    )


def test_layer_that_ends_its_process_has_failed() -> None:
    """For ``verify`` too, which judges in other processes what they can import."""
    only = ["zero_input_gives_bias"]
    report = verify("tests.helpers.crashing:Segfaults", cases=8, seed=7, only=only, strength=0, dtypes=["float64"])
    (failure,) = report.failures
    assert failure.message.startswith("zero_input_gives_bias failed: process died (signal 11)\n")
    assert (report.passed, report.not_isolated, report_json(report)["not_isolated"]) == (False, "", None)


def test_what_no_other_process_can_import_is_judged_here(capsys: pytest.CaptureFixture[str]) -> None:
    """And the report says so."""

    class Local(Patchify):
        """Not found by its name."""

    for implementation, why in (
        (Local, "no other process can import tests.integration.test_verify:"),
        (
            lambda *given, **named: Patchify(*given, **named),
            "no other process can import tests.integration.test_verify:",
        ),
        (Patchify, "jobs is 0"),
    ):
        report = check(implementation, cases=2, jobs=0 if implementation is Patchify else None)
        assert report.passed
        assert report_json(report)["not_isolated"] == report.not_isolated
        assert report.not_isolated.startswith(why)
        print_report(report, Console(width=10_000))
        assert f"judged in this process, which a layer may end: {report.not_isolated}\n" in capsys.readouterr().out


def test_module_that_other_processes_would_not_find() -> None:
    made = ModuleType("made_in_this_process")
    sys.modules[made.__name__] = made
    try:
        exec("from patchify import Patchify\nclass Made(Patchify): pass", made.__dict__)
        assert not make_plan(made.Made).importable
    finally:
        del sys.modules[made.__name__]
    assert make_plan(BiasTwice).importable


def test_script_may_verify_without_a_guard(tmp_path: Path) -> None:
    """New processes must not run the script again, as those of multiprocessing do."""
    script = tmp_path / "script.py"
    script.write_text(
        "from properties import verify\n"
        "report = verify('patchify:Patchify', cases=2, seed=7, only=['homogeneous'], strength=0)\n"
        "print(report.passed, report.not_isolated)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True \n", "")


class Clock:
    """Ticks once whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


def test_budget_stops_between_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("properties.runs.engine.time", clock)
    monkeypatch.setattr("properties.runs.shard.time", clock)
    report = check(budget=10, jobs=0)
    # Looked at once at the start, then before the shard and every case: the deadline is at 11.
    assert (report.stopped, report.cases, report.checks) == ("budget", 8, {"zero_input_gives_bias": 8})
    assert report.passed
    assert re.search(
        r"; stopped by its budget after \d+ cases, in \d+ of \d+ shards \(run seed 7\)$", report.verdict_line
    )


def test_budget_that_runs_out_with_the_last_case_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("properties.runs.engine.time", clock)
    monkeypatch.setattr("properties.runs.shard.time", clock)
    # Looked at before the third case, at 5, and after it, at 6.
    report = check(cases=3, budget=4.5, jobs=0)
    assert (report.cases, report.stopped) == (3, None)


def test_fail_fast() -> None:
    only = ["zero_input_gives_bias", "homogeneous"]
    report = verify(BiasTwice, cases=60, seed=7, only=only, fail_fast=True, jobs=0)
    assert report.stopped == "fail_fast"
    assert report.tallies["zero_input_gives_bias"].failed == 1
    assert report.cases < 20
    assert not report.passed
    assert "; stopped at the first failure (run seed 7)" in report.verdict_line
    expected = {"zero_input_gives_bias": "a known bug"}
    assert check(BiasTwice, fail_fast=True, expected_failures=expected).cases == 20


def test_fail_fast_does_not_complain_of_what_did_not_run() -> None:
    def broken(*arguments: Any, **named: Any) -> Any:
        raise RuntimeError("no layer")

    report = verify(broken, cases=5, seed=7, only=["constructs", "homogeneous"], fail_fast=True)
    assert report.cases == 1
    assert report.problems == ("constructs failed: the constructor raised an exception",)


def test_shrinking_can_be_switched_off() -> None:
    (kept,) = check(BiasTwice, shrink=False).failures
    (small,) = check(BiasTwice).failures
    plan = make_plan(BiasTwice, cases=20, seed=7, only=["zero_input_gives_bias"])
    assert kept.case in plan.cases_of("random0").values()
    assert small.case.output_shape == (1, 1, 1)
    assert small.case not in plan.cases_of("random0").values()


@pytest.mark.parametrize("width", [30, 120])
def test_table_leaves_out_nothing(width: int) -> None:
    report = check(only=["zero_input_gives_bias"])
    many = Tally(passed=195_101_000, error_over_bound=0.5)
    result = replace(report.results[0], tallies={"zero_input_gives_bias": many})
    text = io.StringIO()
    print_report(replace(report, results=(result,)), Console(file=text, width=width), verbose=True)
    assert [line.split() for line in text.getvalue().splitlines() if "zero_input_gives_bias" in line] == [
        ["zero_input_gives_bias", "195101000", "0", "0.500", "1.5e-08", "passed"]
    ]


def test_records(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "records"
    (failure,) = check(BiasTwice, regressions=folder).failures
    assert list(folder.iterdir()) == [failure.record]
    assert failure.record is not None
    record = json.loads(failure.record.read_text())
    assert re.fullmatch(r"zero_input_gives_bias-[0-9a-f]{12}\.json", failure.record.name)
    assert record["cause"].startswith("the bias is added twice (measured with ")
    assert record["shard"] == "random0"
    assert (record["format"], record["property"], record["clauses"]) == (1, "zero_input_gives_bias", ["C7"])
    assert (record["implementation"], record["device"]) == ("tests.integration.test_verify:BiasTwice", "cpu")
    assert (record["case"], record["run_seed"]) == (failure.case.to_json(), 7)
    assert record["verdict"]["what"] == failure.message.splitlines()[0].partition(": ")[2]
    assert record["versions"]["torch"] == torch.__version__
    # The same failure gives the same file, known ones are replayed first and shown instead of larger ones, and a run
    # that passes deletes none.
    check(BiasTwice, regressions=str(folder))
    assert len(list(folder.iterdir())) == 1
    check(BiasTwice, regressions=folder, shrink=False)
    assert len(list(folder.iterdir())) == 1
    check(BiasTwice, regressions=folder / "other", shrink=False)
    assert len(list((folder / "other").iterdir())) == 1
    check(regressions=folder)
    assert len(list(folder.glob("*.json"))) == 1


def test_expected_failures_leave_no_record(tmp_path: Path) -> None:
    check(BiasTwice, regressions=tmp_path, expected_failures={"zero_input_gives_bias": "a known bug"})
    assert list(tmp_path.iterdir()) == []


def test_wrong_oracle_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    right: Callable[..., Tensor] = unfold.forward
    monkeypatch.setattr(unfold, "forward", lambda *arguments: right(*arguments) + 1)
    with pytest.raises(OracleError, match=r"^the torch oracle in torch\.int64 on a sequence with a remainder: tokens"):
        check(jobs=0)


def test_progress_is_shown_where_somebody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {"cases": 2, "seed": 7, "only": ["homogeneous"], "strength": 0, "jobs": 0}
    verify(Patchify, **asked)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    verify(Patchify, **asked)
    shown = capsys.readouterr()
    assert "1 of 1 shards, 2 cases, random cases" in shown.err
    assert shown.out == ""


def test_table_is_public(capsys: pytest.CaptureFixture[str]) -> None:
    report = verify(Patchify, cases=2, seed=7, only=["homogeneous"], strength=0, jobs=0)
    print_report(report, verbose=True)
    lines = unfolded(capsys.readouterr().out)
    assert any(line.startswith("  homogeneous ") for line in lines)
    assert lines[-1] == report.verdict_line
