"""How far a run is: how many cases, how fast, and how long it will still take."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from properties.parallel import OnCase

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
    counts: dict[str, tuple[int, int]] = {}
    start = said = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("run", total=len(shards), told="")

        def on_case(shard: str, done: int, of: int, failed: Sequence[str]) -> None:
            nonlocal said
            counts[shard] = done, of
            finished = sum(done / of for done, of in counts.values())
            seconds = max(time.monotonic() - start, 1e-9)
            cases = sum(done for done, _ in counts.values())
            told = f"{finished:.0f} of {len(shards)} shards, {cases} cases, {cases / seconds:.1f} cases/s"
            progress.update(bar, completed=finished, told=told)
            if progress.disable and time.monotonic() - said >= _PAUSE:
                said = time.monotonic()
                left = timedelta(seconds=round(seconds * (len(shards) - finished) / finished))
                print(f"{told}, about {left} left", flush=True)

        yield on_case
