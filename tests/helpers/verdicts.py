"""What every law says of every layer on a fixed list of cases: ``python -m tests.helpers.verdicts FILE``.

A line for each check: layer, case, law, verdict, place, error over bound to two digits, reason. Run before and after a
change that is to change no verdict; the difference of the two files is what it changed. Each check has a trial of its
own, so that no law's calls show in another's verdict. Takes a quarter of an hour on two cores.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from patchify import Patchify
from properties.cases.case import Case
from properties.cases.drawing import draw_cases
from properties.cases.landmarks import landmarks
from properties.laws import LAWS
from properties.runs.plan import make_plan
from properties.trials.implementation import resolve
from properties.trials.verdict import Failed, Inapplicable, NotJudged, Passed, Verdict
from tests.correct import CORRECT
from tests.mutants import MUTANTS

DRAWN, LANDMARKS, COMPILED = 24, 8, 1


def layers() -> list[str]:
    """The shipped layer, the correct ones and the wrong ones, by the names that they are imported by."""
    found: list[type[Any]] = [Patchify, *CORRECT, *(mutant.layer for mutant in MUTANTS)]
    return [f"{layer.__module__}:{layer.__name__}" for layer in found]


@cache
def cases() -> dict[str, dict[str, Case]]:
    """By what judges them: drawn cases, small landmarks, and a compiled case of each dimensionality."""
    small = {name: case for name, case in landmarks().items() if "exact 1000" in name and case.input.batch < 9}
    plan = make_plan(Patchify, seed=7)
    compiled = [islice(plan.cases_of(f"compiled{d}D-0").items(), COMPILED) for d in (1, 2, 3)]
    return {
        "drawn": {f"drawn {i}": case for i, case in enumerate(draw_cases("verdicts", DRAWN))},
        "cases": dict(list(small.items())[-6 * LANDMARKS :: 6]),
        "compiled": {name: case for few in compiled for name, case in few},
    }


def lines(layer: str) -> list[str]:
    """All verdicts on a layer. A mutant is judged on one case in four, the next one on others; few are compiled."""
    implementation, _ = resolve(layer)
    number = layers().index(layer) if "tests.mutants" in layer or "tests.planted" in layer else None
    found = []
    for kind, every in cases().items():
        if kind == "compiled" and ".compiled:" not in layer and "patchify" not in layer:
            continue
        some = dict(list(every.items())[number % 4 :: 4] if number is not None and kind != "compiled" else every)
        for prop in LAWS:
            if prop.on == kind or (prop.on == "cases" and kind == "drawn"):
                found += [
                    f"{layer} | {name} | {prop.name} | {told(prop.judge_case(case, implementation))}"
                    for name, case in some.items()
                ]
    return found


def told(verdict: Verdict) -> str:
    """A verdict on one line."""
    match verdict:
        case Passed(error_over_bound=error_over_bound):
            return f"passed {'' if error_over_bound is None else f'{error_over_bound:.2g}'}"
        case Failed():
            return f"failed at {verdict.where}: {verdict.what}"
        case Inapplicable():
            return f"inapplicable: {verdict.reason}"
        case NotJudged():
            return f"not judged: {verdict.how}"


def main() -> None:
    """Write the file that the argument names."""
    (file,) = sys.argv[1:]
    with ProcessPoolExecutor(2, get_context("spawn")) as workers, Path(file).open("w") as out:
        for some in workers.map(lines, layers()):
            out.writelines(f"{line}\n" for line in some)
            out.flush()


if __name__ == "__main__":
    main()
