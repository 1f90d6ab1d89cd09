"""``patchify-verify clauses`` and ``power``: what they print of the mutants, and what they refuse."""

import pytest

from properties.cases.case import Case
from properties.command.main import main
from properties.contract import CLAUSES
from properties.laws import LAWS
from properties.reports.power import Detection, detect
from properties.runs.plan import Plan
from properties.runs.result import CaseResult
from tests.correct.windows import UnfoldedLinear
from tests.mutants import MUTANTS
from tests.mutants.forward import BiasAddedTwice


def test_clauses_names_every_clause_property_and_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clauses"]) == 0
    *rows, last = capsys.readouterr().out.splitlines()
    words = [word.strip(",:") for row in rows for word in row.split()]
    for name in (*CLAUSES, *(prop.name for prop in LAWS), *(mutant.name for mutant in MUTANTS)):
        assert name in words
    assert last == f"28 clauses, {len(LAWS)} properties; {len(MUTANTS)} mutants"


def test_power_counts_the_cases_to_detection(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--only", "forward.BiasAddedTwice,gradients.OnceDifferentiable", "--seeds", "1,2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "forward.BiasAddedTwice: 2 of 2",
        "gradients.OnceDifferentiable: 2 of 2",
        lines[2],
    ]
    assert lines[2].split() == ["mutant", "detected", "by", "median", "worst", "CPU", "seconds"]
    assert "zero_input_gives_bias" in "".join(lines)
    assert lines[-1].startswith("2 of 2 mutants detected with each of the seeds 1, 2; until then: median ")


def test_detection_is_the_first_failing_case() -> None:
    found = detect(BiasAddedTwice, seed=1)
    assert found is not None
    assert found.cases < 5
    assert {"values_exact", "zero_input_gives_bias"} <= set(found.properties)
    again = detect(BiasAddedTwice, seed=1)
    assert again is not None
    assert (again.cases, again.properties) == (found.cases, found.properties)


def test_what_is_not_detected_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = iter([Detection(3, 0.5, ("values_exact",)), None])
    monkeypatch.setattr("properties.reports.power.detect", lambda layer, seed: next(found))
    assert main(["power", "--only", "forward.OneShapeReversed", "--seeds", "1,2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["forward.OneShapeReversed", "values_exact", "3", "missed", "0.5"]
    assert lines[3] == "not detected with every seed: forward.OneShapeReversed"
    assert lines[4].startswith("0 of 1 mutants detected with each of the seeds 1, 2; ")


def test_correct_layers_are_run_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Case] = []

    def passes(plan: Plan, properties: object, case: Case, owners: object) -> CaseResult:
        judged.append(case)
        return CaseResult("", case, {})

    monkeypatch.setattr("properties.reports.power.run_case", passes)
    assert detect(UnfoldedLinear, seed=1) is None
    # 300 drawn cases, 18 compiled ones, the landmarks and the small scope.
    assert len(judged) > 300 + 18 + 24 + 8_794


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nope"], "only names nope, which is no mutant, such as forward.TapsFlipped"),
        (["--seeds", "one"], "expected run seeds such as 1,2,3, got 'one'"),
    ],
)
def test_refuses(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    try:
        code: int | str | None = main(["power", *arguments])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_without_a_clone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("properties.reports.power._MUTANTS", "absent.mutant")
    assert main(["power"]) == 2
    assert "the mutants are in tests/mutants of a clone of the project" in capsys.readouterr().err
    assert main(["clauses"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("; the mutants are in a clone of the project")
