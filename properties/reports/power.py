"""How sharp the properties are: what detects each mutant, and after how many cases."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from properties.cases.case import Case
from properties.runs.plan import Plan, make_plan
from properties.runs.shard import run_case
from properties.runs.shard_names import (
    COMPILED,
    COMPILED_STEERED,
    LANDMARKS,
    RANDOM,
    REGRESSIONS,
    SMALL,
    STEERED,
    kind_of,
)
from properties.trials.implementation import CannotRun, import_module

_MUTANTS = "tests.mutants"


@dataclass(frozen=True)
class Detection:
    """Where a run first met a mutant: how many cases it took, and which properties failed on the last of them."""

    cases: int
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
    """Run the default run's cases, both levels, one by one until a property fails; None where none does."""
    plan = make_plan(implementation, seed=seed, levels=("contract", "robust"))
    for count, (shard, case) in enumerate(_cases(plan), start=1):
        failed = run_case(plan, plan.properties_of(shard), case).failed
        if failed:
            return Detection(count, tuple(failed))
    return None


def _cases(plan: Plan) -> Iterator[tuple[str, Case]]:
    """The cases of a run, drawn ones first: of those that are compiled one of each kind after each drawn shard."""

    def of(*kinds: str) -> Iterator[tuple[str, Case]]:
        for shard in plan.shards:
            if kind_of(shard) in kinds:
                for case in plan.cases_of(shard).values():
                    yield shard, case

    compiled = [of(kind) for kind in COMPILED.values()]
    for shard in plan.shards:
        if kind_of(shard) == RANDOM:
            yield from ((shard, case) for case in plan.cases_of(shard).values())
            for kind in compiled:
                yield from islice(kind, 1)
    others = ((STEERED,), (COMPILED_STEERED,), (LANDMARKS,), SMALL.values(), (REGRESSIONS,))
    for found in (*compiled, *(of(*kinds) for kinds in others)):
        yield from found


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
    for heading in ("median", "worst"):
        table.add_column(heading, justify="right")
    counts: list[int] = []
    missed = []
    for mutant in chosen:
        detections = [detect(mutant.layer, seed) for seed in seeds]
        found = [detection for detection in detections if detection]
        names = dict.fromkeys(name for detection in found for name in detection.properties)
        cases = [detection.cases for detection in found]
        counts += cases
        if len(found) < len(seeds):
            missed.append(mutant.name)
        table.add_row(
            mutant.name,
            ", ".join(names) or "NOTHING",
            f"{statistics.median(cases):g}" if cases else "",
            str(max(cases)) if len(cases) == len(seeds) else "missed",
        )
        console.print(Text(f"{mutant.name}: {len(found)} of {len(seeds)}"), style="dim")
    console.print(table)
    for name in missed:
        console.print(Text(f"not detected with every seed: {name}"))
    cases_to_detection = f"median {statistics.median(counts):g}, worst {max(counts)}" if counts else "none"
    console.print(
        Text(
            f"{len(chosen) - len(missed)} of {len(chosen)} mutants detected with each of the seeds "
            f"{', '.join(map(str, seeds))}; cases to detection: {cases_to_detection}"
        ),
        soft_wrap=True,
    )
    return not missed
