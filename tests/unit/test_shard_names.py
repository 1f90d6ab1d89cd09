"""Shards by their names: a failure is reported, recorded and replayed, whichever shard it was found in."""

import subprocess
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

# Imported here, since a session in this process forgets the modules that it imports, and torch can be imported once.
import properties.pytest_plugin.contract_run  # noqa: F401
from patchify import Patchify
from properties import verify
from properties.cases import small_scope
from properties.command.main import main
from properties.failures.record import Record, RecordError, _validator, read_record, write_record
from properties.failures.replay import Outcome, replay
from properties.runs import shard_names
from properties.runs.plan import Plan, make_plan
from properties.runs.sharding import KINDS
from tests.helpers.printed import unfolded
from tests.integration.test_local_workers import COMMAND, ROOT
from tests.unit.test_record import RECORD

pytest_plugins = ["pytester"]

HERE = "tests.unit.test_shard_names"
# The landmarks and the small scope, whose first shape is the smallest case of all.
SMALL = {"only": "values_exact", "cases": "0", "dtypes": "float64", "strength": "0", "seed": "7", "scope-sample": "500"}
LAYERS = """
import patchify

class Doubles(patchify.Patchify):
    def forward(self, x):
        return 2 * super().forward(x)
"""


class Doubles(Patchify):
    """Twice what it should be, everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def plans() -> dict[str, Plan]:
    """Plans that have shards of every kind between them, and one of a part that has none."""
    compiled = make_plan(Patchify, seed=7, cases=200, only=["compiled_values"])
    return {
        "default": make_plan(Patchify, seed=7, levels=("contract", "robust")),
        "small scope": make_plan(Patchify, seed=7, cases=0, only=["values_exact"], scope_margin=1),
        "compiled": compiled,
        "replayed": replace(compiled, regressions={"one.json": replace(RECORD, prop=compiled.properties[0])}),
        "no shard": replace(compiled, part=(10_000, 10_000)),
    }


def test_every_record_can_name_every_shard(tmp_path: Path) -> None:
    """The schema allows what is made in one place, and no text that could not be made there."""
    schema = _validator().schema
    assert isinstance(schema, dict)
    assert schema["properties"]["shard"]["pattern"] == shard_names.PATTERN
    by_plan = {name: plan.shards for name, plan in plans().items()}
    assert by_plan["no shard"] == ()
    every = sorted({shard for shards in by_plan.values() for shard in shards})
    assert {shard_names.kind_of(shard) for shard in every} == {*KINDS, "landmarks", "regressions"}
    data = RECORD.to_json()
    for shard in every:
        assert Record.from_json({**data, "shard": shard}).shard == shard
    path = write_record(tmp_path, replace(RECORD, shard="small3D-1"))
    assert read_record(path).shard == "small3D-1"


@pytest.mark.parametrize("shard", ["random 0", "random0\n", "../plan", "random.0", 41 * "a", "zufällig0"])
def test_no_names(shard: str) -> None:
    with pytest.raises(RecordError, match="schema of a record: shard: "):
        Record.from_json({**RECORD.to_json(), "shard": shard})
    with pytest.raises(ValueError, match="no shard can be called"):
        shard_names.name_of(shard, 0)


def test_taken_apart_as_they_are_made() -> None:
    for kind in KINDS:
        for number in (0, 9, 10, 123_456):
            name = shard_names.name_of(kind, number)
            assert (shard_names.kind_of(name), shard_names.number_of(name)) == (kind, number)
        assert shard_names.kind_of(kind) == kind
    assert [shard_names.data_dim_of(f"{kind}D-4") for kind in ("small2", "compiled3")] == [2, 3]
    random = [kind for kind in KINDS if shard_names.is_random(f"{kind}0")]
    assert random == ["random", "histories", "copies", "compiled1D-", "compiled2D-", "compiled3D-"]
    assert [kind for kind in KINDS if shard_names.is_small(f"{kind}0")] == ["small1D-", "small2D-", "small3D-"]
    assert [kind for kind in KINDS if shard_names.is_compiled(f"{kind}0")] == [*random[3:], "compiled-steered"]


def test_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run, the merging of its only part, and the replay all say the same of the failure."""
    folder, kept = tmp_path / "records", tmp_path / "run"
    options = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    command = [*COMMAND, "run", "--implementation", f"{HERE}:Doubles", *options, "--no-shrink"]
    command += ["--regressions", str(folder), "--run-dir", str(kept)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    # What has failed and how far it is, and nothing else.
    assert done.stderr.splitlines()[0] == "failed: values_exact"
    assert "Traceback" not in done.stderr
    (path,) = folder.iterdir()
    assert read_record(path).shard == "small1D-0"
    lines = unfolded(done.stdout)
    assert "values_exact failed: 6 of 6 output values differ from unfold + matmul" in lines
    assert f"  record    {path}" in lines
    assert lines[-1].startswith(f"FAILED: {HERE}:Doubles: 0 of 1 properties held in ")

    assert main(["merge", str(kept)]) == 1
    assert unfolded(capsys.readouterr().out)[-1] == lines[-1]
    assert main(["replay", str(folder)]) == 1
    replayed = capsys.readouterr().out.splitlines()
    assert replayed[0].startswith(f"FAILED       {path}: values_exact failed: 6 of 6 output values differ")
    assert replayed[-1] == "1 record: 1 FAILED"


def test_by_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = small_scope.small_scope
    monkeypatch.setattr(small_scope, "small_scope", lambda *bounds: islice(scope(*bounds), 20))
    options: dict[str, Any] = {"only": ["values_exact"], "cases": 0, "dtypes": ["float64"], "strength": 0, "seed": 7}
    (failure,) = verify(Doubles, shrink=False, regressions=tmp_path, jobs=0, **options).failures
    path = failure.record
    assert path is not None
    assert read_record(path).shard == "small1D-0"
    assert replay(path).outcome is Outcome.FAILED


def test_by_pytest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(layers=LAYERS)
    command = [word for name, value in SMALL.items() for word in (f"--patchify-{name}", value)]
    command += ["--patchify-implementation", "layers:Doubles", "--patchify-regressions", "records"]
    command += ["--pyargs", "properties", "-p", "no:cacheprovider", "-k", "small1D-0", "--patchify-no-shrink"]
    result = pytester.runpytest_inprocess(*command)
    result.assert_outcomes(failed=1, deselected=result.parseoutcomes()["deselected"])
    (path,) = (pytester.path / "records").iterdir()
    assert read_record(path).shard == "small1D-0"
    result.stdout.fnmatch_lines([f"values_exact: patchify-verify replay records/{path.name}"])


def test_no_file_where_none_could_be_read_again(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="was not written, since it could not be read again: it does not fit") as told:
        write_record(tmp_path, replace(RECORD, shard="no name"))
    assert len(str(told.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_failure_is_told_where_no_record_can_be_kept(tmp_path: Path) -> None:
    """Of a layer that no record can name, say."""
    named = type("Two words", (Doubles,), {"__module__": HERE})
    report = verify(named, cases=20, seed=7, only=["homogeneous", "values_bounded"], strength=0, regressions=tmp_path)
    assert {failure.record for failure in report.failures} == {None}
    for failure in report.failures:
        assert "  record    none: " in failure.message
        assert "  replay    verify(..., seed=7, cases=20, only=[" in failure.message
    assert list(tmp_path.iterdir()) == []
