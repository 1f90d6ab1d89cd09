"""Runs the cases of records again: the same tensors, the same property, on the recorded implementation or another."""

import shlex
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from oracles.agreement import OracleError
from properties.diagnosis import explain
from properties.failures.isolation import ended_process, judge_apart
from properties.failures.message import failure_message
from properties.failures.record import Record, RecordError, printable, read_record
from properties.trials.faults import check_machine
from properties.trials.implementation import CannotRun, resolve
from properties.trials.verdict import Failed, Inapplicable, Passed

TRIES = 3
# Seconds after which a case that hung, or ended a process, counts as hanging.
_TIMEOUT = 60.0
# Once for all records of a folder.
_check_machine = cache(check_machine)


class Outcome(StrEnum):
    """What came of a record."""

    FIXED = "FIXED"
    FAILED = "FAILED"
    INTERMITTENT = "INTERMITTENT"
    ERROR = "ERROR"

    @property
    def exit_code(self) -> int:
        """0 where the failure is gone, 1 where it is not, 2 where nothing can be said."""
        return {"FIXED": 0, "ERROR": 2}.get(self, 1)


@dataclass(frozen=True)
class Replay:
    """The outcome for one file, and what is to be said about it: one line, and for a failure its message after it."""

    path: Path
    outcome: Outcome
    text: str

    def __str__(self) -> str:
        return f"{self.outcome:<12} {printable(self.path)}: {self.text}"


def replay(path: Path, *, implementation: str | None = None, device: str | None = None, anew: bool = False) -> Replay:
    """Run the case of a record again, three times.

    Args:
        path: the record.
        implementation: ``"package.module:Name"``; None means the one that is recorded.
        device: where to run; None means where it failed.
        anew: look for the cause again, even where the failure is the recorded one.

    Raises:
        OracleError: where the oracles are wrong on this machine.
    """
    try:
        record = read_record(path)
        name, where = implementation or record.implementation, device or record.device
        return Replay(path, *_outcome(path, record, name, where, anew))
    except (RecordError, CannotRun) as error:
        return Replay(path, Outcome.ERROR, printable(error))
    except OracleError:
        raise
    # Whatever else goes wrong with this file says nothing about the next.
    except Exception as error:
        return Replay(path, Outcome.ERROR, f"the harness failed: {type(error).__name__}: {printable(error)}")


def _outcome(path: Path, record: Record, name: str, device: str, anew: bool) -> tuple[Outcome, str]:
    implementation, _ = resolve(name)
    _check_machine(device)
    if ended_process(record.verdict):
        arguments = (record.prop.name, record.case, name, device, _TIMEOUT)
        verdicts = [judge_apart(*arguments) for _ in range(TRIES)]
    else:
        verdicts = [record.prop.judge_case(record.case, implementation, device) for _ in range(TRIES)]
    failed = [verdict for verdict in verdicts if isinstance(verdict, Failed)]
    passed = sum(isinstance(verdict, Passed) for verdict in verdicts)
    for verdict in verdicts:
        if isinstance(verdict, Inapplicable) and not failed:
            return Outcome.ERROR, f"{record.prop.name} says nothing about {name} on {device}: {verdict.reason}"
    if not failed:
        return Outcome.FIXED, f"{record.prop.name} holds for {name} on {device}"
    # What was found out then still holds where nothing has changed since.
    unchanged = (name, device, failed[0]) == (record.implementation, record.device, record.verdict)
    if ended_process(failed[0]):
        cause = f"{name} ends the process that it runs in"
    elif unchanged and not anew:
        cause = record.cause
    else:
        cause = explain(record.prop, record.case, failed[0], implementation, device)
    again = replay_command(
        path,
        implementation=None if name == record.implementation else name,
        device=None if device == record.device else device,
    )
    message = failure_message(record.prop, record.case, failed[0], cause, again, str(path))
    if passed:
        return Outcome.INTERMITTENT, f"passed {passed} of {TRIES} tries; the others: {message}"
    return Outcome.FAILED, message


def replay_command(path: Path, *, implementation: str | None = None, device: str | None = None) -> str:
    """What to type to run the case of a record again."""
    words = ["patchify-verify", "replay", str(path)]
    words += ["--implementation", implementation] if implementation else []
    words += ["--device", device] if device else []
    return shlex.join(words)
