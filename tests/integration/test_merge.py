"""A run in parts, one by one, and the report on all of them."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from properties.command.main import main
from properties.runs.engine import carry_out
from properties.runs.local_workers import LocalWorkers
from properties.runs.merge import merge
from properties.runs.plan import Plan
from properties.runs.verify import run
from properties.trials.implementation import CannotRun
from tests.helpers.printed import unfolded
from tests.integration.test_local_workers import ONLY, plan_of, started, told

WRONG = "tests.mutants.forward:BiasAddedTwice"


def run_part(plan: Plan, part: tuple[int, int], folder: Path, **options: Any) -> Path:
    journal = started(folder / f"part{part[0]}", replace(plan, part=part))
    carry_out(LocalWorkers(journal, jobs=1), **options)
    return journal.folder


def test_parts_share_the_shards() -> None:
    plan = plan_of("patchify:Patchify", cases=1000, only=["runs_forward", "compiled_values"])
    parts = [replace(plan, part=(number, 3)).shards for number in (1, 2, 3)]
    assert sorted(shard for part in parts for shard in part) == sorted(plan.shards)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_same_report_as_in_one(tmp_path: Path) -> None:
    plan = plan_of(WRONG)
    folders = [run_part(plan, (number, 3), tmp_path) for number in (3, 1, 2)]
    assert told(merge(folders)) == told(run(plan))
    report = merge(folders, regressions=tmp_path / "records")
    assert sorted((tmp_path / "records").iterdir()) == sorted(
        failure.record for failure in report.failures if failure.record
    )


def test_parts_that_ended_early(tmp_path: Path) -> None:
    plan = plan_of("tests.helpers.crashing:Slow", cases=400)
    folders = [run_part(plan, (number, 2), tmp_path, budget=3.0) for number in (1, 2)]
    report = merge(folders)
    assert report.passed
    assert 0 < report.cases < 400
    assert "; stopped by its budget" in report.verdict_line


def other_seed(folder: Path) -> None:
    _change(folder / "plan.json", seed=8)


def other_number(folder: Path) -> None:
    _change(folder / "plan.json", part=[2, 3])


def same_part(folder: Path) -> None:
    _change(folder / "plan.json", part=[1, 2])


def not_ended(folder: Path) -> None:
    (folder / "end.json").unlink()


def interrupted(folder: Path) -> None:
    _change(folder / "end.json", stopped="interrupted")


def _change(path: Path, **members: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both parts of a run that passed."""
    plan = plan_of("patchify:Patchify", cases=60)
    folder = tmp_path_factory.mktemp("parts")
    return [run_part(plan, (number, 2), folder) for number in (1, 2)]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (other_seed, "{second} belongs to another run than {first}: seed is 8, not 7"),
        (other_number, "{second} is part 2 of 3, but {first} is part 1 of 2"),
        (same_part, "{second} and {first} both are part 1 of 2"),
        (shutil.rmtree, "{second}/plan.json cannot be read, or is damaged: "),
        (not_ended, "{second}, part 2 of 2, has not ended: patchify-verify run --resume {second}"),
        (interrupted, "{second}, part 2 of 2, has not ended: patchify-verify run --resume {second}"),
    ],
)
def test_refused(
    tmp_path: Path,
    parts: list[Path],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    problem: str,
) -> None:
    copies = [Path(shutil.copytree(part, tmp_path / part.name)) for part in parts]
    damage(copies[1])
    assert main(["merge", *map(str, copies)]) == 2
    assert problem.format(first=copies[0], second=copies[1]) in capsys.readouterr().err


def test_missing_and_repeated(parts: list[Path]) -> None:
    head = "these folders are not the parts of one run, each once:\n  "
    with pytest.raises(CannotRun, match=f"^{re.escape(head + 'part 2 of 2 is missing')}$"):
        merge(parts[:1])
    with pytest.raises(CannotRun, match=f"^{re.escape(head + f'{parts[0]} is named twice')}$"):
        merge([*parts, parts[0]])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--implementation", WRONG, "--cases", "60", "--seed", "7", "--only", ",".join(ONLY), "--jobs", "1"]
    arguments += ["--strength", "0"]
    for number in (1, 2):
        folder = str(tmp_path / str(number))
        assert main(["run", *arguments, "--shard", f"{number}/2", "--run-dir", folder]) == 1
    capsys.readouterr()
    assert main(["merge", str(tmp_path / "1"), str(tmp_path / "2"), "--json", str(tmp_path / "report.json")]) == 1
    lines = unfolded(capsys.readouterr().out)
    assert lines[0].startswith(f"run seed 7: {WRONG} on cpu, ")
    assert lines[-1] == run(plan_of(WRONG, cases=60)).verdict_line
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "1/2"), "--shard needs --seed, the same for all parts, and --run-dir, which merge takes"),
        (("--resume", "there", "--cases", "5", "--seed", "7"), "--resume goes on with the plan in there: leave out "),
    ],
)
def test_options_that_do_not_fit(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    assert main(["run", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"patchify-verify: could not run: {message}")


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "1/-2", "1/2/3"])
def test_no_parts(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["run", "--shard", text])
    assert f"expected a part of a run such as 3/8, from 1/8 to 8/8, got '{text}'" in capsys.readouterr().err
