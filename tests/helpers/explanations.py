"""The table of ``tests/helpers/explanations.json``: a failing case of every mutant, and how its failure is explained.

``python -m tests.helpers.explanations`` explains every stored case again and writes what is said now; read the
difference before it is committed. With ``--find`` it looks for the smallest failing cases first, which takes a quarter
of an hour. ``named`` says whether the sentence names the cause: a person has compared it with the defect.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from patchify import Patchify
from properties.cases.case import Case
from properties.cases.shrinking import shrink
from properties.diagnosis import explain
from properties.laws import LAWS
from properties.laws.law import Law
from properties.runs.plan import make_plan
from properties.runs.shard import run_cases
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Verdict
from tests.mutants import MUTANTS, Mutant

TABLE = Path(__file__).with_suffix(".json")
BY_NAME = {prop.name: prop for prop in LAWS}
# A compilation takes a second or more.
_MOST_COMPILATIONS = 20


def load() -> dict[str, dict[str, Any]]:
    """For every mutant: ``property``, ``case``, ``sentence`` and ``named``."""
    table: dict[str, dict[str, Any]] = json.loads(TABLE.read_text())
    return table


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
    results = (result for shard in plan.shards for result in run_cases(plan, shard, _drawn(shard)))
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
    assert found is not None
    return shrink(found, fails)


def main() -> None:
    """Write the table anew."""
    before = load() if TABLE.exists() else {}
    table = {}
    for mutant in MUTANTS:
        old = before.get(mutant.name, {})
        prop = BY_NAME[mutant.detected_by]
        case = find(mutant) if "--find" in sys.argv or not old else Case.from_json(old["case"])
        verdict = judge(mutant, prop, case)
        if not isinstance(verdict, Failed):
            print(f"{mutant.name} does not fail this time: {verdict}")
            verdict = Failed("a run has shown it")
        sentence = explain(prop, case, verdict, mutant.layer)
        if sentence != old.get("sentence"):
            print(f"{mutant.name}: {mutant.defect}\n    {sentence}")
        named = bool(old.get("named", False))
        table[mutant.name] = {"property": prop.name, "sentence": sentence, "named": named, "case": case.to_json()}
    TABLE.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in table.items()) + "\n}\n")


if __name__ == "__main__":
    main()
