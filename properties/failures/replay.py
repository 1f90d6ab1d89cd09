"""Runs the cases of records again: the same tensors, the same property, on the recorded implementation or another.

A process of its own does so, which the layer may end; what it does not survive is tried in another one.
"""

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from oracles.agreement import OracleError
from properties.diagnosis import explain
from properties.failures.isolation import PIPE_LOST, Child, Died, Pipe, PipeLost, ended_process, forked
from properties.failures.message import failure_message
from properties.failures.record import Record, RecordError, printable, read_record
from properties.trials.fault_scripts import fork_server
from properties.trials.faults import check_machine
from properties.trials.implementation import CannotRun, resolve, said
from properties.trials.verdict import Failed, Inapplicable

TRIES = 3
# Seconds after which a try counts as hanging, unless told otherwise.
TIMEOUT = 600.0
_ERRORS = {error.__name__: error for error in (CannotRun, OracleError, RuntimeError)}


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


def replay(
    path: Path,
    *,
    implementation: str | None = None,
    device: str | None = None,
    anew: bool = False,
    timeout: float = TIMEOUT,
) -> Replay:
    """Run the case of a record again, three times.

    Args:
        path: the record.
        implementation: ``"package.module:Name"``; None means the one that is recorded.
        device: where to run; None means where it failed.
        anew: look for the cause again, even where the failure is the recorded one.
        timeout: seconds after which a try counts as hanging.

    Raises:
        OracleError: where the oracles are wrong on this machine.
    """
    try:
        record = read_record(path)
        name, where = implementation or record.implementation, device or record.device
        return Replay(path, *_outcome(path, record, name, where, anew, timeout))
    except (RecordError, CannotRun) as error:
        return Replay(path, Outcome.ERROR, printable(error))
    except OracleError:
        raise
    # Whatever else goes wrong with this file says nothing about the next.
    except Exception as error:
        return Replay(path, Outcome.ERROR, f"the harness failed: {printable(error)}")


def _outcome(path: Path, record: Record, name: str, device: str, anew: bool, timeout: float) -> tuple[Outcome, str]:
    with _Tries(record, name, device, timeout) as tries:
        verdicts: list[Failed | Inapplicable | None] = []
        while len(verdicts) < TRIES and not tries.hung:
            verdicts.append(tries.judge())
        failed = [verdict for verdict in verdicts if isinstance(verdict, Failed)]
        passed = verdicts.count(None)
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
            cause = tries.explain(failed[0])
    again = replay_command(
        path,
        implementation=None if name == record.implementation else name,
        device=None if device == record.device else device,
    )
    message = failure_message(record.prop, record.case, failed[0], cause, again, str(path))
    if passed:
        return Outcome.INTERMITTENT, f"passed {passed} of {len(verdicts)} tries; the others: {message}"
    return Outcome.FAILED, message


def replay_command(path: Path, *, implementation: str | None = None, device: str | None = None) -> str:
    """What to type to run the case of a record again."""
    words = ["patchify-verify", "replay", str(path)]
    words += ["--implementation", implementation] if implementation else []
    words += ["--device", device] if device else []
    return shlex.join(words)


class _Tries:
    """Tries of a record in a process of their own, and in another one where they end it; a context, which ends it."""

    def __init__(self, record: Record, implementation: str, device: str, timeout: float) -> None:
        self.record = record
        self.implementation = implementation
        self.device = device
        self.timeout = timeout
        self.child: Child | None = None
        self.hung = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child:
            self.child.end()

    def judge(self) -> Failed | Inapplicable | None:
        """Judge once; None where the property holds."""
        try:
            kind, told = self._ask(None)
        except Died as death:
            return Failed(str(death))
        if kind == "failed":
            return Record.believed(told).verdict
        return Inapplicable(told) if kind == "inapplicable" else None

    def explain(self, failed: Failed) -> str:
        """The cause of a failure."""
        try:
            _, cause = self._ask(replace(self.record, verdict=failed).to_json())
        except Died as death:
            return f"unknown: {death}, while it was looked for"
        return str(cause)

    def _ask(self, question: Any) -> tuple[str, Any]:
        try:
            if self.child is None:
                self.child = forked(_try, self.record.to_json(), self.implementation, self.device)
                # Importing an implementation is no try of it.
                self._answer(TIMEOUT)
            # One that is gone does not answer.
            with suppress(PipeLost):
                self.child.pipe.send(question)
            return self._answer(self.timeout)
        except Died as death:
            self.child, self.hung = None, death.hung
            raise

    def _answer(self, within: float) -> tuple[str, Any]:
        assert self.child is not None
        kind, told = self.child.answer(within)
        if kind in _ERRORS:
            raise _ERRORS[kind](told)
        return kind, told


def _try(pipe: Pipe, record: dict[str, Any], implementation: str, device: str) -> None:
    """Say that it is ready, then answer ``None`` with a verdict on a record, and a record that failed with its cause.

    Each answer is of a kind, which may be an error.
    """
    fork_server()
    torch.set_num_threads(1)
    known = Record.believed(record)

    def ready() -> tuple[str, Any]:
        resolve(implementation)
        check_machine(device)
        return "ready", None

    try:
        pipe.send(_told(ready))
        for question in pipe.listen():
            pipe.send(_told(partial(_answer, known, implementation, device, question)))
    except PipeLost:
        os._exit(PIPE_LOST)


def _told(answer: Callable[[], tuple[str, Any]]) -> tuple[str, Any]:
    """An answer, or the kind of an error and its text."""
    try:
        return answer()
    except (CannotRun, OracleError) as error:
        return type(error).__name__, str(error)
    except Exception as error:
        return RuntimeError.__name__, f"{type(error).__name__}: {said(error)}"


def _answer(record: Record, implementation: str, device: str, question: dict[str, Any] | None) -> tuple[str, Any]:
    """What kind of answer it is, and the answer."""
    found, _ = resolve(implementation)
    if question is not None:
        failed = Record.believed(question).verdict
        return "cause", explain(record.prop, record.case, failed, record.declared(found), device)
    verdict = record.prop.judge_case(record.case, record.declared(found), device)
    match verdict:
        case Failed():
            return "failed", replace(record, verdict=verdict).to_json()
        case Inapplicable(reason):
            return "inapplicable", reason
    return "passed", None
