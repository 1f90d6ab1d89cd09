"""Worker processes: each does one task after another, and is replaced where it dies or hangs."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Self

from oracles.agreement import OracleError
from properties.failures.isolation import Child, PipeLost, died, reason
from properties.laws.law import VacuousLaw
from properties.runs.journal import Death
from properties.trials.implementation import CannotRun

Task = list[Any]
# Tasks after which a worker is replaced: torch and its compiler keep some memory of whatever they have run.
MOST_TASKS = 100
_ERRORS = {error.__name__: error for error in (CannotRun, OracleError, VacuousLaw)}


@dataclass
class _Worker:
    """A process, what it does, and when it was last heard of."""

    child: Child
    task: Task | None = None
    begun: int = 0
    ready: bool = False
    heard: float = 0.0


class Pool:
    """Some workers on the folder of a run; a context, at whose end they are ended.

    Args:
        folder: of the run.
        jobs: how many workers.
        timeout: seconds after which a worker that says nothing counts as hanging.
        start: starts a worker on a folder (see ``properties.runs.worker``).
    """

    def __init__(self, folder: Path, jobs: int, timeout: float | None, start: Callable[[Path], Child]) -> None:
        self.folder = folder
        self.jobs = jobs
        self.timeout = timeout
        self.start = start
        self.workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self.workers):
            self._end(worker)

    def run(
        self,
        tasks: Iterable[Task],
        answer: Callable[[Task, Any], bool],
        death: Callable[[Task, str, Death | None], Task | None],
    ) -> None:
        """Have all tasks done.

        Args:
            tasks: what ``properties.runs.worker.work`` takes.
            answer: called with a task and each answer to it; whether the task is done.
            death: called with a task, how the process died, and the check that it did not survive, None where it had
                begun none; gives what is to be done instead, if anything.

        Raises:
            CannotRun: where a worker cannot start, or write down what it finds.
            OracleError: where the oracles are wrong on this machine.
            VacuousLaw: where a law expects nothing.
        """
        waiting = deque(tasks)
        while True:
            while waiting and (worker := self._idle(len(waiting))):
                worker.task = waiting.popleft()
                worker.begun += 1
                worker.heard = time.monotonic()
                # One that is gone is noticed below.
                with suppress(PipeLost):
                    worker.child.pipe.send(worker.task)
            busy = [worker for worker in self.workers if worker.task or not worker.ready]
            if not waiting and not any(worker.task for worker in busy):
                return
            ready = wait([worker.child.pipe.end for worker in busy], 1.0)
            for worker in busy:
                how, hung = "", False
                if worker.child.pipe.end in ready:
                    how = self._listened(worker, answer)
                elif worker.child.ended():
                    how = died(reason(worker.child.end()))
                elif worker.task and self.timeout is not None and time.monotonic() - worker.heard > self.timeout:
                    how, hung = died(f"no answer within {self.timeout:g} seconds"), True
                if how and (instead := self._buried(worker, how, hung, death)):
                    waiting.appendleft(instead)

    def _idle(self, wanted: int) -> _Worker | None:
        """A worker that is ready and has nothing to do; starts another one where there are fewer than are wanted."""
        for worker in list(self.workers):
            if worker.ready and worker.task is None:
                if worker.begun < MOST_TASKS:
                    return worker
                self._end(worker)
        starting = sum(not worker.ready for worker in self.workers)
        if len(self.workers) < self.jobs and starting < wanted:
            self.workers.append(_Worker(self.start(self.folder)))
        return None

    def _end(self, worker: _Worker) -> None:
        worker.child.end()
        self.workers.remove(worker)

    def _listened(self, worker: _Worker, answer: Callable[[Task, Any], bool]) -> str:
        """Hear what a worker says; how it died, where it has."""
        try:
            messages = worker.child.pipe.receive()
        except (EOFError, PipeLost) as lost:
            return worker.child.lost(lost)
        for message in messages:
            worker.heard = time.monotonic()
            if isinstance(message, dict):
                raise _ERRORS[message["error"]](message["text"])
            if not worker.ready:
                worker.ready = True
            elif worker.task is not None and answer(worker.task, message):
                worker.task = None
        return ""

    def _buried(
        self, worker: _Worker, how: str, hung: bool, death: Callable[[Task, str, Death | None], Task | None]
    ) -> Task | None:
        """Take a worker out of the pool, and tell what it died of."""
        self._end(worker)
        if worker.task is None:
            raise CannotRun(f"a worker could not start: {how}")
        begun = None
        # A layer may have written into the file.
        with suppress(OSError, ValueError):
            _, case, prop = json.loads((self.folder / f"worker{worker.child.pid}").read_text())
            begun = Death(str(case), str(prop), how, hung)
        return death(worker.task, how, begun)
