"""What is made of a failing case: a smaller one, its cause, a record, and words."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from properties.case import DTYPES, Case
from properties.explanation import explain
from properties.message import failure_message
from properties.options import DEFAULT_STRENGTH
from properties.plan import Plan
from properties.property import Property
from properties.record import Record, write_record
from properties.replay import replay_command
from properties.result import Found
from properties.shrink import shrink as shrink_case
from properties.verdict import Failed, Verdict


@dataclass(frozen=True)
class Failure:
    """A property that failed, with its smallest case.

    ``record`` is the file that holds it, where a folder for records was given.
    """

    property: str
    case: Case
    message: str
    record: Path | None = None


def investigate(
    plan: Plan, prop: Property, found: Found, *, shrink: bool = True, regressions: Path | None = None
) -> Failure:
    """Make a failing case small, run it again, find the cause, record it where a folder is given, put it into words.

    What ended a process is not run again.
    """

    def judge(candidate: Case) -> Verdict:
        return prop.judge_case(candidate, plan.implementation, plan.device)

    case, folder = Case.from_json(found.case), None if prop.name in plan.expected_failures else regressions
    if shrink and not found.died:
        case = shrink_case(case, lambda candidate: isinstance(judge(candidate), Failed))
    verdict = Failed(found.died) if found.died else judge(case)
    if not isinstance(verdict, Failed):
        verdict = Failed("intermittently: in the run, and not when the case was run again")
        cause = "intermittent: the layer is not a function of its arguments alone"
    elif found.died:
        cause = f"{plan.name} ends the process that it runs in"
    else:
        cause = explain(prop, case, verdict, plan.implementation, plan.device)
    record = Record(prop, plan.name, plan.device, case, verdict, cause, plan.seed, found.shard)
    path = None if folder is None else write_record(folder, record)
    again = run_command(plan, prop) if path is None or plan.unnamed else replay_command(path)
    return Failure(prop.name, case, failure_message(prop, case, verdict, cause, again, path), path)


def run_command(plan: Plan, prop: Property) -> str:
    """What to type, or to call, to run the same cases again and see the property fail."""
    if plan.unnamed:
        arguments = f"seed={plan.seed}, cases={plan.cases}, only=[{prop.name!r}]"
        if plan.device != "cpu":
            arguments += f", device={plan.device!r}"
        if len(plan.dtypes) < len(DTYPES):
            arguments += f", dtypes={list(plan.dtypes)}"
        if plan.strength > DEFAULT_STRENGTH:
            arguments += f", strength={plan.strength}"
        return f"verify(..., {arguments})"
    words = ["patchify-verify", "run", "--implementation", plan.name, "--seed", str(plan.seed)]
    words += ["--cases", str(plan.cases), "--only", prop.name]
    if plan.device != "cpu":
        words += ["--device", plan.device]
    if len(plan.dtypes) < len(DTYPES):
        words += ["--dtypes", ",".join(plan.dtypes)]
    # Without it the same cases are drawn, but fewer are steered.
    if plan.strength > DEFAULT_STRENGTH:
        words += ["--strength", str(plan.strength)]
    return shlex.join(words)
