"""``docs/extending.md``: its examples run, and a law of one's own is judged like those of the contract."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchify import Patchify
from properties import CannotRun, Trial, law, verify
from properties.command.main import main
from properties.failures.record import read_record
from properties.runs.plan import Plan, make_plan
from tests.mutants.forward import BiasAddedTwice

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
LAW, CASES, ORACLE = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def ran(source: str) -> dict[str, Any]:
    variables: dict[str, Any] = {"__name__": "extending"}
    exec(compile(source, str(PAGE), "exec"), variables)
    return variables


@law("M1", on="drawn")
def zero_gives_zero(trial: Trial) -> None:
    """A layer of no input gives no output."""
    tokens = trial.embed(trial.layer, torch.zeros_like(trial.x), "forward of zeros")
    trial.expect(not bool(tokens.any()), "zero gives something", observed="something", expected="0")


def check(layer: Any, **changes: Any) -> Any:
    return verify(
        layer, **{"laws": [zero_gives_zero], "only": ["M1"], "cases": 12, "strength": 0, "seed": 7, **changes}
    )


def test_the_law_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    report = ran(LAW)["report"]
    assert report.passed, report.verdict_line
    assert report.checks["tokens_are_contiguous"] > 15
    assert "judged in" not in capsys.readouterr().err


def test_the_cases_of_the_page() -> None:
    ran(CASES)["test_is_linear"]()


class Dilated(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        found = torch.nn.functional.conv1d(x.movedim(-1, 1), self.conv.weight, self.conv.bias, dilation=2)
        return found.movedim(1, -1)


def test_the_oracle_of_the_page() -> None:
    judged = ran(ORACLE)["dilated_report"]
    assert judged(Dilated).passed
    assert not judged(Patchify).passed


def test_a_law_of_ones_own_is_shrunk_recorded_replayed_and_written_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (failure,) = check("patchify:Patchify", regressions=tmp_path, jobs=1).failures
    assert (failure.case.spec.bias, failure.case.elements) == (True, 1)
    assert failure.record is not None
    record = read_record(failure.record)
    assert record.prop == zero_gives_zero
    assert json.loads(failure.record.read_text())["law"] == f"{__name__}:zero_gives_zero"
    assert main(["replay", str(failure.record)]) == 1
    capsys.readouterr()
    assert main(["script", str(failure.record)]) == 0
    script = capsys.readouterr().out
    with pytest.raises(AssertionError, match="zero gives something"):
        exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})


def test_the_command_and_other_processes_take_a_module() -> None:
    plan = make_plan("patchify:Patchify", laws=["tests.integration.test_extending"], cases=3, strength=0, seed=7)
    assert zero_gives_zero in plan.properties
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert (again.properties, again.own_laws) == (plan.properties, (zero_gives_zero,))
    command = ["--laws", "tests.integration.test_extending", "--only", "M1", "--cases", "3", "--strength", "0"]
    assert main(["run", "--implementation", "patchify:Patchify", *command, "--seed", "7"]) == 1


def test_a_law_of_a_taken_name_or_none_is_refused() -> None:
    with pytest.raises(CannotRun, match=r"laws names 'tests\.helpers\.scripts', where there are none"):
        make_plan(Patchify, laws=["tests.helpers.scripts"])
    with pytest.raises(CannotRun, match="laws names 'nowhere', which cannot be imported"):
        make_plan(Patchify, laws=["nowhere"])
    taken = replace(zero_gives_zero, name="homogeneous")
    with pytest.raises(CannotRun, match="laws names homogeneous, which a law of the contract is called"):
        check(BiasAddedTwice, laws=[taken])
