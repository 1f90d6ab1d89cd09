"""A small failing case of every mutant, in ``tests/mutants/cases.json``: the default run, shrunk, has found it.

``python -m tests.helpers.mutant_cases`` judges every stored case again, and looks for one where there is none or where
the mutant passes it; a compiled one takes a quarter of a minute.
"""

import json
from functools import cache
from pathlib import Path

from patchify import Patchify
from properties.cases.case import Case
from properties.cases.domain import WHOLE
from properties.cases.shrinking import shrink
from properties.laws import LAWS
from properties.laws.law import Law
from properties.runs.plan import make_plan
from properties.runs.shard import run_cases
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Verdict
from tests.mutants import MUTANTS, Mutant

FILE = Path(__file__).parents[1] / "mutants" / "cases.json"
BY_NAME = {prop.name: prop for prop in LAWS}
# A compilation takes a second or more.
_MOST_COMPILATIONS = 20


@cache
def load_cases() -> dict[str, Case]:
    """The case of every mutant, by the mutant's name."""
    return {name: Case.from_json(case) for name, case in json.loads(FILE.read_text()).items()}


def judge(mutant: Mutant, prop: Law, case: Case) -> Verdict:
    """What a property says of a mutant."""
    with undisturbed("cpu", tf32=case.tf32):
        return prop(Trial(case, mutant.layer))


@cache
def _drawn(shard: str) -> dict[str, Case]:
    """The cases of a shard of the default run, which are the same whatever the implementation."""
    return make_plan(Patchify, seed=7).cases_of(shard)


def first_failure(mutant: Mutant) -> Case | None:
    """The first case of the default run on which a mutant is detected as it is meant to be."""
    plan = make_plan(mutant.layer, seed=7, only=[mutant.detected_by])
    drawn = _drawn if plan.domain == WHOLE else plan.cases_of
    results = (result for shard in plan.shards for result in run_cases(plan, shard, drawn(shard)))
    return next((result.case for result in results if result.failed), None)


def find(mutant: Mutant) -> Case:
    """The smallest failing case of the default run."""
    prop = BY_NAME[mutant.detected_by]
    left = _MOST_COMPILATIONS if prop.on == "compiled" else 10**6

    def fails(case: Case) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and isinstance(judge(mutant, prop, case), Failed)

    found = first_failure(mutant)
    if found is None:
        raise LookupError(f"the default run does not detect {mutant.name} by {prop.name}")
    return shrink(found, fails)


def main() -> None:
    """Write the file anew."""
    stored = load_cases() if FILE.exists() else {}
    lines = []
    for mutant in MUTANTS:
        case = stored.get(mutant.name)
        if case is None or not isinstance(judge(mutant, BY_NAME[mutant.detected_by], case), Failed):
            case = find(mutant)
            print(f"{mutant.name}: {case}")
        lines.append(f"{json.dumps(mutant.name)}: {json.dumps(case.to_json())}")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
