"""How far a run is: how many cases, how fast, and how long it will still take."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from properties.runs.shard import OnCase

# Seconds between two lines where there is no terminal to draw on.
_PAUSE = 15.0


@contextmanager
def shown(console: Console, shards: Sequence[str]) -> Iterator[OnCase]:
    """Show how far a run on some shards is; gives what is to be called after every case."""
    columns = (
        TextColumn("{task.fields[told]}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    before: dict[str, int] = {}
    finished, cases = 0.0, 0
    start = said = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("run", total=len(shards), told="")

        def on_case(shard: str, done: int, of: int, failed: Sequence[str]) -> None:
            nonlocal said, finished, cases
            more = done - before.get(shard, 0)
            before[shard] = done
            finished += more / of
            cases += more
            seconds = max(time.monotonic() - start, 1e-9)
            told = f"{finished:.0f} of {len(shards)} shards, {cases} cases, {cases / seconds:.1f} cases/s"
            progress.update(bar, completed=finished, told=told)
            if progress.disable and time.monotonic() - said >= _PAUSE:
                said = time.monotonic()
                left = timedelta(seconds=round(seconds * (len(shards) - finished) / finished))
                print(f"{told}, about {left} left", flush=True)

        yield on_case
