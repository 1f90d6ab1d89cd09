"""Replay: the four outcomes, without Hypothesis, one bad file among good ones, by command and by pytest, and first."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from patchify import Patchify
from properties import verify
from properties.cases.case import Case, Fill, Input, Spec
from properties.command.main import main
from properties.failures.record import Record, write_record
from properties.failures.replay import replay
from properties.laws import LAWS
from properties.trials.verdict import Failed
from tests.helpers.printed import unfolded

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
CASE = Case(Spec(bias=True), Input(1, (3,)), Fill(seed=1))
PROP = {prop.name: prop for prop in LAWS}


class BiasTwice(Patchify):
    """Adds the bias once more."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens if self.conv.bias is None else tokens + self.conv.bias


class Sometimes(BiasTwice):
    """Adds the bias once more on every fourth call of all."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        Sometimes.calls += 1
        return Patchify.forward(self, x) if Sometimes.calls % 4 else super().forward(x)


class Unbuildable(Patchify):
    def __init__(self, **named: Any) -> None:
        raise RuntimeError("no layer today")


def record(implementation: str, **changes: Any) -> Record:
    """A failure of a property that runs the layer once."""
    name = changes.pop("prop", "zero_input_gives_bias")
    implementation = implementation if ":" in implementation else f"tests.integration.test_replay:{implementation}"
    verdict = Failed("it is wrong", observed="6", expected="3")
    made = Record(PROP[name], implementation, "cpu", CASE, verdict, "of old", 7, "random0")
    return replace(made, **changes)


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, list[str], str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_fixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_record(tmp_path, record("patchify:Patchify"))
    assert run(capsys, "replay", path) == (
        0,
        [
            f"FIXED        {path}: zero_input_gives_bias holds for patchify:Patchify on cpu",
            "1 record: 1 FIXED",
        ],
        "",
    )


def test_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_record(tmp_path, record("BiasTwice"))
    code, lines, errors = run(capsys, "replay", path)
    assert (code, errors) == (1, "")
    assert lines[0] == (
        f"FAILED       {path}: zero_input_gives_bias failed: 3 of 3 output values of a zero input are not the bias"
    )
    assert lines[-1] == "1 record: 1 FAILED"
    told = {line[2:11].strip(): line[12:] for line in lines[1:-1]}
    assert (told["observed"], told["expected"], told["record"]) == ("4", "2", str(path))
    assert told["replay"] == f"patchify-verify replay {path}"
    # It fails otherwise than it did, so the cause is looked for again.
    assert told["cause"] != "of old"


def test_recorded_cause_stands_while_nothing_changes(tmp_path: Path) -> None:
    (failure,) = verify(
        BiasTwice, cases=20, seed=7, only=["zero_input_gives_bias"], regressions=tmp_path, jobs=0
    ).failures
    assert failure.record is not None
    data = json.loads(failure.record.read_text())
    failure.record.write_text(json.dumps({**data, "cause": "as it was recorded"}))
    assert "\n  cause     as it was recorded\n" in replay(failure.record).text
    assert f"\n  cause     {data['cause']}\n" in replay(failure.record, anew=True).text


def test_another_implementation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixed, wrong = (
        ("--implementation", "patchify:Patchify"),
        ("--implementation", "tests.integration.test_replay:BiasTwice"),
    )
    assert run(capsys, "replay", write_record(tmp_path, record("BiasTwice")), *fixed)[0] == 0
    path = write_record(tmp_path, record("patchify:Patchify"))
    code, lines, _ = run(capsys, "replay", path, *wrong)
    assert code == 1
    assert (
        f"  replay    patchify-verify replay {path} --implementation tests.integration.test_replay:BiasTwice" in lines
    )


def test_intermittent(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sometimes, "calls", 0)
    path = write_record(tmp_path, record("Sometimes"))
    code, lines, _ = run(capsys, "replay", path)
    assert code == 1
    assert lines[0].startswith(f"INTERMITTENT {path}: passed 2 ")
    assert "of 3 tries; the others: zero_input_gives_bias failed: 3 of 3 output values" in lines[0]
    assert lines[-1] == "1 record: 1 INTERMITTENT"


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        (record("no_such_module:Layer"), "cannot import implementation 'no_such_module:Layer': ModuleNotFoundError"),
        (record("NoSuchLayer"), "tests.integration.test_replay has no 'NoSuchLayer'"),
        (record("f:<locals>.Layer"), "cannot import implementation 'f:<locals>.Layer'"),
        (record("BiasTwice", device="cuda"), "device 'cuda' is not available"),
        (
            record("Unbuildable"),
            "says nothing about tests.integration.test_replay:Unbuildable on cpu: the layer could not be built",
        ),
        (record("BiasTwice", prop="default_stride_grid", case=replace(CASE, spec=Spec(stride=1))), "names a stride"),
    ],
)
def test_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], recorded: Record, reason: str) -> None:
    path = write_record(tmp_path, recorded)
    code, (line, count), _ = run(capsys, "replay", path)
    assert (code, count) == (2, "1 record: 1 ERROR")
    assert line.startswith(f"ERROR        {path}: ")
    assert reason in line


def _hostile(folder: Path) -> None:
    (folder / "deep.json").write_text("[" * 90_000)
    (folder / "torn.json").write_text('{"format": 1, "prop')
    (folder / "binary.json").write_bytes(bytes(range(256)))
    (folder / "folder.json").mkdir()
    (folder / "link.json").symlink_to("/etc/passwd")
    with (folder / "large.json").open("wb") as file:
        file.truncate(200_000_000)


def test_a_bad_file_among_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [write_record(tmp_path, record(name)) for name in ("BiasTwice", "patchify:Patchify")]
    _hostile(tmp_path)
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in tmp_path.iterdir()}
    code, lines, errors = run(capsys, "replay", tmp_path)
    assert (code, errors) == (2, "")
    assert lines[-1] == "8 records: 6 ERROR, 1 FAILED, 1 FIXED"
    told = {line.split(": ")[0].split()[1]: line.split()[0] for line in lines if not line.startswith(" ")}
    assert {told[str(path)] for path in before if path not in good} == {"ERROR"}
    assert {told[str(path)] for path in good} == {"FAILED", "FIXED"}
    # Nothing is deleted, nothing rewritten.
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in tmp_path.iterdir()} == before


def test_nothing_to_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run(capsys, "replay", tmp_path)
    assert code == 2
    assert errors == f"patchify-verify: could not run: no records in {tmp_path}: no file there ends in .json\n"
    assert run(capsys, "replay", tmp_path / "absent.json")[:2] == (
        2,
        [f"ERROR        {tmp_path}/absent.json: does not exist", "1 record: 1 ERROR"],
    )


def test_without_hypothesis(tmp_path: Path) -> None:
    path = write_record(tmp_path, record("tests.mutants.forward:BiasAddedTwice"))
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from pathlib import Path; from properties.failures.replay import replay\n"
        "print(replay(Path(sys.argv[1])).outcome)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("FAILED\n", "")


def test_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_record(tmp_path, record("BiasTwice"))
    code, lines, _ = run(capsys, "explain", path)
    assert code == 1
    assert lines[1].startswith("  cause     ")
    assert "of old" not in lines[1]
    assert run(capsys, "explain", path, "--implementation", "patchify:Patchify")[0] == 0
    assert run(capsys, "explain", tmp_path / "absent.json")[0] == 2


def test_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the file to a script that fails, and passes with the right layer."""
    (failure,) = verify(
        BiasTwice, cases=20, seed=7, only=["zero_input_gives_bias"], regressions=tmp_path, jobs=0
    ).failures
    codes = []
    for options in ((), ("--implementation", "patchify:Patchify")):
        code, lines, errors = run(capsys, "script", failure.record, *options)
        assert (code, errors) == (0, "")
        script = tmp_path / "script.py"
        script.write_text("\n".join(lines))
        done = subprocess.run([sys.executable, "-c", script.read_text()], cwd=ROOT, capture_output=True, check=False)
        codes.append((done.returncode, b"Violation: " in done.stderr))
    assert codes == [(1, True), (0, False)]


def test_script_of_what_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "torn.json").write_text("{")
    code, lines, errors = run(capsys, "script", tmp_path / "torn.json")
    assert (code, lines) == (2, [])
    assert errors.startswith(f"patchify-verify: could not run: {tmp_path}/torn.json is not valid JSON: ")


def items(pytester: pytest.Pytester, *arguments: Any) -> dict[str, str]:
    """The outcome of every item of a pytest session of its own."""
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-v", *arguments)
    return dict(line.split()[:2] for line in result.outlines if "::replay " in line and not line.startswith("FAILED"))


def test_by_pytest(pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("regressions")
    wrong = write_record(folder, record("layers:BiasTwice"))
    right = write_record(folder, record("patchify:Patchify"))
    (folder / "torn.json").write_text("{")
    (folder / "link.json").symlink_to("nowhere")
    (folder / "test_else.py").write_text("def test_else():\n    pass\n")
    pytester.makepyfile(layers=(Path(__file__).parent / "test_plugin.py").read_text().split('"""')[3])
    outcomes = {
        f"regressions/{wrong.name}::replay": "FAILED",
        f"regressions/{right.name}::replay": "PASSED",
        "regressions/torn.json::replay": "FAILED",
        "regressions/link.json::replay": "FAILED",
    }
    assert items(pytester, "regressions") == outcomes
    assert items(pytester, f"regressions/{wrong.name}") == {f"regressions/{wrong.name}::replay": "FAILED"}
    fixed = items(pytester, f"regressions/{wrong.name}", "--patchify-implementation", "patchify:Patchify")
    assert fixed == {f"regressions/{wrong.name}::replay": "PASSED"}
    result = pytester.runpytest_inprocess("regressions")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "ERROR        *torn.json: is not valid JSON: *",
            f"_* {wrong.name} _*",
            f"FAILED       *{wrong.name}: zero_input_gives_bias failed: 3 of 3 output values of a zero input *",
            "  cause     *",
        ]
    )


def test_other_json_is_left_alone(pytester: pytest.Pytester) -> None:
    """The plugin is there in every session of pytest, of any project."""
    pytester.mkdir("data").joinpath("settings.json").write_text("{}")
    pytester.mkdir("regressions").joinpath("expected.json").write_text("{}")
    assert pytester.runpytest_inprocess().ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_regressions_run_first(tmp_path: Path) -> None:
    (failure,) = verify(
        BiasTwice, cases=20, seed=7, only=["zero_input_gives_bias"], regressions=tmp_path, jobs=0
    ).failures
    assert failure.record is not None
    before = failure.record.read_text()
    again = verify(
        BiasTwice, cases=20, seed=8, only=["zero_input_gives_bias"], regressions=tmp_path, fail_fast=True, jobs=0
    )
    assert [result.shard for result in again.results] == ["regressions"]
    assert (again.cases, [failed.record for failed in again.failures]) == (1, [failure.record])
    assert failure.record.read_text() == before
    # Whoever's failure it was, other layers are tried on it, too.
    report = verify(
        Patchify, cases=20, seed=8, only=["zero_input_gives_bias"], regressions=tmp_path, strength=0, jobs=0
    )
    assert report.passed
    assert [(result.shard, result.cases) for result in report.results] == [("regressions", 1), ("random0", 20)]
    assert list(tmp_path.iterdir()) == [failure.record]


def test_records_that_a_run_does_not_ask_for_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_record(tmp_path, record("BiasTwice"))
    other = write_record(tmp_path, record("BiasTwice", prop="homogeneous"))
    options = ("--cases", "5", "--seed", "7", "--only", "homogeneous", "--regressions", tmp_path)
    code, printed, _ = run(capsys, "run", *options)
    assert code == 0
    lines = unfolded("\n".join(printed))
    told = "records replayed first: 1 of 2; of a property or dtype that this run does not ask for: "
    assert told + path.name in lines
    assert other.name not in "".join(lines)
