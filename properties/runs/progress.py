"""How far a run is: what is being done, how much is left, and what has failed by then."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from properties.runs.shard import OnCase
from properties.runs.shard_names import NAMES, is_small, kind_of

# Seconds between two lines where there is no terminal to draw on.
_PAUSE = 15.0
# An estimate that was wrong by more than this factor is told no longer.
_TRUSTED = 1.5


class Estimate:
    """How long the rest of a run takes, by what the cases of each kind took until now; it never grows.

    There is none before some cases of every kind have been timed, nor while the last one that was told is far too low.

    Args:
        shards: what is to be done.
        now: the time in seconds.
    """

    def __init__(self, shards: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._start = now()
        self._shards = shards
        self._done: dict[str, int] = {}
        self._of: dict[str, int] = {}
        self._heard: dict[str, float] = {}
        self._spent: dict[str, float] = defaultdict(float)
        self._timed: dict[str, int] = defaultdict(int)
        self._told: float | None = None

    def add(self, shard: str, done: int, of: int) -> None:
        """Note that so many cases of a shard are done, of how many."""
        now = self._now()
        if shard in self._heard:
            self._spent[kind_of(shard)] += now - self._heard[shard]
            self._timed[kind_of(shard)] += done - self._done[shard]
        self._done[shard], self._of[shard], self._heard[shard] = done, of, now

    @property
    def cases(self) -> int:
        """The cases that are done."""
        return sum(self._done.values())

    @property
    def finished(self) -> int:
        """The shards that are done."""
        return sum(done == self._of[shard] for shard, done in self._done.items())

    def left(self) -> float | None:
        """Seconds that are left, None where that is not known well enough."""
        kinds: dict[str, list[str]] = defaultdict(list)
        for shard in self._shards:
            kinds[kind_of(shard)].append(shard)
        work_done = work_left = 0.0
        for kind, shards in kinds.items():
            begun = [shard for shard in shards if shard in self._of]
            done = sum(self._done[shard] for shard in begun)
            all_cases = sum(self._of[shard] for shard in begun) / len(begun) * len(shards) if begun else 1
            if self._timed[kind] == 0 and done < all_cases:
                return None
            each = self._spent[kind] / max(self._timed[kind], 1)
            work_done += each * done
            work_left += each * (all_cases - done)
        if work_done == 0:
            return None
        found = (self._now() - self._start) * work_left / work_done
        if self._told is not None and found > _TRUSTED * self._told:
            return None
        self._told = found if self._told is None else min(self._told, found)
        return self._told


@contextmanager
def watched(shards: Sequence[str]) -> Iterator[OnCase]:
    """Show how far a run on some shards is where somebody watches, on standard error: in a terminal or a notebook."""
    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        with shown(console, shards) as on_case:
            yield on_case
    else:
        yield lambda shard, done, of, failed: None


@contextmanager
def shown(console: Console, shards: Sequence[str]) -> Iterator[OnCase]:
    """Show how far a run on some shards is; gives what is to be called after every case.

    The first statement is about the first small shapes, seconds after the start: what is simply wrong fails on them.
    Where the console is no terminal, a line is written to standard error from time to time: what is printed is the same
    for the same seed.
    """
    if not console.is_terminal:
        console = Console(stderr=True, width=console.width)
    estimate, failed_by_now = Estimate(shards), set[str]()
    said, stated = time.monotonic(), False
    columns = (BarColumn(12), TextColumn("{task.fields[told]}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("run", total=len(shards), told="")

        def on_case(shard: str, done: int, of: int, failed: Sequence[str]) -> None:
            nonlocal said, stated
            estimate.add(shard, done, of)
            for name in failed:
                if name not in failed_by_now:
                    failed_by_now.add(name)
                    console.print(Text(f"failed: {name}", style="bold red"), soft_wrap=True)
            if not stated and done == of and is_small(shard):
                stated = True
                if not failed_by_now:
                    console.print(f"nothing has failed on the first {estimate.cases:,} cases, {_name(shard)}")
            left = estimate.left()
            told = f"{estimate.finished} of {len(shards)} shards, {estimate.cases} cases, {_name(shard)}"
            told += "" if left is None else f", {_about(left)} left"
            progress.update(bar, completed=estimate.finished, told=told)
            if progress.disable and time.monotonic() - said >= _PAUSE:
                said = time.monotonic()
                console.print(Text(told), soft_wrap=True)

        yield on_case


def _name(shard: str) -> str:
    return NAMES.get(kind_of(shard), kind_of(shard))


def _about(seconds: float) -> str:
    if seconds < 60:
        return "under a minute"
    return f"about {timedelta(minutes=round(seconds / 60))}".removesuffix(":00") + " h"
