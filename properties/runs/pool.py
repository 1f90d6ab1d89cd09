"""Worker processes: each does one task after another, and is replaced where it dies or hangs."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from properties.failures.isolation import died, processes, reason
from properties.runs.journal import Death
from properties.runs.worker import work
from properties.trials.implementation import CannotRun

Task = tuple[Any, ...]
# Tasks after which a worker is replaced: torch and its compiler keep some memory of whatever they have run.
MOST_TASKS = 100


@dataclass
class _Worker:
    """A process, what it does, and when it was last heard of."""

    process: BaseProcess
    connection: Connection
    task: Task | None = None
    begun: int = 0
    ready: bool = False
    heard: float = 0.0


class Pool:
    """Some workers on the folder of a run; a context, at whose end they are ended."""

    def __init__(self, folder: Path, jobs: int, case_timeout: float | None) -> None:
        self.folder = folder
        self.jobs = jobs
        self.case_timeout = case_timeout
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
        """
        waiting = deque(tasks)
        while True:
            while waiting and (worker := self._idle(len(waiting))):
                worker.task = waiting.popleft()
                worker.begun += 1
                worker.heard = time.monotonic()
                worker.connection.send(worker.task)
            busy = [worker for worker in self.workers if worker.task or not worker.ready]
            if not waiting and not any(worker.task for worker in busy):
                return
            ready = wait([end for worker in busy for end in (worker.connection, worker.process.sentinel)], 1.0)
            for worker in busy:
                if worker.connection in ready and self._answered(worker, answer):
                    continue
                hangs = self.case_timeout is not None and time.monotonic() - worker.heard > self.case_timeout
                if worker.process.sentinel in ready or (worker.task and hangs):
                    instead = self._buried(worker, hangs, death)
                    if instead:
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
            ours, theirs = processes().Pipe()
            process = processes().Process(target=work, args=(self.folder, theirs), daemon=True)
            process.start()
            theirs.close()
            self.workers.append(_Worker(process, ours))
        return None

    def _end(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.join()
        self.workers.remove(worker)

    def _answered(self, worker: _Worker, answer: Callable[[Task, Any], bool]) -> bool:
        try:
            message = worker.connection.recv()
        except EOFError:
            return False
        worker.heard = time.monotonic()
        if not worker.ready:
            worker.ready = True
        elif worker.task is not None and answer(worker.task, message):
            worker.task = None
        return True

    def _buried(
        self, worker: _Worker, hangs: bool, death: Callable[[Task, str, Death | None], Task | None]
    ) -> Task | None:
        """Take a worker out of the pool, and tell what it died of."""
        self._end(worker)
        how = died(f"no answer within {self.case_timeout:g} seconds" if hangs else reason(worker.process.exitcode or 0))
        if worker.task is None:
            raise CannotRun(f"a worker could not start: {how}")
        content = (self.folder / f"worker{worker.process.pid}").read_text().strip()
        begun = dict(zip(("shard", "case", "property"), json.loads(content), strict=True)) if content else None
        check = Death(begun["case"], begun["property"], how, hangs) if begun else None
        return death(worker.task, how, check)
