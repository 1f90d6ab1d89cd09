"""A run on several processes, which survives what they do not."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from properties.failure import examine
from properties.implementation import CannotRun
from properties.journal import Death, Journal
from properties.plan import Plan
from properties.platform import check_machine
from properties.pool import Pool, Task
from properties.record import Record
from properties.report import Report, conclude
from properties.result import Found

# Called with a shard, the cases of it that are done, their number, and the properties that failed on the last one.
OnCase = Callable[[str, int, int, list[str]], None]


class FailedFast(Exception):  # noqa: N818 - "the run failed fast"
    """A property has failed in a run that is to stop there."""


def run_on_workers(
    journal: Journal,
    *,
    jobs: int,
    budget: float | None = None,
    case_timeout: float | None = None,
    fail_fast: bool = False,
    shrink: bool = True,
    regressions: Path | None = None,
    on_case: OnCase = lambda shard, done, of, failed: None,
) -> Report:
    """Carry out the plan of a journal, or what is left of it.

    Args:
        journal: the folder of the run.
        jobs: processes.
        budget: seconds after which no further case is begun.
        case_timeout: seconds after which a case counts as hanging.
        fail_fast: stop after the first case on which a property fails.
        shrink: look for the smallest case of every failure.
        regressions: folder to write records to.
        on_case: called after every case.
    """
    plan = journal.plan()
    check_machine(plan.device)
    journal.go_on()
    until = None if budget is None else time.monotonic() + budget
    stopped = None

    def watch(shard: str, done: int, of: int, failed: list[str]) -> None:
        on_case(shard, done, of, failed)
        if fail_fast and set(failed) - plan.expected_failures.keys():
            raise FailedFast

    try:
        for shards in in_order(journal.left(plan)):
            run_shards(journal, shards, jobs=jobs, until=until, case_timeout=case_timeout, on_case=watch)
        if journal.left(plan):
            stopped = "budget"
    except FailedFast:
        stopped = "fail_fast"
    except KeyboardInterrupt:
        stopped, shrink = "interrupted", False
    records: dict[str, Record] = {}

    def examine_on_workers(found: Mapping[str, Found]) -> dict[str, Record]:
        records.update(examine_failures(journal, plan, found, jobs=jobs, shrink=shrink))
        return records

    report = conclude(plan, journal.results(plan), examine_on_workers, stopped=stopped, regressions=regressions)
    journal.end(stopped, records)
    return report


def in_order(shards: Iterable[str]) -> list[list[str]]:
    """What is run before the rest: records are replayed before anything is drawn."""
    shards = list(shards)
    return [[shard for shard in shards if (shard == "regressions") == known] for known in (True, False)]


def run_shards(
    journal: Journal,
    shards: Iterable[str],
    *,
    jobs: int,
    until: float | None = None,
    case_timeout: float | None = None,
    on_case: OnCase = lambda shard, done, of, failed: None,
) -> None:
    """Have some shards of a run done; ``until`` is ``time.monotonic()`` after which no case is begun."""

    def answer(task: Task, message: Any) -> bool:
        if message is None:
            return True
        on_case(*message)
        return False

    def death(task: Task, how: str, check: Death | None) -> Task:
        if check is None:
            raise CannotRun(f"{how} before the first check of the shard {task[0]}")
        journal.add_death(task[0], check)
        return task

    with Pool(journal.folder, jobs, case_timeout) as pool:
        pool.run([(shard, until) for shard in shards], answer, death)


def examine_failures(
    journal: Journal, plan: Plan, found: Mapping[str, Found], *, jobs: int, shrink: bool
) -> dict[str, Record]:
    """Have failures examined, the smallest of each property, by workers, unless they are known to end one."""
    props = {prop.name: prop for prop in plan.properties}
    records = {name: examine(plan, props[name], one) for name, one in found.items() if one.died}

    def answer(task: Task, record: Any) -> bool:
        records[task[0]] = Record.from_json(record)
        return True

    def death(task: Task, how: str, check: Death | None) -> Task | None:
        """What does not survive being made small is left as it is, and what does not survive that either is a death."""
        name, one, shrinks = task
        if shrinks:
            return (name, one, False)
        records[name] = examine(plan, props[name], replace(one, died=how))
        return None

    with Pool(journal.folder, jobs, None) as pool:
        pool.run([(name, one, shrink) for name, one in found.items() if name not in records], answer, death)
    return records
