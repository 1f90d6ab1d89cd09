"""What is made of a failing case: a smaller one, its cause, a record, and words."""

import json
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from properties.cases.case import Case
from properties.cases.shrinking import shrink as shrink_case
from properties.diagnosis import explain
from properties.failures.message import failure_message
from properties.failures.record import Record, RecordError, versions, write_record
from properties.failures.replay import replay_command
from properties.laws.law import Law
from properties.runs.configuration import configured_flags
from properties.runs.options import PLANNED, Option
from properties.runs.plan import Plan
from properties.runs.result import Found
from properties.runs.shard_names import OUTSIDE
from properties.trials.verdict import Failed, Verdict

# Seconds that failures may be examined for; then the report says what is known.
EXAMINING = 900.0
# Characters of the implementation's file that a record keeps, the last ones.
_MOST_KEPT = 100
OUT_OF_TIME = "not looked for: there was no time left to examine failures"


@dataclass(frozen=True)
class Failure:
    """A property that failed, with its smallest case.

    ``known`` is all that was found out, ``again`` what to type to see it again, and ``record`` the file that holds it,
    where a folder for records was given.
    """

    property: str
    case: Case
    message: str
    known: Record
    again: str
    record: Path | None = None


def examine(
    plan: Plan,
    prop: Law,
    found: Found,
    *,
    shrink: bool = True,
    until: float | None = None,
    tell: Callable[[Record | None], None] = lambda known: None,
) -> Record:
    """Make a failing case small, run it again, and find the cause.

    What ended a process is not run again.

    Args:
        plan: the run.
        prop: what failed.
        found: on what.
        shrink: look for the smallest case.
        until: ``time.monotonic()`` after which nothing more is looked for.
        tell: called after every trial with what is known by then, None where that is nothing new.
    """

    def record(case: Case, verdict: Failed, cause: str) -> Record:
        origin = plan.origin.encode("ascii", "replace").decode()[-_MOST_KEPT:]
        found_with = versions() | {"implementation": origin}
        known = None if plan.asked_domain is None else plan.domain
        return Record(prop, plan.name, plan.device, case, verdict, cause, plan.seed, found.shard, found_with, known)

    def judge(candidate: Case) -> Verdict:
        verdict = prop.judge_case(candidate, plan.declared, plan.device)
        tell(record(candidate, verdict, OUT_OF_TIME) if isinstance(verdict, Failed) else None)
        return verdict

    def in_time() -> bool:
        return until is None or time.monotonic() < until

    case = Case.from_json(found.case)
    if found.died:
        return record(case, Failed(found.died), f"{plan.name} ends the process that it runs in")
    if shrink:

        def fails(candidate: Case) -> bool:
            judged = prop.on == OUTSIDE or plan.domain.holds(candidate)
            return judged and in_time() and isinstance(judge(candidate), Failed)

        case = shrink_case(case, fails)
    verdict = judge(case)
    if not isinstance(verdict, Failed):
        verdict = Failed("intermittently: in the run, and not when the case was run again")
        return record(case, verdict, "intermittent: the layer is not a function of its arguments alone")
    cause = explain(prop, case, verdict, plan.declared, plan.device) if in_time() else OUT_OF_TIME
    return record(case, verdict, cause)


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
    return Failure(prop.name, record.case, message, record, again, path)


def whole_run_command(plan: Plan) -> str:
    """What to type, or to call, to repeat a run, all parts of it."""
    return _command(plan, [option for option in PLANNED if option.argument != "implementation"], plan.arguments)


def run_command(plan: Plan, prop: Law) -> str:
    """What to type, or to call, to run the same cases again and see the property fail."""
    asked = plan.arguments | {"only": [prop.name]}
    return _command(plan, [option for option in PLANNED if option.repeated != "never"], asked)


def _command(plan: Plan, options: Iterable[Option], asked: Mapping[str, Any]) -> str:
    """With the options without which it would do something else, in the project that is worked on, too."""
    of_project = configured_flags()

    def matters(option: Option) -> bool:
        value = asked[option.argument]
        usual = list(option.default) if isinstance(option.default, tuple) else option.default
        # A switch stands on a command line where it is thrown, and cannot be said to be off.
        overrides = option.flag in of_project and not isinstance(value, bool)
        changes = option.repeated == "always" or value != usual or overrides
        return value not in (None, {}) and changes

    told = {option: asked[option.argument] for option in options if matters(option)}
    if not plan.importable:
        return f"verify(..., {', '.join(f'{option.argument}={value!r}' for option, value in told.items())})"
    words = ["patchify-verify", "run", "--implementation", plan.name]
    for option, value in told.items():
        match value:
            case bool():
                words.append(f"--{option.flag}")
            case dict() if option.argument == "domain":
                words += [f"--{option.flag}", json.dumps(value)]
            case dict():
                for name, reason in value.items():
                    words += [f"--{option.flag}", f"{name}={reason}"]
            # Each level holds those before it.
            case list() if option.argument == "levels":
                words += [f"--{option.flag}", value[-1]]
            case _:
                words += [f"--{option.flag}", ",".join(value) if isinstance(value, list) else str(value)]
    return shlex.join(words)
