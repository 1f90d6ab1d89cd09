"""Correct layers that compute in unlike ways, each verified at level contract: how many checks, and any false alarm.

python -m benchmarks.false_alarms [--cases N] [--seed N] [LAYER ...]
"""

import argparse
import sys

from properties import verify
from tests.correct import CORRECT


def main() -> int:
    """Print a line for each layer, and return how many were refused."""
    parser = argparse.ArgumentParser(description="Look for false alarms.")
    parser.add_argument("layers", nargs="*", help="classes of tests/correct (default: all)")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    refused = 0
    for layer in CORRECT:
        if given.layers and layer.__name__ not in given.layers:
            continue
        report = verify(layer, cases=given.cases, seed=given.seed)
        refused += not report.passed
        print(report.verdict_line, flush=True)
        for failure in report.failures:
            print(failure.message, flush=True)
    print(f"{refused} refused", flush=True)
    return refused


if __name__ == "__main__":
    sys.exit(main())
