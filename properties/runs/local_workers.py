"""Processes on this machine, which do the work of a run, and survive what a layer does not."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from properties.failures.isolation import Child
from properties.failures.record import Record
from properties.runs.failure import EXAMINING
from properties.runs.journal import Death, Journal
from properties.runs.plan import Plan
from properties.runs.pool import Pool, Task
from properties.runs.result import Found
from properties.runs.shard import OnCase
from properties.runs.worker import forked_worker
from properties.trials.implementation import CannotRun


@dataclass(frozen=True)
class LocalWorkers:
    """Processes on this machine.

    Attributes:
        journal: the folder of the run.
        jobs: how many processes.
        case_timeout: seconds after which a case counts as hanging.
        start: starts one of them.
    """

    journal: Journal
    jobs: int
    case_timeout: float | None = None
    start: Callable[[Path], Child] = forked_worker
    not_isolated = ""

    @cached_property
    def plan(self) -> Plan:
        """The plan of the run."""
        return self.journal.plan()

    def run_shards(
        self,
        shards: Iterable[str],
        *,
        until: float | None = None,
        on_case: OnCase = lambda shard, done, of, failed: None,
    ) -> None:
        """Have some shards of a run done.

        Args:
            shards: their names.
            until: ``time.monotonic()`` after which no case is begun.
            on_case: called after every case.

        Raises:
            CannotRun: where the device is absent, or a process ends before it has begun a check.
            OracleError: where the oracles are wrong on this machine.
        """

        def answer(task: Task, message: Any) -> bool:
            if message is None:
                return True
            on_case(*message)
            return False

        def death(task: Task, how: str, check: Death | None) -> Task:
            if check is None:
                raise CannotRun(f"{how} before the first check of the shard {task[0]}")
            self.journal.add_death(task[0], check)
            return task

        with Pool(self.journal.folder, self.jobs, self.case_timeout, self.start) as pool:
            pool.run([[shard, until] for shard in shards], answer, death)

    def examine(self, found: Mapping[str, Found], *, shrink: bool = True) -> dict[str, Record]:
        """Have failures examined, the smallest of each property."""
        until = time.monotonic() + EXAMINING
        records: dict[str, Record] = {}

        def answer(task: Task, message: Any) -> bool:
            done, told = message
            if told is not None:
                records[task[0]] = Record.believed(told)
            return bool(done)

        def death(task: Task, how: str, check: Death | None) -> Task | None:
            """What does not survive being made small stays as small as it is; what it does not survive then is told."""
            name, one, shrinks, _ = task
            known = records.get(name)
            if shrinks:
                return [name, {**one, "case": known.case.to_json()} if known else one, False, until]
            if known:
                records[name] = replace(known, cause=f"not found: {how}, while it was looked for")
                return None
            if one["died"]:
                raise CannotRun(f"{how} while the failure of {name} was written down")
            return [name, {**one, "died": how}, False, until]

        with Pool(self.journal.folder, self.jobs, self.case_timeout, self.start) as pool:
            pool.run([[name, asdict(one), shrink, until] for name, one in found.items()], answer, death)
        return records
