"""Processes for what may not survive a layer, and the pipes to them; each ends with everything that it has started."""

import json
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from socket import socket, socketpair
from threading import Thread
from types import ModuleType
from typing import Any

from properties.trials.verdict import Failed

# The exit codes of a process whose device has failed for good, and of one whose pipe was closed.
DEVICE_LOST, PIPE_LOST = 113, 114
_DIED = "process died"
CLOSED = "it closed a file that it had not opened"
# Seconds within which a process has ended that closes its end of the pipe, unless a layer has closed it.
_ENDING = 2.0
# What is sent is short; a layer may write anything.
_MOST_BYTES = 2**24


class Died(Exception):  # noqa: N818 - it reads as what happened
    """A process has ended, or, where it ``hung``, was ended since it did not answer; the text says how."""

    def __init__(self, how: str, hung: bool = False) -> None:
        super().__init__(how)
        self.hung = hung


class PipeLost(Exception):  # noqa: N818 - it reads as what happened
    """A pipe can be used no more: a layer has closed it, or written into it."""


class Pipe:
    """One end of a pipe for lines of JSON; each begins with a token, which what a layer writes by accident does not."""

    def __init__(self, end: socket, token: str) -> None:
        self.end = end
        self.token = f"{token} ".encode()
        self.unread = b""

    def send(self, message: Any) -> None:
        """Send plain data.

        Raises:
            PipeLost: where nobody can receive it.
        """
        try:
            self.end.sendall(self.token + json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise PipeLost(f"the pipe to the harness is closed: {error}") from error

    def receive(self) -> list[Any]:
        """What has come since, possibly nothing whole; waits for some of it.

        Raises:
            EOFError: where nothing more can come.
            PipeLost: where what came is not what the other end sends.
        """
        try:
            more = self.end.recv(2**16)
        except ConnectionError:
            more = b""
        except OSError as error:
            raise PipeLost(f"the pipe to the harness is closed: {error}") from error
        if not more:
            raise EOFError(CLOSED)
        *lines, self.unread = (self.unread + more).split(b"\n")
        if len(self.unread) > _MOST_BYTES or not all(line.startswith(self.token) for line in lines):
            raise PipeLost("it wrote into a file that it had not opened")
        return [json.loads(line.removeprefix(self.token)) for line in lines]

    def listen(self) -> Iterator[Any]:
        """What comes, one by one. Once the other end is gone, this process and what it has started are ended."""
        messages: SimpleQueue[Any] = SimpleQueue()

        def put() -> None:
            try:
                while True:
                    for message in self.receive():
                        messages.put(message)
            except EOFError:
                os.killpg(0, signal.SIGKILL)
            except PipeLost:
                os._exit(PIPE_LOST)

        # A thread, since a layer may hang when the parent is killed.
        Thread(target=put, daemon=True).start()
        while True:
            yield messages.get()


@dataclass(frozen=True)
class Child:
    """A process that this one has started, in a process group of its own, and the pipe to it."""

    process: BaseProcess | subprocess.Popen[bytes]
    pipe: Pipe

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self.process.pid is not None
        return self.process.pid

    def ended(self, within: float = 0.0) -> bool:
        """Whether the process has ended, or does so within some seconds."""
        if isinstance(self.process, BaseProcess):
            self.process.join(within)
            return self.process.exitcode is not None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(within)
        return self.process.returncode is not None

    def end(self) -> int:
        """End the process and its group, and return the exit code."""
        # It may not have made its group yet, or be gone with all of it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.kill()
        self.ended(within=_ENDING)
        self.pipe.end.close()
        process = self.process
        return (process.exitcode if isinstance(process, BaseProcess) else process.returncode) or 0

    def answer(self, within: float) -> Any:
        """The answer to what was sent, where there is one to each.

        Raises:
            Died: where the process ends, or does not answer within some seconds; it is ended then.
        """
        until = time.monotonic() + within
        while True:
            if wait([self.pipe.end], min(1.0, max(0.0, until - time.monotonic()))):
                try:
                    answers = self.pipe.receive()
                except (EOFError, PipeLost) as lost:
                    raise Died(self.lost(lost)) from lost
                if answers:
                    return answers[0]
            elif self.ended():
                raise Died(died(reason(self.end())))
            elif time.monotonic() >= until:
                self.end()
                raise Died(died(f"no answer within {within:g} seconds"), hung=True)

    def lost(self, why: EOFError | PipeLost) -> str:
        """End a process of which nothing more is to be had, and say how it died: by itself, or else why it is ended."""
        # Only one that is closing its pipe is about to end; another one goes on, with what is not to be believed.
        by_itself = self.ended(within=_ENDING if isinstance(why, EOFError) else 0.0)
        code = self.end()
        return died(reason(code) if by_itself else str(why))


def forked(target: Callable[..., None], *arguments: Any) -> Child:
    """A process that calls a function with its end of the pipe and some arguments: a copy of one that imports once."""
    ours, theirs = socketpair()
    token = secrets.token_hex(8)
    process = server().Process(target=_call, args=(target, theirs, token, dict(os.environ), *arguments), daemon=True)
    with _main_module_hidden():
        process.start()
    theirs.close()
    return Child(process, Pipe(ours, token))


def started(module: str, *arguments: str) -> Child:
    """A process that runs a module as ``python -m`` does, which ``connected`` gives its end of the pipe.

    For processes that may have no children that ``multiprocessing`` makes, as the workers of some schedulers.
    """
    ours, theirs = socketpair()
    token = secrets.token_hex(8)
    # What can be imported here can be imported there.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(theirs.fileno()), token, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environment,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()
    return Child(process, Pipe(ours, token))


def connected(descriptor: str, token: str) -> Pipe:
    """The end of the pipe of a process that ``started`` has started, by its first two arguments."""
    end = socket(fileno=int(descriptor))
    end.set_inheritable(False)
    return Pipe(end, token)


def _call(target: Callable[..., None], end: socket, token: str, environment: dict[str, str], *arguments: Any) -> None:
    os.setsid()
    # What this is a copy of was started earlier.
    os.environ.clear()
    os.environ.update(environment)
    target(Pipe(end, token), *arguments)


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """A new process of ``multiprocessing`` runs the main module once more, which may be a script that verifies."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def server() -> ForkServerContext:
    """What starts processes as copies of one that has imported the harness.

    That takes seconds from the first call on, in which the caller can do something else.
    """
    context = multiprocessing.get_context("forkserver")
    # The first is there without Hypothesis, too.
    context.set_forkserver_preload(["properties.failures.replay", "properties.runs.worker"])
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
    if exit_code == PIPE_LOST:
        return CLOSED
    if exit_code >= 0:
        return f"exit code {exit_code}"
    note = ": killed, as for lack of memory" if -exit_code == signal.SIGKILL else ""
    return f"signal {-exit_code}{note}"
