"""A script for every mutant: it must fail with the mutant, and pass with the shipped layer in its place.

    python -m benchmarks.scripts [NAME ...] [> benchmarks/scripts.txt]

A name is a part of a mutant's, or of its law's. Each script is run in a process of its own.
"""

import subprocess
import sys
from statistics import quantiles

from properties.failures.scripts import standalone_script
from properties.trials.verdict import Failed
from tests.helpers.mutant_cases import BY_NAME, judge, load_cases
from tests.mutants import MUTANTS, Mutant

_OURS = "from patchify import Patchify as Layer"


def _ends(script: str) -> str:
    """The last line of what a script prints where it fails; empty where it passes."""
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1] if done.returncode else ""


def _try(mutant: Mutant) -> tuple[int, str, str]:
    """Lines of a mutant's script, and how it ends with the mutant and with the shipped layer."""
    law, case = BY_NAME[mutant.detected_by], load_cases()[mutant.name]
    verdict = judge(mutant, law, case)
    if not isinstance(verdict, Failed):
        return 0, "", f"not killed on its case: {verdict}"
    module, name = mutant.layer.__module__, mutant.layer.__qualname__
    script = standalone_script(law.name, f"{module}:{name}", "cpu", case, verdict)
    lines = sum(bool(line.strip()) for line in script.splitlines())
    return lines, _ends(script), _ends(script.replace(f"from {module} import {name} as Layer", _OURS))


def main() -> None:
    """Print a line for each script that does not do what it must, then how many do, and how long they are."""
    asked = [m for m in MUTANTS if not sys.argv[1:] or any(n in m.name or n == m.detected_by for n in sys.argv[1:])]
    lengths: list[int] = []
    for mutant in asked:
        lines, wrong, right = _try(mutant)
        if wrong and not right and not wrong.startswith(("NameError", "SyntaxError")):
            lengths.append(lines)
        else:
            print(f"{mutant.name} ({mutant.detected_by}): {wrong or 'passes'} | {right or 'passes'}", flush=True)
    print(f"{len(lengths)} of {len(asked)} scripts fail with the mutant and pass with patchify:Patchify")
    if len(lengths) > 1:
        tenths = quantiles(lengths, n=10)
        print(f"lines that are not empty: {tenths[0]:.0f}, {tenths[4]:.0f} and {tenths[8]:.0f} (10, 50 and 90 %)")


if __name__ == "__main__":
    main()
