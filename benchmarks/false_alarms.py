"""Correct layers that compute in unlike ways, each verified at level contract: how many checks, and any false alarm.

python -m benchmarks.false_alarms [--cases N] [--compiled-for N] [--seed N] [LAYER ...]
"""

import argparse
import sys

from properties import verify
from properties.laws import LAWS
from tests.correct import CORRECT

# Compiling takes nearly all of the time, so it gets its own, smaller number of cases.
COMPILED = [prop.name for prop in LAWS if prop.level == "contract" and prop.on == "compiled"]
OTHERS = [prop.name for prop in LAWS if prop.level == "contract" and prop.on != "compiled"]


def main() -> int:
    """Print two lines for each layer, and return how many were refused."""
    parser = argparse.ArgumentParser(description="Look for false alarms.")
    parser.add_argument("layers", nargs="*", help="classes of tests/correct (default: all)")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--compiled-for", type=int, default=300, help="cases of the run whose compiled ones are judged")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    refused = set()
    for layer in CORRECT:
        if given.layers and layer.__name__ not in given.layers:
            continue
        for cases, only in ((given.cases, OTHERS), (given.compiled_for, COMPILED)):
            report = verify(layer, cases=cases, seed=given.seed, only=only)
            print(report.verdict_line, flush=True)
            if not report.passed:
                refused.add(layer)
                print(*report.problems, *(failure.message for failure in report.failures), sep="\n", flush=True)
    print(f"{len(refused)} refused", flush=True)
    return len(refused)


if __name__ == "__main__":
    sys.exit(main())
