"""This process as what does the work of a run: for layers that no other process can import, and for debuggers."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from properties.failures.record import Record
from properties.runs.failure import EXAMINING, examine
from properties.runs.journal import Journal
from properties.runs.plan import Plan
from properties.runs.result import Found
from properties.runs.shard import OnCase, finish_shard
from properties.trials.faults import check_machine


@dataclass(frozen=True)
class ThisProcess:
    """This process, which a layer may end, or keep for ever.

    Attributes:
        journal: the folder of the run.
        plan: what is to be done.
        not_isolated: why no other process does it.
    """

    journal: Journal
    plan: Plan
    not_isolated: str

    def run_shards(
        self,
        shards: Iterable[str],
        *,
        until: float | None = None,
        on_case: OnCase = lambda shard, done, of, failed: None,
    ) -> None:
        """Do some shards of a run; the arguments are those of the other workers."""
        check_machine(self.plan.device)
        for shard in shards:
            finish_shard(self.plan, self.journal, shard, until, on_case)

    def examine(self, found: Mapping[str, Found], *, shrink: bool = True) -> dict[str, Record]:
        """Examine failures, the smallest of each property."""
        props = {prop.name: prop for prop in (*self.plan.properties, *self.plan.owners)}
        until = time.monotonic() + EXAMINING
        return {name: examine(self.plan, props[name], one, shrink=shrink, until=until) for name, one in found.items()}
