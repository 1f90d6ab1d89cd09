"""The table of ``tests/explanations.json``: a failing case of every planted bug, and how its failure is explained.

``python -m tests.explanations`` explains every stored case again and writes what is said now; read the difference
before it is committed. ``python -m tests.explanations --find`` looks for the smallest failing cases first, which takes
a quarter of an hour. ``named`` says whether the sentence names the cause: a person has compared it with the defect.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from patchify import Patchify
from properties.case import Case
from properties.explanation import explain
from properties.families import PROPERTIES
from properties.plan import make_plan
from properties.property import Property
from properties.settings import undisturbed
from properties.shard import run_cases
from properties.shrink import shrink
from properties.trial import Trial
from properties.verdict import Failed, Verdict
from tests.planted import PLANTED, Planted

TABLE = Path(__file__).with_suffix(".json")
BY_NAME = {prop.name: prop for prop in PROPERTIES}
# A compilation takes a second or more.
_MOST_COMPILATIONS = 20


def load() -> dict[str, dict[str, Any]]:
    """For every planted bug: ``property``, ``case``, ``sentence`` and ``named``."""
    table: dict[str, dict[str, Any]] = json.loads(TABLE.read_text())
    return table


def judge(planted: Planted, prop: Property, case: Case) -> Verdict:
    """What a property says of a planted bug."""
    with undisturbed("cpu", tf32=case.tf32):
        return prop(Trial(case, planted.layer))


@cache
def _drawn(shard: str) -> dict[str, Case]:
    """The cases of a shard of the default run, which are the same whatever the implementation."""
    return make_plan(Patchify, seed=7).cases_of(shard)


def first_failure(planted: Planted) -> Case | None:
    """The first case of the default run on which a planted bug is detected as it is meant to be."""
    plan = make_plan(planted.layer, seed=7, only=[planted.detected_by])
    results = (result for shard in plan.shards for result in run_cases(plan, shard, _drawn(shard)))
    return next((result.case for result in results if result.failed), None)


def find(planted: Planted) -> Case:
    """The smallest failing case of the default run."""
    prop = BY_NAME[planted.detected_by]
    left = _MOST_COMPILATIONS if prop.on == "compiled" else 10**6

    def fails(case: Case) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and isinstance(judge(planted, prop, case), Failed)

    found = first_failure(planted)
    assert found is not None
    return shrink(found, fails)


def main() -> None:
    """Write the table anew."""
    before = load() if TABLE.exists() else {}
    table = {}
    for planted in PLANTED:
        old = before.get(planted.name, {})
        prop = BY_NAME[planted.detected_by]
        case = find(planted) if "--find" in sys.argv or not old else Case.from_json(old["case"])
        verdict = judge(planted, prop, case)
        if not isinstance(verdict, Failed):
            print(f"{planted.name} does not fail this time: {verdict}")
            verdict = Failed("a run has shown it")
        sentence = explain(prop, case, verdict, planted.layer)
        if sentence != old.get("sentence"):
            print(f"{planted.name}: {planted.defect}\n    {sentence}")
        named = bool(old.get("named", False))
        table[planted.name] = {"property": prop.name, "sentence": sentence, "named": named, "case": case.to_json()}
    TABLE.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in table.items()) + "\n}\n")


if __name__ == "__main__":
    main()
