"""A run on several processes, which survives what they do not."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from oracles.agreement import check_oracles
from properties.failure import Failure, investigate
from properties.implementation import CannotRun
from properties.journal import Death, Journal
from properties.plan import Plan
from properties.pool import Pool, Task
from properties.report import Report, conclude
from properties.result import Found, ShardResult, gather
from properties.shard import AfterCase


class _FailedFast(Exception):  # noqa: N818 - "the run failed fast"
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
    after_case: AfterCase = lambda shard, done, of: None,
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
        after_case: called after every case with the shard, the cases done and their number.
    """
    plan = journal.plan()
    check_oracles(torch.device(plan.device))
    until = None if budget is None else time.monotonic() + budget
    stopped = None

    def answer(task: Task, message: Any) -> bool:
        if message is None:
            return True
        shard, done, of, failed = message
        after_case(shard, done, of)
        if fail_fast and set(failed) - plan.expected_failures.keys():
            raise _FailedFast
        return False

    def death(task: Task, how: str, check: Death | None) -> Task:
        if check is None:
            raise CannotRun(f"{how} before the first check of the shard {task[0]}")
        journal.add_death(task[0], check)
        return task

    left = [shard for shard in plan.shards if journal.finished(shard) is None]
    with Pool(journal.folder, jobs, case_timeout) as pool:
        try:
            # Records are replayed before anything is drawn.
            for known in (True, False):
                pool.run([(shard, until) for shard in left if (shard == "regressions") == known], answer, death)
            if any(journal.finished(shard) is None for shard in left):
                stopped = "budget"
        except _FailedFast:
            stopped = "fail_fast"
        except KeyboardInterrupt:
            stopped, shrink = "interrupted", False
    results = [result for shard in plan.shards if (result := _so_far(plan, journal, shard))]
    return conclude(plan, results, _investigated(plan, journal, results, jobs, shrink, regressions), stopped)


def _so_far(plan: Plan, journal: Journal, shard: str) -> ShardResult | None:
    """What came of a shard, or of a part of it; None where it has not begun."""
    finished = journal.finished(shard)
    if finished is None and journal.begun(shard):
        return gather(shard, journal.done(shard, plan.cases_of(shard)))
    return finished


def _investigated(
    plan: Plan, journal: Journal, results: list[ShardResult], jobs: int, shrink: bool, regressions: Path | None
) -> list[Failure]:
    """Every failure, investigated by a worker unless it is known to end one."""
    failures: dict[str, Failure] = {}
    props = {prop.name: prop for prop in plan.properties}

    def settle(name: str, found: Found) -> None:
        failures[name] = investigate(plan, props[name], found, regressions=regressions)

    def answer(task: Task, failure: Failure) -> bool:
        failures[task[0]] = failure
        return True

    def death(task: Task, how: str, check: Death | None) -> Task | None:
        """What does not survive being made small is left as it is, and what does not survive that either is a death."""
        name, found, shrinks, folder = task
        if shrinks:
            return (name, found, False, folder)
        settle(name, replace(found, died=how))
        return None

    tasks = []
    for name, tally in Report(plan, tuple(results)).tallies.items():
        found = tally.smallest_failure
        if found is not None and found.died:
            settle(name, found)
        elif found is not None:
            tasks.append((name, found, shrink, regressions))
    with Pool(journal.folder, jobs, None) as pool:
        pool.run(tasks, answer, death)
    return [failures[name] for name in props if name in failures]
