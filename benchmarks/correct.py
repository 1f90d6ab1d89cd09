"""Right layers of unlike make, each verified at level contract with several seeds: no law may fail one of them.

    python -m benchmarks.correct [--seeds 1,2,3] [--cases N] [--parts eager,compiled,small] [--budget TIME]
        [--case-timeout TIME] [--out FILE] [LAYER ...]

A run of the quick profile in parts: what runs in eager mode, what is compiled, and the small scope, which like the
landmarks is the same for every seed and is run for the first one alone. Results are written line by line, and a run
goes on after those that are there. What is too dear for ``--case-timeout`` is not judged, and counted.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from properties.runs.journal import Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.parsing import duration, names, seeds
from properties.runs.plan import make_plan
from properties.runs.profiles import PROFILES
from properties.runs.report import conclude
from properties.runs.shard_names import LANDMARKS, is_compiled, is_small
from tests.correct import CORRECT

QUICK = PROFILES["quick"]
PARTS = ("eager", "compiled", "small")
Key = tuple[str, int, str]


def work(seeds: Sequence[int]) -> list[Key]:
    """The parts of all runs: all layers before the next seed, and the small scope last, so that a few say most."""
    turns = [(seed, part) for seed in seeds for part in PARTS if part != "small"] + [(seeds[0], "small")]
    return [(layer.__name__, *turn) for turn in turns for layer in CORRECT]


def part_of(shard: str) -> str:
    """Which part of a run a shard belongs to."""
    return "compiled" if is_compiled(shard) else "small" if is_small(shard) else "eager"


def run(layer: type[Any], seed: int, part: str, *, cases: int, first: bool, timeout: float) -> dict[str, Any]:
    """Verify a layer, and say what came of it; the shards that no seed changes only where this one is the first."""
    began = time.monotonic()
    plan = make_plan(layer, cases=cases, strength=QUICK.strength, seed=seed)
    shards = [shard for shard in plan.shards if part_of(shard) == part and (first or shard != LANDMARKS)]
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        journal.start(plan)
        workers = LocalWorkers(journal, 1, timeout)
        workers.run_shards(shards)
        report = conclude(plan, journal.results(plan, shards), workers.examine, stopped="interrupted")
    lost = Counter[str]()
    for tally in report.tallies.values():
        lost.update(tally.lost)
    return {
        "layer": layer.__name__,
        "seed": seed,
        "part": part,
        "drawn": cases,
        "cases": report.cases,
        "checks": sum(report.checks.values()),
        "lost to torch": dict(lost),
        "not judged": list(report.not_judged),
        "failed": {failure.property: failure.message for failure in report.failures},
        "seconds": round(time.monotonic() - began),
    }


def read(path: Path) -> dict[Key, dict[str, Any]]:
    """The results so far."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(row["layer"], row["seed"], row["part"]): row for row in rows}


def table(rows: Mapping[Key, Mapping[str, Any]], wanted: list[Key]) -> Iterator[str]:
    """A line for each layer: what was run of it, and what came of that; then every failure."""
    ran = [key for key in wanted if key in rows]
    yield f"{len(ran)} of {len(wanted)} parts were run"
    yield f"{'layer':22} {'parts':>7} {'checks':>8} {'lost':>5} {'not judged':>10} {'failed':>6}"
    for layer in dict.fromkeys(key[0] for key in ran):
        mine = [rows[key] for key in ran if key[0] == layer]
        counts = [
            sum(row["checks"] for row in mine),
            sum(sum(row["lost to torch"].values()) for row in mine),
            sum(len(row["not judged"]) for row in mine),
            sum(len(row["failed"]) for row in mine),
        ]
        parts = f"{len(mine)}/{sum(key[0] == layer for key in wanted)}"
        yield f"{layer:22} {parts:>7} {counts[0]:>8} {counts[1]:>5} {counts[2]:>10} {counts[3]:>6}"
    for key in ran:
        yield from (f"{' '.join(map(str, key))}: {message}" for message in rows[key]["failed"].values())
        yield from (f"{' '.join(map(str, key))}: {told}" for told in rows[key]["not judged"])


def main() -> int:
    """Run what is left, print the table, and return how many layers were rejected."""
    parser = argparse.ArgumentParser(description="Verify right layers.")
    parser.add_argument("layers", nargs="*", help="classes of tests/correct (default: all)")
    parser.add_argument("--seeds", type=seeds, default=[1, 2, 3])
    parser.add_argument("--cases", type=int, default=QUICK.cases, help=f"random cases (default: {QUICK.cases})")
    parser.add_argument("--parts", type=names, default=PARTS, help=f"some of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--budget", type=duration, default=36_000.0, help="no part is begun after it (default: 10h)")
    parser.add_argument("--case-timeout", type=duration, default=300.0, help="when a case is too dear (default: 5m)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    given = parser.parse_args()
    layers = {layer.__name__: layer for layer in CORRECT if not given.layers or layer.__name__ in given.layers}
    wanted = [key for key in work(given.seeds) if key[0] in layers and key[2] in given.parts]
    done, until = read(given.out), time.monotonic() + given.budget
    for key in wanted:
        if key not in done and time.monotonic() < until:
            name, seed, part = key
            whole = seed == given.seeds[0]
            row = run(layers[name], seed, part, cases=given.cases, first=whole, timeout=given.case_timeout)
            with given.out.open("a") as out:
                out.write(json.dumps(row) + "\n")
            print(*key, "REJECTED" if row["failed"] else "accepted", flush=True)
    rows = read(given.out)
    print(*table(rows, wanted), sep="\n")
    return len({key[0] for key in wanted if key in rows and rows[key]["failed"]})


if __name__ == "__main__":
    sys.exit(main())
