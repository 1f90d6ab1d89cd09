"""Judges a case in a process of its own, for what may not survive it."""

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext

import torch

from properties.cases.case import Case
from properties.laws import LAWS
from properties.trials.implementation import resolve
from properties.trials.verdict import Failed, Verdict

# The exit code of a process whose device has failed for good.
DEVICE_LOST = 113
_DIED = "process died"


def judge_apart(prop: str, case: Case, implementation: str, device: str, timeout: float) -> Verdict:
    """Judge a case in a new process; a failure that says how it died where it does.

    Args:
        prop: the name of a property.
        case: what to judge on.
        implementation: ``"package.module:Name"``.
        device: where to run.
        timeout: seconds after which the process counts as hanging.
    """
    context = processes()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_judge, args=(theirs, prop, case, implementation, device), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(timeout):
            return Failed(died(f"no answer within {timeout:g} seconds"))
        verdict: Verdict = ours.recv()
    except EOFError:
        process.join()
        return Failed(died(reason(process.exitcode or 0)))
    else:
        return verdict
    finally:
        process.kill()
        process.join()


def processes() -> ForkServerContext:
    """Makes processes that share nothing with this one, quickly: they are forked from one that has done nothing yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["properties.runs.worker"])
    # Whoever interrupts the run interrupts the process that reports on it, which ends the others: they are to take no
    # notice, from their first moment on. The tracker is started before, since its start lets the signal through again.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return context


def died(why: str) -> str:
    """What is wrong where a check ends the process."""
    return f"{_DIED} ({why})"


def ended_process(verdict: Failed) -> bool:
    """Whether a check ended the process, so that the next one had better be another one."""
    return verdict.what.startswith(_DIED)


def reason(exit_code: int) -> str:
    """Why a process ended, by its exit code."""
    if exit_code == DEVICE_LOST:
        return "the device failed, and did not recover"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    note = ": killed, as for lack of memory" if -exit_code == signal.SIGKILL else ""
    return f"signal {-exit_code}{note}"


def _judge(connection: Connection, name: str, case: Case, implementation: str, device: str) -> None:
    torch.set_num_threads(1)
    found, _ = resolve(implementation)
    (prop,) = (prop for prop in LAWS if prop.name == name)
    connection.send(prop.judge_case(case, found, device))
