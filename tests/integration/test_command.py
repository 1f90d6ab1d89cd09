"""The command ``patchify-verify``: exit codes, what it prints first and last, and how it refuses."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from torch import Tensor

from patchify import Patchify
from properties.command.main import main
from properties.laws import LAWS
from properties.runs.cores import cores
from properties.runs.options import OPTIONS
from properties.runs.parsing import duration, expectation, names
from properties.runs.plan import make_plan
from tests.helpers.printed import unfolded

CHEAP = ("--cases", "20", "--strength", "0", "--only", "zero_input_gives_bias,homogeneous")
HERE = "tests.integration.test_command"


# Somebody else's package of the same name, whose layer adds the bias once more.
ANOTHER = """
import torch

class Patchify(torch.nn.Module):
    def __init__(self, in_features, out_features, data_dim, patch_size, stride=None, bias=True):
        super().__init__()
        self.data_dim, self.patch_size, self.stride = data_dim, patch_size, stride or patch_size
        kind = getattr(torch.nn, f"Conv{data_dim}d")
        self.conv = kind(in_features, out_features, patch_size, self.stride, bias=bias)

    def forward(self, x):
        tokens = self.conv(x.movedim(-1, 1)).movedim(1, -1)
        return tokens if self.conv.bias is None else tokens + self.conv.bias
"""


class BiasTwice(Patchify):
    """Adds the bias once more."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens if self.conv.bias is None else tokens + self.conv.bias


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    """The exit code, the lines of the output, unfolded, and what went to standard error."""
    code = main(["run", *arguments])
    captured = capsys.readouterr()
    return code, unfolded(captured.out), captured.err


def test_passes(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, errors = run(capsys, *CHEAP, "--seed", "7")
    assert (code, errors) == (0, "")
    assert lines[0] == (
        "run seed 7: patchify:Patchify on cpu, float64, float32, bfloat16, float16, level contract, "
        "20 random cases and the landmarks; from patchify/layer.py"
    )
    # Both laws are of one family. The rule of three: 3/19.
    (family,) = (line.split() for line in lines if line.startswith("relations"))
    assert family == ["relations", "(2)", "38", "2", "0.083", "1.6e-01", "passed"]
    assert lines[-1] == ("PASSED: patchify:Patchify: 2 of 2 properties held in 38 checks on 20 cases (run seed 7)")


def test_output_is_plain_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = run(capsys, *CHEAP, "--seed", "7", "--implementation", f"{HERE}:BiasTwice")
    assert [line for line in lines if not line.isascii() or not line.isprintable()] == []


def test_verbose_has_a_row_for_each_law(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = run(capsys, *CHEAP, "--seed", "7", "--verbose")
    rows = [line.split() for line in lines if line.startswith("  ")]
    assert [(row[0], row[1], row[-2], row[-1]) for row in rows if row[-1] == "passed"] == [
        ("homogeneous", "19", "1.6e-01", "passed"),
        ("zero_input_gives_bias", "19", "1.6e-01", "passed"),
    ]


@pytest.mark.parametrize("implementation", ["patchify:Patchify", f"{HERE}:BiasTwice"])
def test_at_most_80_columns(capsys: pytest.CaptureFixture[str], implementation: str) -> None:
    """But what is for copying, which is JSON and commands."""
    main(["run", *CHEAP, "--seed", "7", "--verbose", "--implementation", implementation])
    lines = capsys.readouterr().out.splitlines()
    wide = [line.split()[0] for line in lines if len(line) > 80]
    assert set(wide) <= {"as", "replay"}


def test_fails(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, errors = run(capsys, *CHEAP, "--seed", "7", "--implementation", f"{HERE}:BiasTwice")
    assert code == 1
    # Told as they are found, beside what is printed.
    assert errors.splitlines() == ["failed: homogeneous", "failed: zero_input_gives_bias"]
    assert lines[0].startswith(f"run seed 7: {HERE}:BiasTwice on cpu, ")
    # The message is not wrapped, so that it can be copied from.
    start = lines.index("zero_input_gives_bias failed: 1 of 1 output values of a zero input are not the bias")
    assert [line.split()[0] for line in lines[start + 1 : start + 10]] == [
        *("cause", "where", "observed", "expected", "bound", "law", "case", "as", "replay")
    ]
    assert lines[start + 9] == (
        f"  replay    patchify-verify run --implementation {HERE}:BiasTwice --seed 7 --cases 20 "
        "--only zero_input_gives_bias --strength 0"
    )
    assert re.fullmatch(
        rf"FAILED: {HERE}:BiasTwice: 0 of 2 properties held in 38 checks on 20 cases \(run seed 7\)", lines[-1]
    )


def test_replays_what_a_message_says(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = run(capsys, *CHEAP, "--seed", "7", "--implementation", f"{HERE}:BiasTwice")
    (replay,) = (line for line in lines if line.startswith("  replay ") and "zero_input" in line)
    code, again, _ = run(capsys, *replay.split()[3:])
    assert code == 1
    assert "zero_input_gives_bias failed: 1 of 1 output values of a zero input are not the bias" in again


@pytest.mark.parametrize("implementation", ["patchify:Patchify", f"{HERE}:BiasTwice"])
def test_same_seed_same_output(capsys: pytest.CaptureFixture[str], implementation: str) -> None:
    arguments = (*CHEAP, "--seed", "7", "--implementation", implementation)
    assert run(capsys, *arguments) == run(capsys, *arguments)


def test_fresh_seed_repeats_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = run(capsys, *CHEAP)
    found = re.match(r"run seed (\d+): ", lines[0])
    assert found
    assert lines[-1].endswith(f"(run seed {found[1]})")
    assert run(capsys, *CHEAP, "--seed", found[1])[1] == lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--only", "nope"),
            rf"only names 'nope', which is none of: {', '.join(prop.name for prop in LAWS)}, C1, .*H10",
        ),
        (("--dtypes", "float32,int8"), "dtypes names 'int8', which is none of: float64, float32, bfloat16, float16"),
        (("--implementation", "absent:Name"), r"cannot import implementation 'absent:Name': ModuleNotFoundError: .*"),
        (("--device", "cuda:99"), "device 'cuda:99' is not available: .+"),
        (("--implementation", "package"), "implementation must be of the form 'package.module:Name', got 'package'"),
        (("--cases", "-1"), "cases must be a number of cases, from 0 to 10,000,000, got -1"),
        (("--expected-failure", "nope=why"), "expected_failures names 'nope', which is none of: .*"),
    ],
)
def test_could_not_run(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    code, lines, errors = run(capsys, *arguments)
    assert (code, lines) == (2, [])
    assert re.fullmatch(f"patchify-verify: could not run: {message}\n", errors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: command"),
        (("fly",), "argument command: invalid choice: 'fly' (choose from 'run'"),
        (("run", "--budget", "soon"), "argument --budget: expected a duration such as 90, 90s, 10m or 2h, got 'soon'"),
        (
            ("run", "--expected-failure", "homogeneous"),
            "argument --expected-failure: expected PROPERTY=REASON, got 'homogeneous'",
        ),
        (("run", "--cases", "many"), "argument --cases: invalid int value: 'many'"),
        (("run", "--level", "high"), "argument --level: invalid choice: 'high' (choose from 'contract', 'robust')"),
        (("run", "--implementation", ""), "argument --implementation: must not be empty"),
        (("run", "--device", " "), "argument --device: must not be empty"),
        (("run", "--dask", ""), "argument --dask: must not be empty"),
        (("run", "--colour"), "unrecognized arguments: --colour"),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    # Python 3.12 and later name choices without quotes.
    assert message.replace("'", "") in captured.err.splitlines()[-1].replace("'", "")


def test_expected_failure(capsys: pytest.CaptureFixture[str]) -> None:
    expected = (
        "--expected-failure",
        "zero_input_gives_bias=a known bug",
        "--expected-failure",
        "homogeneous=known = too",
    )
    code, lines, _ = run(capsys, *CHEAP, "--seed", "7", "--implementation", f"{HERE}:BiasTwice", *expected)
    assert code == 0
    assert "expected, since a known bug:" in lines
    assert "expected, since known = too:" in lines
    assert lines[-1] == (
        f"PASSED: {HERE}:BiasTwice: 0 of 2 properties held in 38 checks on 20 cases; 2 failed as expected (run seed 7)"
    )
    code, lines, _ = run(capsys, *CHEAP, "--seed", "7", *expected)
    assert code == 1
    assert lines[-3:-1] == [
        "homogeneous was expected to fail (known = too), but passed 19 checks",
        "zero_input_gives_bias was expected to fail (a known bug), but passed 19 checks",
    ]


def test_no_check(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, errors = run(capsys, "--cases", "0", "--only", "homogeneous", "--seed", "7")
    assert (code, lines) == (2, [])
    assert errors == "patchify-verify: could not run: this run holds no cases, so that it could show nothing\n"


def test_current_folder_comes_before_what_is_installed(tmp_path: Path) -> None:
    """And what it has of the harness's names changes nothing; which file was verified is told everywhere."""
    (tmp_path / "patchify").mkdir()
    (tmp_path / "patchify" / "__init__.py").write_text(ANOTHER)
    for name in ("oracles", "jsonschema", "rich", "torch"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not the one of the harness')")
    command = [sys.executable, "-P", "-c", "import sys; from properties.command.main import main; sys.exit(main())"]
    command += ["run", "--cases", "8", "--only", "zero_input_gives_bias", "--strength", "0", "--dtypes", "float64"]
    command += ["--json", "report.json", "--regressions", "records", "--seed", "7"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "failed: zero_input_gives_bias\n")
    first, *lines = unfolded(done.stdout)
    origin = str(Path("patchify", "__init__.py"))
    assert first.endswith(f"; from {origin}")
    assert f"patchify:Patchify comes from {origin}" in lines
    assert json.loads((tmp_path / "report.json").read_text())["origin"] == origin
    (path,) = (tmp_path / "records").iterdir()
    assert json.loads(path.read_text())["versions"]["implementation"] == origin


def test_version_of_the_distribution_is_told() -> None:
    layer = make_plan("torch.nn:Identity")
    assert re.fullmatch(r".*linear\.py \(torch [\d.+a-z]+\)", layer.origin)


def test_other_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wrong = ("--seed", "7", "--implementation", f"{HERE}:BiasTwice")
    code, lines, _ = run(capsys, *CHEAP, *wrong, "--fail-fast", "--no-shrink", "--regressions", str(tmp_path))
    assert code == 1
    assert lines[-1].endswith("; stopped at the first failure (run seed 7)")
    records = sorted(tmp_path.iterdir())
    assert sorted(line for line in lines if line.startswith("  record")) == [f"  record    {path}" for path in records]
    assert len(records) == 2
    code, lines, _ = run(capsys, *CHEAP, "--seed", "7", "--budget", "1h", "--dtypes", "float16, float32")
    assert code == 0
    assert " on cpu, float16, float32, level contract, " in lines[0]


def test_progress_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(force_terminal=True, width=120, height=40)
    monkeypatch.setattr("properties.command.commands.Console", lambda **named: terminal)
    code, lines, _ = run(capsys, *CHEAP, "--seed", "7")
    assert code == 0
    assert any("1 of 1 shards, 20 cases, random cases, under a minute left" in line for line in lines)


def test_progress_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("properties.runs.progress._PAUSE", 0.0)
    _, _, errors = run(capsys, *CHEAP, "--seed", "7")
    told = errors.splitlines()
    assert told[0] == "0 of 1 shards, 1 cases, random cases"
    assert told[1:] == [f"{n // 20} of 1 shards, {n} cases, random cases, under a minute left" for n in range(2, 21)]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("0.5", 0.5), ("1e3", 1000)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "-1", "-1m", "soon", "nan", "inf", "infh", "5d", "1 0"])
def test_no_durations(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"got {re.escape(repr(text))}$"):
        duration(text)


def test_lists_of_names() -> None:
    assert names("a,b , c,") == ["a", "b", "c"]
    assert names("") == []


def test_expectations() -> None:
    assert expectation("values_exact=because a = b") == ("values_exact", "because a = b")
    for text in ("values_exact", "=why", "values_exact=", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"^expected PROPERTY=REASON, got {text!r}$"):
            expectation(text)


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["run", "--help"])
    text = capsys.readouterr().out
    assert [option.flag for option in OPTIONS if "run" in option.doors and f"--{option.flag}" not in text] == []


@pytest.mark.parametrize(("quota", "most"), [("max 100000", None), ("100000 100000", 1), ("1 100000", 1), ("x", None)])
def test_cores_are_those_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, most: int | None
) -> None:
    every = len(os.sched_getaffinity(0))
    monkeypatch.setattr("properties.runs.cores._QUOTA", tmp_path / "cpu.max")
    assert cores() == every
    (tmp_path / "cpu.max").write_text(quota)
    assert cores() == (every if most is None else most)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["run", "--seed", "x"]])
def test_words_alone_take_neither_torch_nor_hypothesis(arguments: list[str]) -> None:
    code = f"""
import sys
from properties.command.main import main
try:
    main({arguments})
except SystemExit:
    sys.exit(str({{"torch", "hypothesis", "numpy"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "set()"
