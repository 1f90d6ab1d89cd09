"""Failures in words: what is wrong, then where, observed and expected, the bound, the case, and how to see it again."""

import json
import shlex

from properties.case import DTYPES, Case
from properties.plan import Plan
from properties.property import Property
from properties.verdict import Failed


def failure_message(plan: Plan, prop: Property, case: Case, verdict: Failed) -> str:
    """Several lines, the verdict first."""
    rows = {
        "where": str(verdict.where),
        "observed": verdict.observed,
        "expected": verdict.expected,
        "bound": verdict.bound,
        "law": f"{', '.join(prop.clauses)}: {' '.join(prop.law.split(chr(10) * 2)[0].split())}",
        "case": case.describe(),
        "as JSON": json.dumps(case.to_json()),
        "replay": replay_command(plan, prop),
    }
    lines = [f"{prop.name} failed: {verdict.what}"]
    lines += [f"  {label:<9} {text}" for label, text in rows.items() if text]
    return "\n".join(lines)


def intermittent_message(plan: Plan, prop: Property, case: Case) -> str:
    """For a case that failed once and then did not: the implementation is not a function of its arguments."""
    return "\n".join(
        (
            f"{prop.name} failed intermittently: the case failed in the run, and passed when it was run again",
            f"  {'case':<9} {case.describe()}",
            f"  {'as JSON':<9} {json.dumps(case.to_json())}",
            f"  {'replay':<9} {replay_command(plan, prop)}",
        )
    )


def replay_command(plan: Plan, prop: Property) -> str:
    """What to type to run the same cases again and see the property fail."""
    # Local functions, lambdas and what a script defines have no name that a command could import.
    if "<" in plan.name or plan.name.startswith("__main__:"):
        arguments = f"seed={plan.seed}, cases={plan.cases}, only=[{prop.name!r}]"
        if plan.device != "cpu":
            arguments += f", device={plan.device!r}"
        if len(plan.dtypes) < len(DTYPES):
            arguments += f", dtypes={list(plan.dtypes)}"
        return f"verify(..., {arguments})"
    words = ["patchify-verify", "run", "--implementation", plan.name, "--seed", str(plan.seed)]
    words += ["--cases", str(plan.cases), "--only", prop.name]
    if plan.device != "cpu":
        words += ["--device", plan.device]
    if len(plan.dtypes) < len(DTYPES):
        words += ["--dtypes", ",".join(plan.dtypes)]
    return shlex.join(words)
