"""Mutants are made of every right layer, judged apart, and the page says what the results say."""

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import layers_page, mutation
from benchmarks.correct import table, work
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Input, Spec
from tests.correct import CORRECT

ROOT = Path(__file__).parents[2]
IMAGE = Case(Spec(2, 3, 2, 2, 3, bias=True), Input(2, (5, 6)), backward=Backward(PARAMETERS_AND_INPUT, "random"))
LINEAR = list(mutation.mutants("patchify/linear.py"))


def test_mutants_are_of_every_right_layer() -> None:
    layers = Counter(one.layer.rpartition(":")[2] for one in mutation.every())

    # Which is empty but for its base.
    assert layers.keys() >= {layer.__name__ for layer in CORRECT} - {"HandWrittenBackward"}
    assert layers.total() >= 1000


def test_mutants_differ_from_the_file_and_from_each_other() -> None:
    whole = ast.unparse(ast.parse((ROOT / "patchify/linear.py").read_text()))

    assert len({ast.dump(ast.parse(one.source)) for one in LINEAR} - {ast.dump(ast.parse(whole))}) == len(LINEAR)
    assert len({one.name for one in LINEAR}) == len(LINEAR)


@pytest.mark.parametrize(
    ("statement", "mutants"),
    [
        ("a = x + 1", {"pass", "a = x - 1", "a = x + 2", "a = x + 0"}),
        ("a = x < y", {"pass", "a = x <= y", "a = x >= y"}),
        ("a = f(x, y)", {"pass", "a = f(y, x)", "a = x"}),
        ("a = x.f(*y)", {"pass", "a = x"}),
        ("a = x if y and z else w", {"pass", "a = x if y or z else w", "a = x if not (y and z) else w"}),
        ("a: int = -x", {"pass", "a: int = x"}),
        ("raise ValueError(f'{x + 1}')", {"pass"}),
        ("a = max(x, y)", {"pass", "a = x"}),
    ],
)
def test_changes(statement: str, mutants: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    (tmp_path / "one.py").write_text(f"def f():\n    {statement}\nclass Layer: ...\n")

    assert {one.after for one in mutation.mutants("one.py")} == mutants


def outcome(after: str) -> dict[str, object]:
    (mutant,) = (one for one in LINEAR if one.after == after)
    return mutation.outcome_of(mutant, [("some", {"an image": IMAGE})], limit=60)


def test_outcomes() -> None:
    killed = outcome("windows = x.unsqueeze(2)")
    survived = outcome("return windows.squeeze(2)")

    assert killed == {"outcome": "killed", "by": "runs_forward", "shard": "some"}
    # Only a compiled layer calls it.
    assert survived == {"outcome": "survived"}


def test_a_summary_counts_what_was_run() -> None:
    rows: dict[str, dict[str, Any]] = {
        "a.py:1: x -> y": {"outcome": "killed", "layer": "m:L", "by": "grid_shape"},
        "a.py:2: x -> y": {"outcome": "survived", "layer": "m:L"},
        "a.py:3: x -> y": {"outcome": "equivalent", "layer": "m:L", "why": "x is y"},
    }
    rows = {name: {"name": name, **row} for name, row in rows.items()}

    assert list(mutation.summary([*rows, "a.py:4: x -> y"], rows)) == [
        "3 of 4 mutants were run",
        "  equivalent: 1",
        "  killed: 1",
        "  survived: 1",
        "survived: a.py:2: x -> y (L)",
        "equivalent: a.py:3: x -> y (L): x is y",
    ]


def test_a_table_tells_what_was_rejected_and_what_was_not_judged() -> None:
    row = {"checks": 7, "lost to torch": {"a fault": 2}, "not judged": ["too dear"], "failed": {"grid_shape": "FAILED"}}

    assert list(table({("Patchify", 1, "eager"): row}, work([1]))) == [
        f"1 of {3 * len(CORRECT)} parts were run",
        "layer                    parts   checks  lost not judged failed",
        "Patchify                   1/3        7     2          1      1",
        "Patchify 1 eager: FAILED",
        "Patchify 1 eager: too dear",
    ]


def test_the_page_is_made_of_the_results() -> None:
    assert (ROOT / "docs/layers.md").read_text() == "\n".join(layers_page.page()) + "\n"
