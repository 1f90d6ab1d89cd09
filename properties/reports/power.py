"""How sharp the properties are: what detects each mutant, and after how many cases."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from properties.runs.plan import make_plan
from properties.runs.shard import run_case
from properties.trials.implementation import CannotRun, import_module

_MUTANTS = "tests.mutants"


@dataclass(frozen=True)
class Detection:
    """Where a run met a mutant: after how many cases and CPU seconds, and which properties failed on the last case."""

    cases: int
    seconds: float
    properties: tuple[str, ...]


def mutants() -> tuple[Any, ...]:
    """The deliberately wrong layers of a clone's ``tests/mutants``; none where the current directory is no clone."""
    try:
        found: tuple[Any, ...] = import_module(_MUTANTS).MUTANTS
    except ModuleNotFoundError as missing:
        # Mutant bugs that are there but cannot be imported are an error, not an absence.
        if missing.name not in (_MUTANTS, _MUTANTS.partition(".")[0]):
            raise
        return ()
    return found


def detect(implementation: Any, seed: int) -> Detection | None:
    """Run the default run's cases, both levels, in its order until a property fails; None where none does."""
    plan = make_plan(implementation, seed=seed, levels=("contract", "robust"))
    cases = ((shard, case) for shard in plan.shards for case in plan.cases_of(shard).values())
    seconds = 0.0
    for count, (shard, case) in enumerate(cases, start=1):
        began = time.process_time()
        failed = run_case(plan, plan.properties_of(shard), case, owners=plan.owners_of(shard)).failed
        # Of the cases alone: each run draws the same ones.
        seconds += time.process_time() - began
        if failed:
            return Detection(count, seconds, tuple(failed))
    return None


def print_power(console: Console, *, seeds: Sequence[int], only: Sequence[str] | None = None) -> bool:
    """Print how every mutant is detected, and return whether all are, with every seed.

    Args:
        console: where to print.
        seeds: the run seeds to detect each with.
        only: names of mutants; None means all.

    Raises:
        CannotRun: where there are no mutants, or none of a given name.
    """
    known = mutants()
    if not known:
        raise CannotRun("the mutants are in tests/mutants of a clone of the project; run this there")
    unknown = set(only or ()) - {mutant.name for mutant in known}
    if unknown:
        raise CannotRun(f"only names {', '.join(sorted(unknown))}, which is no mutant, such as {known[0].name}")
    chosen = [mutant for mutant in known if only is None or mutant.name in only]
    table = Table("mutant", "detected by", box=None, pad_edge=False, header_style="bold")
    for heading in ("median", "worst", "CPU seconds"):
        table.add_column(heading, justify="right")
    counts: list[int] = []
    seconds: list[float] = []
    missed = []
    for mutant in chosen:
        detections = [detect(mutant.layer, seed) for seed in seeds]
        found = [detection for detection in detections if detection]
        names = dict.fromkeys(name for detection in found for name in detection.properties)
        cases = [detection.cases for detection in found]
        counts += cases
        seconds += [detection.seconds for detection in found]
        if len(found) < len(seeds):
            missed.append(mutant.name)
        table.add_row(
            mutant.name,
            ", ".join(names) or "NOTHING",
            f"{statistics.median(cases):g}" if cases else "",
            str(max(cases)) if len(cases) == len(seeds) else "missed",
            f"{statistics.median(detection.seconds for detection in found):.1f}" if found else "",
        )
        console.print(Text(f"{mutant.name}: {len(found)} of {len(seeds)}"), style="dim")
    console.print(table)
    for name in missed:
        console.print(Text(f"not detected with every seed: {name}"))
    told = "none"
    if counts:
        late = sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]
        told = (
            f"median {statistics.median(counts):g} and worst {max(counts)} cases, "
            f"median {statistics.median(seconds):.1f} and 95th percentile {late:.1f} CPU seconds"
        )
    console.print(
        Text(
            f"{len(chosen) - len(missed)} of {len(chosen)} mutants detected with each of the seeds "
            f"{', '.join(map(str, seeds))}; until then: {told}"
        ),
        soft_wrap=True,
    )
    return not missed
