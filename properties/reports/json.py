"""The report as JSON, for other programs: ``report.schema.json`` describes it."""

import json
from pathlib import Path
from typing import Any

from properties.failures.record import versions
from properties.runs.failure import Failure
from properties.runs.report import Report

FORMAT = 1


def report_json(report: Report) -> dict[str, Any]:
    """The report as plain data that ``json`` can write and the schema describes."""
    rates = report.rates_below
    return {
        "format": FORMAT,
        "passed": report.passed,
        "incomplete": report.incomplete,
        "verdict": report.verdict_line,
        "problems": list(report.problems),
        "implementation": report.plan.name,
        "origin": report.plan.origin,
        "device": report.plan.device,
        "run_seed": report.seed,
        "cases_asked_for": report.plan.cases,
        "levels": list(report.plan.levels),
        "dtypes": list(report.plan.dtypes),
        "part": list(report.plan.part),
        "stopped": report.stopped,
        "not_isolated": report.not_isolated or None,
        "cases": report.cases,
        "shards": len(report.results),
        "shards_planned": len(report.plan.shards),
        "checks": sum(report.checks.values()),
        "properties": [
            {
                "name": prop.name,
                "clauses": list(prop.clauses),
                "level": prop.level,
                "passed": report.tallies[prop.name].passed,
                "failed": report.tallies[prop.name].failed,
                "inapplicable": report.tallies[prop.name].inapplicable,
                "lost_to_torch": report.tallies[prop.name].lost,
                "not_judged": report.tallies[prop.name].not_judged,
                "worst_slack": report.tallies[prop.name].error_over_bound,
                "fails_below": rates.get(prop.name),
                "expected_failure": report.plan.expected_failures.get(prop.name),
            }
            for prop in report.properties
        ],
        "not_judged_by_declaration": list(report.by_declaration),
        "left_out": [prop.name for prop in report.plan.left_out],
        "coverage": {
            "cases": report.coverage,
            **{
                name: dict(zip(("reached", "possible"), report.reached(strength), strict=True))
                | {"missing": [list(levels) for levels in report.missing(strength)]}
                for name, strength in (("singles", 1), ("pairs", 2), ("triples", 3))
            },
        },
        "landmarks": list(report.landmarks),
        "failures": [_failure(failure) for failure in (*report.failures, *report.expected_failures)],
        "versions": versions(),
    }


def write_json(report: Report, path: Path) -> None:
    """Write the report to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-new")
    temporary.write_text(json.dumps(report_json(report), indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "property": failure.property,
        "message": failure.message,
        "case": failure.case.to_json(),
        "record": None if failure.record is None else str(failure.record),
    }
