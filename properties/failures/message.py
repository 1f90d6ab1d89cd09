"""Failures in words: what is wrong and why, where, observed and expected, the case, how to see it again, a picture."""

import json

from properties.cases.case import Case
from properties.failures.picture import picture
from properties.laws.law import Law
from properties.trials.verdict import Failed

# Rows that are for copying from: whoever prints a message breaks the lines of the others alone.
COPIED = ("as JSON", "record", "replay")


def failure_message(prop: Law, case: Case, verdict: Failed, cause: str, again: str, record: str = "") -> str:
    """Several lines, the verdict first.

    Args:
        prop: what failed.
        case: on what.
        verdict: how.
        cause: what kind of wrong it is, in a sentence.
        again: what to type to see the failure again.
        record: the file that holds the failure, or why there is none.
    """
    rows = {
        "cause": cause,
        "where": str(verdict.where),
        "observed": verdict.observed,
        "expected": verdict.expected,
        "bound": verdict.bound,
        "law": f"{', '.join(prop.clauses)}: {' '.join(prop.statement.split(chr(10) * 2)[0].split())}",
        "case": case.describe(),
        "history": "; ".join(map(str, case.history)),
        "as JSON": json.dumps(case.to_json()),
        "record": record,
        "replay": again,
    }
    lines = [f"{prop.name} failed: {verdict.what}"]
    lines += [f"  {label:<9} {text}" for label, text in rows.items() if text]
    return "\n".join(lines + picture(prop, case, verdict))
