"""Every mutant is explained as the table says, and nearly all are explained by their cause."""

import pytest

from properties.cases.case import Case
from properties.diagnosis import explain
from properties.trials.verdict import Failed
from tests.helpers.explanations import load
from tests.helpers.mutant_cases import BY_NAME, judge
from tests.mutants import MUTANTS, Mutant

TABLE = load()
# Not every run of these cases fails: it depends on which addresses the allocator gives out.
INTERMITTENT = ("state.OutputCachedByAddress",)


@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS if mutant.name in TABLE][::4], ids=lambda mutant: mutant.name
)
def test_mutants(mutant: Mutant) -> None:
    """Word for word, one in four; ``python -m tests.helpers.explanations`` explains all, and tells what differs."""
    row = TABLE[mutant.name]
    prop, case = BY_NAME[row["property"]], Case.from_json(row["case"])
    verdict = judge(mutant, prop, case)
    if mutant.name in INTERMITTENT:
        verdict = Failed("a run has shown it")

    assert isinstance(verdict, Failed), verdict
    assert explain(prop, case, verdict, mutant.layer) == row["sentence"]


def test_nearly_all_mutants_are_named() -> None:
    """Which sentences name the cause was judged by eye, sentence by sentence, against the defects."""
    named = [name for name, row in TABLE.items() if row["named"]]

    # Of a history the smallest one is the explanation.
    assert set(TABLE) <= {mutant.name for mutant in MUTANTS}
    assert len(named) >= 0.9 * len(TABLE)
    assert not any(TABLE[name]["sentence"].startswith("not found") for name in named)
