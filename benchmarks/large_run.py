"""A large run on the shipped layer, at both levels: its report, and the memory of its processes on the way.

    python -m benchmarks.large_run DIR [CASES] > benchmarks/large_run.txt

``DIR`` is the folder of the run; where it holds one that was interrupted, that goes on.
"""

import sys
from pathlib import Path

import psutil
from rich.console import Console

from properties.reports.json import write_report
from properties.reports.text import headline, print_report
from properties.runs.cores import cores
from properties.runs.engine import carry_out
from properties.runs.journal import Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.plan import make_plan
from properties.runs.profiles import PROFILES

CASES = 200_000
# Cases after which to look at the memory for the first time, and between two looks from then on.
_FIRST, _EVERY = 1000, 10_000
_MIB = 2**20


def main(folder: Path, cases: int) -> int:
    """Run, or go on with a run, and print what came of it."""
    journal = Journal(folder)
    if not (folder / "plan.json").exists():
        levels = ("contract", "robust")
        plan = make_plan("patchify:Patchify", cases=cases, levels=levels, strength=PROFILES["nightly"].strength)
        journal.start(plan)
    memory = folder.with_suffix(".memory")
    done = sum(result.cases for result in journal.results(journal.plan()))

    def look(shard: str, count: int, of: int, failed: list[str]) -> None:
        nonlocal done
        done += 1
        if done == _FIRST or done % _EVERY == 0:
            sizes = sorted(process.memory_info().rss // _MIB for process in _processes())
            with memory.open("a") as file:
                print(f"after {done} cases: {' '.join(map(str, sizes))} MiB resident", file=file)

    report = carry_out(LocalWorkers(journal, cores(), case_timeout=600.0), on_case=look)
    console = Console(width=120)
    console.print(headline(report.plan), soft_wrap=True, highlight=False)
    print_report(report, console)
    print("memory of each process of the run:")
    print(memory.read_text(), end="")
    write_report(report, json_file=folder.with_suffix(".json"))
    return 0 if report.passed else 1


def _processes() -> list[psutil.Process]:
    this = psutil.Process()
    return [this, *this.children(recursive=True)]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else CASES))
