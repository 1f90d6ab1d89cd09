"""Runs on several processes: the same report as on one, and what they do not survive becomes a record."""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from properties.cases.case import Case
from properties.command.main import main
from properties.failures.record import Record, read_record
from properties.failures.replay import Outcome, replay
from properties.runs.engine import carry_out
from properties.runs.failure import Failure
from properties.runs.journal import Death, Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.lock import held
from properties.runs.plan import Plan, make_plan
from properties.runs.report import Report, VerificationFailed
from properties.runs.shard import MOST_DEATHS, run_case
from properties.runs.verify import run
from properties.trials.implementation import CannotRun
from properties.trials.verdict import Failed
from tests.helpers.printed import unfolded

ROOT = Path(__file__).parents[2]
# Judged on drawn cases alone, so that a run has no landmarks and no small scope.
COMMAND = [sys.executable, "-c", "import sys; from properties.command.main import main; sys.exit(main(sys.argv[1:]))"]
ONLY = ["zero_input_gives_bias", "homogeneous"]


def plan_of(implementation: str, **changes: Any) -> Plan:
    return make_plan(implementation, **{"cases": 120, "seed": 7, "only": ONLY, "strength": 0, **changes})


def started(folder: Path, plan: Plan) -> Journal:
    """The journal of a run that is to begin."""
    journal = Journal(folder)
    journal.start(plan)
    return journal


def run_plan(plan: Plan, folder: Path, *, jobs: int = 2, case_timeout: float | None = None, **options: Any) -> Report:
    return carry_out(LocalWorkers(started(folder, plan), jobs, case_timeout), **options)


def told(report: Report) -> Any:
    """Everything that a report says."""
    return (
        report.verdict_line,
        report.problems,
        report.failures,
        [result.to_json() | {"seconds": 0} for result in report.results],
    )


@pytest.mark.parametrize("implementation", ["patchify:Patchify", "tests.mutants.forward:BiasAddedTwice"])
def test_same_report_whatever_the_number_of_processes(tmp_path: Path, implementation: str) -> None:
    plan = plan_of(implementation)
    reports = [run_plan(plan, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 3)]
    assert told(reports[0]) == told(reports[1]) == told(run(plan))
    assert [result.cases for result in reports[0].results] == [50, 50, 20]


def test_plan_is_plain_data() -> None:
    plan = plan_of("patchify:Patchify", levels=["contract", "robust"], dtypes=["float32"], scope_margin=1)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("Segfaults", "process died (signal 11)"),
        ("Exits", "process died (exit code 7)"),
        ("Killed", "process died (signal 9: killed, as for lack of memory)"),
    ],
)
def test_death_leaves_a_record(tmp_path: Path, name: str, how: str) -> None:
    plan = plan_of(f"tests.helpers.crashing:{name}", cases=30, only=["zero_input_gives_bias"])
    report = run_plan(plan, tmp_path / "run", regressions=tmp_path / "records")
    (failure,) = report.failures
    assert failure.message.splitlines()[:2] == [
        f"zero_input_gives_bias failed: {how}",
        f"  cause     tests.helpers.crashing:{name} ends the process that it runs in",
    ]
    assert failure.case.input.batch >= 3
    assert failure.record is not None
    assert read_record(failure.record).verdict.what == how
    (result,) = report.results
    assert (result.deaths, report.tallies["zero_input_gives_bias"].failed) == (MOST_DEATHS, MOST_DEATHS)
    assert result.cases + result.left_out == 30
    assert report.problems[-1] == (
        f"shard random0 was given up after 3 deaths of its process: {result.left_out} of 30 cases were not run"
    )


def test_what_does_not_answer_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    """A run in which checks were not judged does not pass, and does not fail either."""
    how = "process died (no answer within 5 seconds)"
    plan = plan_of("tests.helpers.crashing:Hangs", cases=30, only=["zero_input_gives_bias"])
    report = run_plan(plan, tmp_path / "run", case_timeout=5.0)
    (result,) = report.results
    assert (report.passed, report.incomplete, report.failures) == (False, True, ())
    assert (
        report.problems
        == report.not_judged
        == (
            f"zero_input_gives_bias was not judged on {MOST_DEATHS} cases: {how}",
            f"shard random0 was given up after 3 deaths of its process: {result.left_out} of 30 cases were not run",
        )
    )
    assert report.verdict_line.startswith("INCOMPLETE: tests.helpers.crashing:Hangs: 0 of 1 properties held in ")
    with pytest.raises(VerificationFailed, match="INCOMPLETE"):
        report.raise_if_failed()
    assert main(["run", "--resume", str(tmp_path / "run")]) == 2
    known = Record(plan.properties[0], plan.name, "cpu", Case(), Failed("wrong"), "", 7, "random0")
    failing = replace(report, failures=(Failure("homogeneous", Case(), "homogeneous failed", known, ""),))
    assert (failing.incomplete, failing.verdict_line.split(":")[0]) == (False, "FAILED")


def test_other_shards_finish(tmp_path: Path) -> None:
    report = run_plan(plan_of("tests.helpers.crashing:Exits", dtypes=["float64"]), tmp_path)
    assert [result.shard for result in report.results] == ["random0", "random1", "random2"]
    assert [result.deaths for result in report.results] == [MOST_DEATHS] * 3
    # The check that is fatal is told; the other one of the same case is judged by the process that comes after.
    assert {failure.property for failure in report.failures} == set(ONLY)


def test_layer_that_nothing_survives(tmp_path: Path) -> None:
    report = run_plan(plan_of("tests.helpers.crashing:BuiltForNothing", cases=10), tmp_path)
    assert {failure.message.splitlines()[0] for failure in report.failures} == {
        f"{name} failed: process died (exit code 7)" for name in ONLY
    }


def test_death_is_replayed_in_a_process_of_its_own(tmp_path: Path) -> None:
    plan = plan_of("tests.helpers.crashing:Segfaults", cases=30, only=["zero_input_gives_bias"])
    (failure,) = run_plan(plan, tmp_path / "run", regressions=tmp_path / "records").failures
    assert failure.record is not None
    again = replay(failure.record)
    assert (again.outcome, again.text) == (Outcome.FAILED, failure.message)
    assert replay(failure.record, implementation="patchify:Patchify").outcome is Outcome.FIXED


def test_resumed_after_a_kill(tmp_path: Path) -> None:
    """The whole run is killed in the middle; what is done stays, and the report is that of a run that was not."""
    arguments = [
        "run",
        "--implementation",
        "tests.helpers.crashing:Slow",
        "--cases",
        "120",
        "--seed",
        "7",
        "--strength",
        "0",
    ]
    arguments += ["--only", ",".join(ONLY), "--jobs", "2", "--run-dir", str(tmp_path / "run")]
    process = subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_for_lines(tmp_path / "run" / "random0.cases", 5)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    journal = Journal(tmp_path / "run")
    plan = plan_of("tests.helpers.crashing:Slow")
    done = journal.done("random0", plan.cases_of("random0"))
    assert 5 <= len(done) < 50
    # As a worker leaves it that has outlived the run for the time of a case, and a write that was cut off.
    with (tmp_path / "run" / "random0.cases").open("r+") as file:
        *_, last = file
        file.write(last + '{"name": "random0/')
    report = carry_out(LocalWorkers(journal, jobs=2))
    assert told(report) == told(run(replace(plan, implementation=make_plan("patchify:Patchify").implementation)))


def _wait_for_lines(path: Path, count: int) -> None:
    until = time.monotonic() + 60
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < until, "no case was done"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("file", "lines", "seconds"), [("plan.json", 0, 0.0), ("plan.json", 0, 3.0), ("random0.cases", 5, 0.0)]
)
def test_interrupted(tmp_path: Path, file: str, lines: int, seconds: float) -> None:
    """While the processes start, and later."""
    arguments = [
        "run",
        "--implementation",
        "tests.helpers.crashing:Slow",
        "--cases",
        "120",
        "--seed",
        "7",
        "--strength",
        "0",
    ]
    arguments += ["--only", ",".join(ONLY), "--jobs", "2", "--run-dir", str(tmp_path / "run")]
    # What runs in the background of a shell, as these tests may, and its children take no notice of an interrupt.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    process = subprocess.Popen(
        [*COMMAND[:-1], listening + COMMAND[-1], *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for_lines(tmp_path / "run" / file, lines)
    time.sleep(seconds)
    # As a terminal does it: to all processes of the run.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    # Whatever is said there tells how far the run was.
    assert [line for line in errors.splitlines() if " shards, " not in line] == []
    if lines:
        assert "; interrupted (run seed 7)" in unfolded(output)[-1]


def test_budget(tmp_path: Path) -> None:
    report = run_plan(plan_of("tests.helpers.crashing:Slow", cases=5000), tmp_path, budget=8.0)
    assert report.passed
    assert 0 < report.cases < 5000
    assert re.search(
        r"; stopped by its budget after \d+ cases, in \d+ of \d+ shards \(run seed 7\)$", report.verdict_line
    )


def test_fail_fast(tmp_path: Path) -> None:
    report = run_plan(plan_of("tests.mutants.forward:BiasAddedTwice"), tmp_path, fail_fast=True)
    assert report.failures
    assert report.cases < 120
    assert "; stopped at the first failure (run seed 7)" in report.verdict_line


def test_folder_of_another_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("")
    assert main(["run", "--run-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"patchify-verify: could not run: {tmp_path} is not empty: resume the run in it, or name another folder\n"
    )
    assert main(["run", "--resume", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(
        f"patchify-verify: could not run: {tmp_path}/plan.json cannot be read, or is damaged: "
    )


def test_journal_reads_what_it_wrote(tmp_path: Path) -> None:
    plan = plan_of("patchify:Patchify", cases=3)
    journal = started(tmp_path, plan)
    death = Death("random0/1", "homogeneous", "process died (signal 11)")
    journal.add_death("random0", death)
    assert journal.deaths("random0") == [death]
    assert (journal.left(plan), journal.results(plan), journal.plan()) == (["random0"], [], plan)


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of which one shard is done and another one is not, for all tests."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    plan = plan_of("patchify:Patchify")
    carry_out(LocalWorkers(started(folder, plan), 1))
    result = run_case(plan, plan.properties, plan.cases_of("random2")["random2/0"], "random2/0")
    (folder / "random2.json").unlink()
    Journal(folder).add("random2", result)
    return folder


@pytest.fixture
def stopped(stopped_run: Path, tmp_path: Path) -> Path:
    """A copy of that folder, which a test may change."""
    return Path(shutil.copytree(stopped_run, tmp_path / "stopped"))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("plan.json", "{"),
        ("plan.json", "[]"),
        ("plan.json", None),
        ("random0.json", ""),
        ("random0.json", "null"),
        ("random0.json", '{"shard": "random0"}'),
        ("random0.json", '{"shard": "random0", "tallies": {}, "rows": {"12": 1}}'),
        ("random0.json", '{"shard": "random0", "tallies": {}, "landmarks": [1]}'),
        ("random0.json", '{"shard": "random0", "tallies": {}, "false_passes": {"homogeneous": 2.0}}'),
        ("random2.cases", "no JSON\n"),
        ("random2.cases", '{"name": "another/0", "verdicts": {}, "died": {}}\n'),
        ("random2.cases", '{"name": "random2/0", "verdicts": {"homogeneous": {"praised": {}}}, "died": {}}\n'),
        ("random2.deaths", "[1]\n"),
        ("end.json", '{"stopped": "soon", "records": {}}'),
    ],
)
def test_damaged_file_is_named_and_nothing_changes(
    stopped: Path, capsys: pytest.CaptureFixture[str], file: str, content: str | None
) -> None:
    (stopped / file).unlink(missing_ok=True)
    if content is not None:
        (stopped / file).write_text(content)
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    assert main(["run", "--resume", str(stopped)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"patchify-verify: could not run: {stopped / file} cannot be read, or is damaged: ")
    assert told.count("\n") == 1
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before


@pytest.mark.parametrize(
    ("member", "value", "told"),
    [
        ("cases", -5, "cases must be a number of cases, from 0 to 10,000,000, got -5"),
        ("part", [0, 1], "part is [0, 1]"),
        ("part", ["1", None], "part is ['1', None]"),
        ("strength", "2", "strength must be 0, 2 for pairs or 3 for triples, got '2'"),
        ("fingerprint", "another", "the source of patchify:Patchify is another one than when the run was begun"),
        ("harness", "another", "the source of the harness is another one than when the run was begun"),
    ],
)
def test_plan_that_was_edited_is_refused(
    stopped: Path, capsys: pytest.CaptureFixture[str], member: str, value: object, told: str
) -> None:
    plan = json.loads((stopped / "plan.json").read_text())
    (stopped / "plan.json").write_text(json.dumps(plan | {member: value}))
    assert main(["run", "--resume", str(stopped)]) == 2
    assert told in capsys.readouterr().err


def test_case_that_is_done_is_known_by_its_name(stopped: Path) -> None:
    """A line that was lost in the middle leaves its case to be done, and no other one."""
    plan = plan_of("patchify:Patchify")
    (stopped / "random2.cases").unlink()
    names = list(plan.cases_of("random2"))
    for name in (names[0], names[2]):
        Journal(stopped).add("random2", run_case(plan, plan.properties, plan.cases_of("random2")[name], name))
    report = carry_out(LocalWorkers(Journal(stopped), 1))
    assert told(report) == told(run(plan))


def test_part_without_cases_is_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cases", "20", "--seed", "7", "--only", "homogeneous", "--strength", "0"]
    arguments += ["--shard", "9/9", "--run-dir", str(tmp_path / "run")]
    assert main(["run", *arguments]) == 2
    assert "part 9 of 9 of this run holds no cases" in capsys.readouterr().err


def test_part_of_which_a_shard_is_gone_is_not_merged(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(stopped)]) == 2
    assert "part 1 of 1, has ended, but what came of random2 is gone" in capsys.readouterr().err


def test_folder_in_use_is_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By whom is told; who is gone holds nothing, known to have ended or silent for long."""
    with held(stopped / "lock"):
        lives = json.dumps({"host": "elsewhere", "process": 1})
        (stopped / "lock").write_text(lives)
        assert main(["run", "--resume", str(stopped)]) == 2
        assert f"{stopped} is in use by process 1 on elsewhere" in capsys.readouterr().err
    assert not (stopped / "lock").exists()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (stopped / "lock").write_text(json.dumps({"host": platform.node(), "process": ended.pid}))
    with held(stopped / "lock"):
        pass
    (stopped / "lock").write_text(lives)
    os.utime(stopped / "lock", (0, 0))
    with held(stopped / "lock"):
        pass


def test_folder_that_cannot_be_written_is_not_blamed_on_the_layer(stopped: Path) -> None:
    """As where the disk is full: what is to take the place of the file is a folder."""
    (stopped / "random2.cases").unlink()
    (stopped / "random2.cases").mkdir()
    with pytest.raises(CannotRun, match=r"random2\.cases cannot be (written|read)"):
        carry_out(LocalWorkers(Journal(stopped), 1))


@pytest.mark.parametrize("name", ["../escaped.json", "plan.json/..", "random1.json", "lock", ""])
def test_what_a_worker_elsewhere_sends_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    journal = started(tmp_path / "run", plan_of("patchify:Patchify"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CannotRun, match=r"^a worker sent "):
        journal.unpack({name: "{}"}, ["random0"])
    with pytest.raises(CannotRun, match=r"^a worker sent 'random0\.json' \(7\)"):
        journal.unpack({"random0.json": 7}, ["random0"])  # type: ignore[dict-item]
    assert sorted(tmp_path.rglob("*")) == before
