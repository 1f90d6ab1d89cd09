"""Two reports side by side: what is worse, better, and newly not reached."""

import copy
from typing import Any

from properties.reports.compare import Comparison, Difference, compare


def law(name: str, outcome: str = "passed", slack: float | None = None) -> dict[str, Any]:
    return {"name": name, "outcome": outcome, "worst_slack": slack}


BEFORE: dict[str, Any] = {
    "implementation": "package:Layer",
    "origin": "package.py",
    "device": "cpu",
    "levels": ["contract"],
    "dtypes": ["float32"],
    "run_seed": 7,
    "cases": 20,
    "versions": {"torch": "2.11"},
    "properties": [law("values", slack=0.2), law("shape", "failed"), law("late")],
    "small_scope": [{"data_dim": 1, "verdicts": "+-+ "}],
    "coverage": {"singles": {"missing": [["batch 0"]]}, "pairs": {"missing": []}},
}


def changed(**members: Any) -> Comparison:
    return compare(BEFORE, copy.deepcopy(BEFORE) | members)


def test_alike() -> None:
    assert changed() == Comparison()


def test_what_they_are_about() -> None:
    found = changed(device="cuda", versions={"torch": "2.13"})
    assert found == Comparison(about=[Difference("device", "cpu", "cuda"), Difference("torch", "2.11", "2.13")])


def test_laws() -> None:
    found = changed(properties=[law("values", "failed"), law("shape"), law("late", "not reached")])
    assert found.worse == [Difference("values", "passed", "failed")]
    assert found.better == [Difference("shape", "failed", "passed")]
    assert found.unreached == [Difference("late", "passed", "not reached")]
    assert changed(properties=BEFORE["properties"][:2]).unreached == [Difference("late", "judged", "not judged")]


def test_errors() -> None:
    def with_error(slack: float) -> Comparison:
        return changed(properties=[law("values", slack=slack), *BEFORE["properties"][1:]])

    assert with_error(0.3) == Comparison()
    assert with_error(0.9).worse == [Difference("values, error over bound", "0.200", "0.900")]
    assert with_error(0.05).better == [Difference("values, error over bound", "0.200", "0.050")]


def test_small_scope() -> None:
    def with_scope(verdicts: str) -> Comparison:
        return changed(small_scope=[{"data_dim": 1, "verdicts": verdicts}])

    name = "small scope, 1D"
    assert with_scope("--+ ").worse == [Difference(name, "1 of 4 shapes failed", "2 of 4 shapes failed")]
    assert with_scope("+++ ").better == [Difference(name, "1 of 4 shapes failed", "0 of 4 shapes failed")]
    assert with_scope("+-  ").unreached == [Difference(name, "3 of 4 shapes run", "2 of 4 shapes run")]
    gone = changed(small_scope=[])
    assert gone == Comparison(unreached=[Difference(name, "3 of 4 shapes run", "0 of 4 shapes run")])


def test_coverage() -> None:
    found = changed(coverage={"singles": {"missing": []}, "pairs": {"missing": [["bias no", "mode eval"]]}})
    assert found.better == [Difference("1 levels", "not reached", "reached, or not possible")]
    assert found.unreached == [
        Difference("1 pairs of levels: bias no with mode eval", "reached, or not possible", "not reached")
    ]
