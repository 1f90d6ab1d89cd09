"""The table of ``tests/helpers/explanations.json``: a failing case of every mutant, and how its failure is explained.

``python -m tests.helpers.explanations`` explains every stored case again and writes what is said now; read the
difference before it is committed. ``named`` says whether a person found that the sentence names the cause.
"""

import json
from pathlib import Path
from typing import Any

from properties.cases.case import Case
from properties.diagnosis import explain
from properties.trials.verdict import Failed
from tests.helpers.mutant_cases import BY_NAME, judge, load_cases
from tests.mutants import MUTANTS

TABLE = Path(__file__).with_suffix(".json")


def load() -> dict[str, dict[str, Any]]:
    """For every mutant: ``property``, ``case``, ``sentence`` and ``named``."""
    table: dict[str, dict[str, Any]] = json.loads(TABLE.read_text())
    return table


def main() -> None:
    """Write the table anew."""
    before = load() if TABLE.exists() else {}
    table = {}
    for mutant in MUTANTS:
        old = before.get(mutant.name, {})
        prop = BY_NAME[mutant.detected_by]
        case = Case.from_json(old["case"]) if old else load_cases()[mutant.name]
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
