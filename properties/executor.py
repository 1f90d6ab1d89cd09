"""A run on any ``concurrent.futures.Executor``: the same shards, on as many machines as it has."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from properties.away import examine_away, run_away
from properties.implementation import CannotRun
from properties.journal import Journal
from properties.parallel import FailedFast, OnCase, in_order
from properties.record import Record
from properties.report import Report, conclude
from properties.result import Found

_Task = TypeVar("_Task")
# Starting a process takes seconds: so many shards are done by one, unless there are too few to go round.
_MOST_SHARDS = 20
# Whoever did a task may have been lost: another one does it again.
_TRIES = 3


def run_on_executor(
    journal: Journal,
    executor: Executor,
    *,
    jobs: int,
    budget: float | None = None,
    case_timeout: float | None = None,
    fail_fast: bool = False,
    shrink: bool = True,
    regressions: Path | None = None,
    on_case: OnCase = lambda shard, done, of, failed: None,
) -> Report:
    """Carry out the plan of a journal, or what is left of it, by an executor; results are gathered as they come.

    Args:
        journal: the folder of the run.
        executor: what does the work, wherever that is; the implementation must be importable there.
        jobs: tasks at a time.
        budget: seconds after which no further case is begun.
        case_timeout: seconds after which a case counts as hanging.
        fail_fast: stop after the first task in which a property fails.
        shrink: look for the smallest case of every failure.
        regressions: folder to write records to.
        on_case: called with the last case of every shard.

    Raises:
        CannotRun: where a task fails again and again, or the executor breaks; what was done until then is kept.
    """
    plan = journal.plan()
    journal.go_on()
    until = None if budget is None else time.monotonic() + budget
    stopped = None

    def submit(shards: list[str]) -> Future[Any] | None:
        seconds = None if until is None else until - time.monotonic()
        if seconds is not None and seconds <= 0:
            return None
        return executor.submit(run_away, journal.pack(shards), shards, seconds, case_timeout)

    def take(shards: list[str], files: dict[str, str]) -> None:
        journal.unpack(files)
        for result in journal.results(plan, shards):
            failed = [name for name, tally in result.tallies.items() if tally.failed]
            on_case(result.shard, result.cases, result.cases + result.left_out, failed)
            if fail_fast and set(failed) - plan.expected_failures.keys():
                raise FailedFast

    try:
        for left in in_order(journal.left(plan)):
            size = min(_MOST_SHARDS, ceil(len(left) / (4 * jobs)))
            tasks = [left[i : i + size] for i in range(0, len(left), size or 1)]
            _carry_out(tasks, jobs, submit, take)
        if journal.left(plan):
            stopped = "budget"
    except FailedFast:
        stopped = "fail_fast"
    except KeyboardInterrupt:
        stopped, shrink = "interrupted", False
    records: dict[str, Record] = {}

    def examine_away_all(found: Mapping[str, Found]) -> dict[str, Record]:
        def examine(name: str) -> Future[Any]:
            return executor.submit(examine_away, journal.pack([]), name, asdict(found[name]), shrink)

        def keep(name: str, record: dict[str, Any]) -> None:
            records[name] = Record.from_json(record)

        _carry_out(list(found), jobs, examine, keep)
        return records

    report = conclude(plan, journal.results(plan), examine_away_all, stopped=stopped, regressions=regressions)
    journal.end(stopped, records)
    return report


def _carry_out(
    tasks: list[_Task],
    jobs: int,
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
            while waiting and len(running) < jobs:
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
