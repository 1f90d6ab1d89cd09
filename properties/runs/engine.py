"""A run from the plan in its journal to a report, whoever does the work; it may be stopped, and goes on from there."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from properties.failures.record import Record
from properties.runs.journal import Journal
from properties.runs.lock import held
from properties.runs.plan import Plan
from properties.runs.report import Report, conclude
from properties.runs.result import Found
from properties.runs.shard import OnCase
from properties.runs.shard_names import REGRESSIONS


class Workers(Protocol):
    """Whoever does the work of a run."""

    @property
    def journal(self) -> Journal:
        """The folder of the run."""

    @property
    def plan(self) -> Plan:
        """What is to be done."""

    @property
    def not_isolated(self) -> str:
        """Why the layer runs in this process, which it may end; empty where it does not."""

    def run_shards(self, shards: list[str], *, until: float | None = None, on_case: OnCase = ...) -> None:
        """Have shards done; ``until`` is ``time.monotonic()`` after which no case is begun."""

    def examine(self, found: Mapping[str, Found], *, shrink: bool = True) -> dict[str, Record]:
        """Have the smallest failure of each property examined."""


class _FailedFast(Exception):  # noqa: N818 - "the run failed fast"
    """A property has failed in a run that is to stop there."""


def carry_out(
    workers: Workers,
    *,
    budget: float | None = None,
    fail_fast: bool = False,
    shrink: bool = True,
    regressions: Path | None = None,
    on_case: OnCase = lambda shard, done, of, failed: None,
) -> Report:
    """Carry out the plan of a journal, or what is left of it.

    Args:
        workers: who does the work, on which journal: ``LocalWorkers``, ``ExecutorWorkers`` or ``ThisProcess``.
        budget: seconds after which no further case is begun.
        fail_fast: stop as soon as a failure is known.
        shrink: look for the smallest case of every failure.
        regressions: folder to write records to.
        on_case: called whenever cases are done.

    Raises:
        CannotRun: where the workers cannot go on, or another run is going on in the folder; what is done is kept.
    """
    journal = workers.journal
    with held(journal.folder / "lock"):
        plan = workers.plan
        journal.go_on()
        until = None if budget is None else time.monotonic() + budget
        stopped = None

        def watch(shard: str, done: int, of: int, failed: list[str]) -> None:
            on_case(shard, done, of, failed)
            if fail_fast and set(failed) - plan.expected_failures.keys() - {prop.name for prop in plan.told}:
                raise _FailedFast

        try:
            for shards in in_order(journal.left(plan)):
                workers.run_shards(shards, until=until, on_case=watch)
            if journal.left(plan):
                stopped = "budget"
        except _FailedFast:
            stopped = "fail_fast"
        except KeyboardInterrupt:
            stopped, shrink = "interrupted", False
        records: dict[str, Record] = {}

        def examine(found: Mapping[str, Found]) -> dict[str, Record]:
            records.update(workers.examine(found, shrink=shrink))
            return records

        report = conclude(plan, journal.results(plan), examine, stopped=stopped, regressions=regressions)
        journal.end(stopped, records)
        return replace(report, not_isolated=workers.not_isolated)


def in_order(shards: Iterable[str]) -> list[list[str]]:
    """What is run before the rest: records are replayed before anything is drawn."""
    shards = list(shards)
    return [[shard for shard in shards if (shard == REGRESSIONS) == known] for known in (True, False)]
