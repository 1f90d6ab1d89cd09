"""The report as JSON, for other programs and for its page: ``report.schema.json`` describes it."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from properties.cases.case import DTYPES
from properties.cases.small_scope import bounds
from properties.contract import CLAUSES
from properties.failures.compared import compared
from properties.failures.picture import pixels
from properties.failures.record import Record, printable, versions
from properties.failures.scripts import standalone_script
from properties.reports.page import page_of
from properties.reports.parts import parts_of
from properties.runs.failure import Failure, whole_run_command
from properties.runs.outputs import write_whole, written
from properties.runs.report import Report
from properties.runs.result import MOST_DOUBLINGS, Tally
from properties.runs.shard_names import LANDMARKS
from properties.trials.implementation import CannotRun

FORMAT = 1
# A report of a long run with all triples that it missed has some tens of megabytes.
_MOST_BYTES = 2**28


def report_json(report: Report) -> dict[str, Any]:
    """The report as plain data that ``json`` can write and the schema describes.

    A layer that failed is run once more on each of its failures, in a process that it may end, to show what it gave.
    """
    rates = report.rates_below
    plan = report.plan
    return {
        "format": FORMAT,
        "passed": report.passed,
        "incomplete": report.incomplete,
        "verdict": report.verdict_line,
        "problems": list(report.problems),
        "implementation": plan.name,
        "origin": plan.origin,
        "device": plan.device,
        "run_seed": report.seed,
        "command": whole_run_command(plan),
        "cases_asked_for": plan.cases,
        "levels": list(plan.levels),
        "dtypes": list(plan.dtypes),
        "part": list(plan.part),
        "stopped": report.stopped,
        "not_isolated": report.not_isolated or None,
        "cases": report.cases,
        "shards": len(report.results),
        "shards_planned": len(plan.shards),
        "checks": sum(report.checks.values()),
        "clauses": [
            {"id": clause.id, "level": clause.level, "sentence": clause.sentence} for clause in CLAUSES.values()
        ],
        "properties": [
            {
                "name": prop.name,
                "family": prop.family,
                "statement": prop.statement,
                "clauses": list(prop.clauses),
                "level": prop.level,
                "outcome": report.outcome_of(prop.name),
                "passed": report.tallies[prop.name].passed,
                "failed": report.tallies[prop.name].failed,
                "inapplicable": report.tallies[prop.name].inapplicable,
                "lost_to_torch": report.tallies[prop.name].lost,
                "not_judged": report.tallies[prop.name].not_judged,
                "worst_slack": report.tallies[prop.name].error_over_bound,
                "errors": _errors(report.tallies[prop.name]),
                "fails_below": rates.get(prop.name),
                "expected_failure": plan.expected_failures.get(prop.name),
            }
            for prop in report.properties
        ],
        "left_out": list(plan.left_out),
        "not_judged_by_declaration": list(report.by_declaration),
        "coverage": {
            "cases": report.coverage,
            **{
                name: dict(zip(("reached", "possible"), report.reached(strength), strict=True))
                | {"missing": [list(levels) for levels in report.missing(strength)]}
                for name, strength in (("singles", 1), ("pairs", 2), ("triples", 3))
            },
            "factor_pairs": [
                {"factors": list(factors), "reached": reached, "possible": of}
                for factors, (reached, of) in report.factor_pairs.items()
            ],
        },
        "small_scope": [
            {
                "data_dim": data_dim,
                **dict(zip(("patch_size", "stride", "size"), bounds(data_dim, plan.scope_margin), strict=True)),
                "verdicts": verdicts,
            }
            for data_dim, verdicts in report.small_scope.items()
        ],
        "parts": [
            {
                "kind": part.kind,
                "name": part.name,
                "shards": part.shards,
                "cases": part.cases,
                "shapes": part.shapes,
                "seconds": round(part.seconds, 3),
                "false_pass": part.false_passes,
            }
            for part in parts_of(report.results)
        ],
        "landmarks": list(report.landmarks),
        "landmarks_planned": len(plan.cases_of(LANDMARKS)) if LANDMARKS in plan.shards else 0,
        "failures": [_failure(report, failure) for failure in (*report.failures, *report.expected_failures)],
        "versions": versions(),
    }


def write_report(report: Report, *, json_file: Path | None = None, html_file: Path | None = None) -> None:
    """Write the report to files, each whole or not at all.

    Raises:
        CannotRun: where one cannot be written.
    """
    if json_file is None and html_file is None:
        return
    data = report_json(report)
    if json_file is not None:
        write_file(json.dumps(data, indent=2) + "\n", json_file)
    if html_file is not None:
        write_file(page_of(data), html_file)


def write_file(text: str, path: Path) -> None:
    """Write a text to a file, in a folder that may be new.

    Raises:
        CannotRun: where it cannot be written.
    """
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def read_report(path: Path) -> dict[str, Any]:
    """A report that was written as JSON, once it fits its schema.

    Raises:
        CannotRun: where it cannot be read, or is none.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CannotRun(f"{printable(path)} is no report: it is larger than {_MOST_BYTES} bytes")
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CannotRun(f"{printable(path)} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CannotRun(f"{printable(path)} is no report: it is not valid JSON: {printable(error)}") from error
    schema = json.loads(files("properties.reports").joinpath("report.schema.json").read_text("utf-8"))
    problem = best_match(Draft202012Validator(schema).iter_errors(data))
    if problem is not None:
        at = problem.json_path.removeprefix("$").removeprefix(".") or "the whole"
        raise CannotRun(f"{printable(path)} is no report of this version: {at}: {printable(problem.message)}")
    found: dict[str, Any] = data
    for scope in found["small_scope"]:
        # Counted first: a file may ask for more shapes than fit into memory.
        sizes = (max(0, scope["size"] - patch_size + 1) for patch_size in range(1, scope["patch_size"] + 1))
        if len(scope["verdicts"]) != scope["stride"] * sum(size ** scope["data_dim"] for size in sizes):
            raise CannotRun(f"{printable(path)} is no report: its small scope has another number of shapes")
    return found


def _errors(tally: Tally) -> dict[str, list[int]]:
    """By dtype, how many checks passed with an error of one to a half of the bound, a half to a quarter, and so on."""
    found: dict[str, list[int]] = {}
    for name, count in tally.errors.items():
        dtype, doublings = name.split()
        found.setdefault(dtype, [0] * (MOST_DOUBLINGS + 1))[int(doublings)] = count
    return {dtype: found[dtype] for dtype in DTYPES if dtype in found}


def _failure(report: Report, failure: Failure) -> dict[str, Any]:
    known = failure.known
    verdict = known.verdict
    return {
        "property": failure.property,
        "message": failure.message,
        "case": failure.case.to_json(),
        "record": None if failure.record is None else str(failure.record),
        "what": verdict.what,
        "where": str(verdict.where),
        "observed": verdict.observed,
        "expected": verdict.expected,
        "bound": verdict.bound,
        "cause": known.cause,
        "described": failure.case.describe(),
        "history": [str(step) for step in failure.case.history],
        "again": failure.again,
        "pixels": pixels(known.prop, failure.case, verdict),
        "compared": None if report.not_isolated else compared(known),
        "as_record": known.to_json(),
        "script": _script(known),
    }


def _script(known: Record) -> str | None:
    """The script that shows a failure without the harness, None where no import statement can name the layer."""
    try:
        return standalone_script(known.prop.name, known.implementation, known.device, known.case, known.verdict)
    except CannotRun:
        return None
