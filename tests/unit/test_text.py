"""The report in a terminal: what is in a row, what was not reached, and where lines are folded."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from patchify import Patchify
from properties.failures.picture import FIRST_LINE
from properties.reports.text import WIDTH, folded_message, print_report
from properties.runs.plan import make_plan
from properties.runs.report import Report
from properties.runs.result import ShardResult, Tally

PLAN = make_plan(Patchify, cases=20, seed=7, only=["homogeneous", "additive_in_input"], strength=0)
HELD, FAILED = Tally(passed=10), Tally(passed=9, failed=1)


def printed(report: Report, *, verbose: bool = False) -> list[str]:
    text = io.StringIO()
    print_report(report, Console(file=text, width=WIDTH), verbose=verbose)
    return text.getvalue().splitlines()


def row(lines: list[str], name: str) -> str:
    (found,) = (line for line in lines if line.split()[:1] == [name])
    return " ".join(found.split()[1:])


def report_of(**tallies: Tally) -> Report:
    return Report(PLAN, (ShardResult("random0", cases=10, tallies=tallies),))


def test_what_a_run_that_ended_early_did_not_reach_has_not_failed() -> None:
    report = replace(report_of(homogeneous=FAILED), stopped="fail_fast")
    assert [report.outcome_of(name) for name in ("homogeneous", "additive_in_input")] == ["failed", "not reached"]
    lines = printed(report, verbose=True)
    assert row(lines, "additive_in_input").endswith("not reached")
    assert row(lines, "homogeneous").endswith("FAILED")
    assert not any("ran no check" in line for line in lines)


def test_in_a_whole_run_it_has() -> None:
    report = report_of(homogeneous=HELD)
    assert report.outcome_of("additive_in_input") == "no check"
    assert not report.passed
    assert row(printed(report), "relations").endswith("NO CHECK 1 of 2")


def test_family_is_the_sum_of_its_laws_and_no_better_than_the_worst() -> None:
    lines = printed(report_of(homogeneous=HELD, additive_in_input=FAILED))
    assert row(lines, "relations") == "(2) 20 0 FAILED 1 of 2"
    lines = printed(report_of(homogeneous=HELD, additive_in_input=Tally(passed=20, error_over_bound=0.25)))
    # The rule of three for the one that ran less.
    assert row(lines, "relations") == "(2) 30 0 0.250 3.0e-01 passed"


@pytest.mark.parametrize("verbose", [False, True])
def test_verdict_is_the_end(verbose: bool) -> None:
    report = report_of(homogeneous=HELD, additive_in_input=HELD)
    lines = printed(report, verbose=verbose)
    assert max(map(len, lines)) <= WIDTH
    verdict = next(i for i, line in enumerate(lines) if line.startswith("PASSED: "))
    assert " ".join(line.strip() for line in lines[verdict:]) == report.verdict_line


def test_messages_are_folded_but_what_is_copied_and_the_picture() -> None:
    words = " ".join(["word"] * 30)
    kept = [f"  as JSON   {words}", f"  record    {words}", f"  replay    {words}"]
    drawn = [f"   pixel, axis 0  {words}", "                 [1] ."]
    message = "\n".join([f"law failed: {words}", f"  cause     {words}", *kept, f"{FIRST_LINE}{words}", *drawn])
    lines = folded_message(message, WIDTH).splitlines()
    assert [line for line in lines if len(line) > WIDTH] == [*kept, drawn[0]]
    assert lines[-2:] == drawn
    assert " ".join(" ".join(lines).split()) == " ".join(message.split())
