"""How many times the cases per second two workers do of what one does.

    python -m benchmarks.scaling > benchmarks/scaling.txt

Drawn cases of the shipped layer, at both levels, everything but what compiles. One and two workers take turns, so that
whatever else a machine does meets both; starting them is part of the time.
"""

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from properties.laws import LAWS
from properties.runs.engine import carry_out
from properties.runs.journal import Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.plan import make_plan

CASES = 1500
ROUNDS = 3


def main() -> int:
    """Print the ratio of each round, and their median."""
    # What is judged on drawn cases alone: a run of it has no landmarks and no small scope.
    only = [prop.name for prop in LAWS if prop.on == "drawn"]
    print(f"{CASES} drawn cases, {len(only)} properties, cases per second of two workers over those of one:")
    ratios = []
    for _ in range(ROUNDS):
        one, two = (_rate(jobs, only) for jobs in (1, 2))
        ratios.append(two / one)
        print(f"  {two / one:.2f}", flush=True)
    print(f"median {statistics.median(ratios):.2f}")
    return 0


def _rate(jobs: int, only: list[str]) -> float:
    plan = make_plan("patchify:Patchify", cases=CASES, seed=7, only=only, strength=0)
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        journal.start(plan)
        start = time.perf_counter()
        report = carry_out(LocalWorkers(journal, jobs))
        return report.cases / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
