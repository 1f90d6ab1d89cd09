"""Whatever a layer does to the process that it runs in, and to its files and children: told, and ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from properties import Report, verify
from properties.cases.case import Case
from properties.command.main import main
from properties.failures.isolation import CLOSED
from properties.failures.record import Record, write_record
from properties.laws import LAWS
from properties.runs.failure import OUT_OF_TIME
from properties.runs.plan import make_plan
from properties.trials.verdict import Failed

ROOT = Path(__file__).parents[2]
CRASHING = "tests.helpers.crashing"
RUN = ["run", "--implementation", f"{CRASHING}:HangsWithAChild", "--cases", "2", "--only", "homogeneous"]
RUN += ["--jobs", "1", "--strength", "0", "--dtypes", "float64"]


def check(name: str, case_timeout: float = 600.0) -> Report:
    return verify(
        f"{CRASHING}:{name}",
        cases=8,
        seed=7,
        only=["homogeneous"],
        strength=0,
        dtypes=["float64"],
        jobs=1,
        case_timeout=case_timeout,
    )


def record(folder: Path, name: str) -> Path:
    (prop,) = (prop for prop in LAWS if prop.name == "homogeneous")
    failed = Failed("the output is not homogeneous", "", "1", "2")
    return write_record(folder, Record(prop, f"{CRASHING}:{name}", "cpu", Case(), failed, "unknown", 7, "random0"))


@pytest.mark.parametrize(
    ("name", "how"), [("ClosesFiles", CLOSED), ("WritesIntoPipes", "it wrote into a file that it had not opened")]
)
def test_layer_that_uses_the_files_of_the_harness(name: str, how: str) -> None:
    (failure,) = check(name).failures
    assert failure.message.splitlines()[0] == f"homogeneous failed: process died ({how})"


def test_exception_whose_text_raises() -> None:
    (failure,) = check("RaisesWithoutText").failures
    assert failure.property == "runs_forward"
    assert "observed  UnspeakableError: an exception whose text raises another one" in failure.message


def test_children_of_a_layer_end_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCESSES", str(tmp_path / "processes"))
    report = check("HangsWithAChild", case_timeout=2.0)
    assert report.incomplete
    assert "not judged on 3 cases: process died (no answer within 2 seconds)" in report.problems[0]
    assert all_gone(tmp_path / "processes")


def test_layer_that_hangs_where_it_is_examined() -> None:
    """The report says what is known by then: the smallest case, and why it has no cause."""
    only = ["zero_input_gives_bias"]
    name = f"{CRASHING}:HangsWhenProbed"
    report = verify(name, cases=8, seed=7, only=only, strength=0, dtypes=["float64"], jobs=1, case_timeout=3.0)
    (failure,) = report.failures
    assert failure.case.output_shape == (1, 1, 1)
    assert "cause     not found: process died (no answer within 3 seconds), while it was looked for" in failure.message


def test_examining_has_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("properties.runs.this_process.EXAMINING", 0.0)
    only = ["zero_input_gives_bias"]
    name = f"{CRASHING}:SlowAndWrong"
    (failure,) = verify(name, cases=8, seed=7, only=only, strength=0, dtypes=["float64"], jobs=0).failures
    assert failure.case in make_plan(name, cases=8, seed=7, dtypes=["float64"]).cases_of("random0").values()
    assert f"cause     {OUT_OF_TIME}" in failure.message


def test_worker_ends_where_whoever_started_it_is_killed(tmp_path: Path) -> None:
    code = f"import sys; from properties.command.main import main; sys.exit(main({RUN}))"
    environment = {**os.environ, "PROCESSES": str(tmp_path / "processes")}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as run:
        wait_until((tmp_path / "processes").exists)
        time.sleep(0.5)
        run.send_signal(signal.SIGKILL)
    assert all_gone(tmp_path / "processes")


def test_replay_goes_on_with_the_next_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROCESSES", str(tmp_path / "processes"))
    names = ["HangsWithAChild", "BuiltForNothing", "Slow"]
    paths = {name: str(record(tmp_path / "records", name)) for name in names}
    assert main(["replay", *paths.values(), "--case-timeout", "2s"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    told = {name: next(line for line in lines if path in line) for name, path in paths.items()}
    assert told["HangsWithAChild"].startswith("FAILED ")
    assert told["HangsWithAChild"].endswith("homogeneous failed: process died (no answer within 2 seconds)")
    assert told["BuiltForNothing"].endswith("homogeneous failed: process died (exit code 7)")
    assert told["Slow"].startswith("FIXED ")
    assert lines[-1] == "3 records: 2 FAILED, 1 FIXED"
    assert all_gone(tmp_path / "processes")
    assert main(["explain", paths["BuiltForNothing"]]) == 1
    assert "ends the process that it runs in" in capsys.readouterr().out


def wait_until(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def all_gone(file: Path) -> bool:
    """Whether the processes end, or have ended, that a file names."""
    numbers = [int(number) for number in file.read_text().split()]
    assert len(numbers) == 2
    return wait_until(lambda: not any(lives(number) for number in numbers))


def lives(number: int) -> bool:
    """Whether a process is there, and is no zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
