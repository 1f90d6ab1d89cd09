"""What is made of a failing case: a smaller one, its cause, a record, and words."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from properties.cases.case import Case
from properties.cases.shrinking import shrink as shrink_case
from properties.diagnosis import explain
from properties.failures.message import failure_message
from properties.failures.record import Record, RecordError, write_record
from properties.failures.replay import replay_command
from properties.laws.law import Law
from properties.runs.options import PLANNED
from properties.runs.plan import Plan
from properties.runs.result import Found
from properties.trials.verdict import Failed, Verdict


@dataclass(frozen=True)
class Failure:
    """A property that failed, with its smallest case.

    ``record`` is the file that holds it, where a folder for records was given.
    """

    property: str
    case: Case
    message: str
    record: Path | None = None


def examine(plan: Plan, prop: Law, found: Found, *, shrink: bool = True) -> Record:
    """Make a failing case small, run it again, and find the cause.

    What ended a process is not run again.
    """

    def judge(candidate: Case) -> Verdict:
        return prop.judge_case(candidate, plan.implementation, plan.device)

    case = Case.from_json(found.case)
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
    return Record(prop, plan.name, plan.device, case, verdict, cause, plan.seed, found.shard)


def failure_from(plan: Plan, record: Record, regressions: Path | None = None) -> Failure:
    """Put what was found out into words, and write it to the folder of records, where one is given.

    What is expected to fail leaves no record. Where none could be read again, the failure is told without one.
    """
    prop = record.prop
    folder = None if prop.name in plan.expected_failures else regressions
    path, kept = None, ""
    if folder is not None:
        try:
            path = write_record(folder, record)
            kept = str(path)
        except RecordError as error:
            kept = f"none: {error}"
    again = run_command(plan, prop) if path is None or not plan.importable else replay_command(path)
    message = failure_message(prop, record.case, record.verdict, record.cause, again, kept)
    return Failure(prop.name, record.case, message, path)


def run_command(plan: Plan, prop: Law) -> str:
    """What to type, or to call, to run the same cases again and see the property fail."""
    asked = plan.arguments | {"only": [prop.name]}
    options = {
        option: asked[option.argument]
        for option in PLANNED
        if option.repeated == "always" or (option.repeated == "changed" and asked[option.argument] != option.default)
    }
    if not plan.importable:
        return f"verify(..., {', '.join(f'{option.argument}={value!r}' for option, value in options.items())})"
    words = ["patchify-verify", "run", "--implementation", plan.name]
    for option, value in options.items():
        words += [f"--{option.flag}", ",".join(value) if isinstance(value, list) else str(value)]
    return shlex.join(words)
