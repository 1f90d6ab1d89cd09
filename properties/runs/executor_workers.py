"""Any ``concurrent.futures.Executor`` as what does the work of a run, on as many machines as it has."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil
from typing import Any, TypeVar

from properties.failures.record import Record
from properties.runs.journal import Journal
from properties.runs.plan import Plan
from properties.runs.remote import examine_away, run_away
from properties.runs.result import Found
from properties.runs.shard import OnCase
from properties.trials.implementation import CannotRun

_Task = TypeVar("_Task")
# Starting a process takes seconds: so many shards are done by one, unless there are too few to go round.
_MOST_SHARDS = 20
# Whoever did a task may have been lost: another one does it again.
_TRIES = 3


@dataclass(frozen=True)
class ExecutorWorkers:
    """An executor, wherever that is; results are gathered as they come.

    Attributes:
        journal: the folder of the run.
        executor: what does the work; the implementation must be importable there.
        jobs: tasks at a time.
        case_timeout: seconds after which a case counts as hanging.
    """

    journal: Journal
    executor: Executor
    jobs: int
    case_timeout: float | None = None
    not_isolated = ""

    @cached_property
    def plan(self) -> Plan:
        """The plan of the run."""
        return self.journal.plan()

    def run_shards(
        self,
        shards: list[str],
        *,
        until: float | None = None,
        on_case: OnCase = lambda shard, done, of, failed: None,
    ) -> None:
        """Have some shards of a run done.

        Args:
            shards: their names.
            until: ``time.monotonic()`` after which no case is begun.
            on_case: called with the last case of every shard.

        Raises:
            CannotRun: where a task fails again and again, or the executor breaks; what was done until then is kept.
        """

        def submit(some: list[str]) -> Future[Any] | None:
            seconds = None if until is None else until - time.monotonic()
            if seconds is not None and seconds <= 0:
                return None
            return self.executor.submit(run_away, self.journal.pack(some), some, seconds, self.case_timeout)

        def take(some: list[str], files: dict[str, str]) -> None:
            self.journal.unpack(files, some)
            for result in self.journal.results(self.plan, some):
                failed = [name for name, tally in result.tallies.items() if tally.failed]
                on_case(result.shard, result.cases, result.cases + result.left_out, failed)

        size = min(_MOST_SHARDS, ceil(len(shards) / (4 * self.jobs)))
        self._do_all([shards[i : i + size] for i in range(0, len(shards), size or 1)], submit, take)

    def examine(self, found: Mapping[str, Found], *, shrink: bool = True) -> dict[str, Record]:
        """Have failures examined, the smallest of each property."""
        records: dict[str, Record] = {}

        def submit(name: str) -> Future[Any]:
            return self.executor.submit(
                examine_away, self.journal.pack([]), name, asdict(found[name]), shrink, self.case_timeout
            )

        def take(name: str, record: dict[str, Any]) -> None:
            records[name] = Record.from_json(record)

        self._do_all(list(found), submit, take)
        return records

    def _do_all(
        self,
        tasks: list[_Task],
        submit: Callable[[_Task], Future[Any] | None],
        take: Callable[[_Task, Any], None],
    ) -> None:
        """Have tasks done, so many at a time; a task that cannot be submitted any more is left out.

        Raises:
            CannotRun: where a task failed too often, after the others are done, or the executor takes no more.
        """
        waiting = deque((task, 1) for task in tasks)
        running: dict[Future[Any], tuple[_Task, int]] = {}
        lost: list[str] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    task, tries = waiting.popleft()
                    future = submit(task)
                    if future is not None:
                        running[future] = task, tries
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task, tries = running.pop(future)
                    error = future.exception()
                    if error is None:
                        take(task, future.result())
                    elif isinstance(error, CannotRun):
                        raise error
                    elif tries < _TRIES:
                        waiting.append((task, tries + 1))
                    else:
                        lost.append(f"{task}, {tries} times: {type(error).__name__}: {error}")
        except BrokenExecutor as error:
            raise CannotRun(f"the executor takes no more tasks, what is done is kept: {error}") from error
        finally:
            for future in running:
                future.cancel()
        if lost:
            raise CannotRun("\n  ".join(["some tasks were not done; the rest is kept:", *lost]))
