"""Runs by executors: on this machine, and on a Dask scheduler over TCP, whose workers may be lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from properties.command.main import main
from properties.runs.engine import carry_out
from properties.runs.executor_workers import ExecutorWorkers
from properties.runs.remote import run_away
from properties.runs.report import Report
from properties.runs.verify import run
from properties.trials.implementation import CannotRun
from tests.helpers.printed import unfolded
from tests.integration.test_local_workers import ROOT, plan_of, started, told
from tests.mutants.forward import BiasAddedTwice


def run_plan(folder: Path, implementation: str = "patchify:Patchify", **changes: Any) -> Report:
    journal = started(folder, plan_of(implementation, **changes))
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as executor:
        return carry_out(ExecutorWorkers(journal, executor, jobs=2))


def test_same_report_as_without(tmp_path: Path) -> None:
    wrong = "tests.mutants.forward:BiasAddedTwice"
    assert told(run_plan(tmp_path, wrong)) == told(run(plan_of(wrong)))


def test_layer_that_ends_its_process(tmp_path: Path) -> None:
    report = run_plan(tmp_path, "tests.helpers.crashing:Segfaults", cases=30, only=["zero_input_gives_bias"])
    (failure,) = report.failures
    assert failure.message.startswith("zero_input_gives_bias failed: process died (signal 11)\n")


def test_remote_task_starts_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARTER", str(os.getpid()))
    plan = plan_of("tests.helpers.crashing:RightUnderItsStarter", cases=3, dtypes=["float64"], only=["homogeneous"])
    journal = started(tmp_path, plan)
    journal.unpack(run_away(journal.pack(plan.shards), plan.shards, None, None), plan.shards)
    (result,) = journal.results(plan)
    assert (result.cases, result.tallies["homogeneous"].failed) == (3, 0)


class Lossy(ThreadPoolExecutor):
    """Loses the first tasks that it is given."""

    def __init__(self, losses: int) -> None:
        super().__init__(1)
        self.losses = losses

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        if self.losses == 0:
            return super().submit(*arguments, **named)
        self.losses -= 1
        lost: Future[Any] = Future()
        lost.set_exception(OSError("the worker is gone"))
        return lost


def test_lost_task_is_done_again(tmp_path: Path) -> None:
    plan = plan_of("patchify:Patchify", cases=10)
    journal = started(tmp_path, plan)
    with Lossy(2) as executor:
        report = carry_out(ExecutorWorkers(journal, executor, jobs=1))
    assert told(report) == told(run(plan))


def test_task_that_is_lost_again_and_again(tmp_path: Path) -> None:
    journal = started(tmp_path, plan_of("patchify:Patchify", cases=10))
    message = r"^some tasks were not done; the rest is kept:\n  \['random0'\], 3 times: OSError: the worker is gone$"
    with Lossy(3) as executor, pytest.raises(CannotRun, match=message):
        carry_out(ExecutorWorkers(journal, executor, jobs=1))
    # The same run goes on, here or elsewhere.
    with ThreadPoolExecutor(1) as executor:
        assert carry_out(ExecutorWorkers(journal, executor, jobs=1)).cases == 10


class Broken(ThreadPoolExecutor):
    """As a pool of processes is where one of them has died."""

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        raise BrokenProcessPool("a process ended abruptly")


def test_broken_executor(tmp_path: Path) -> None:
    journal = started(tmp_path, plan_of("patchify:Patchify", cases=10))
    message = r"^the executor takes no more tasks, what is done is kept: a process ended abruptly$"
    with Broken(1) as executor, pytest.raises(CannotRun, match=message):
        carry_out(ExecutorWorkers(journal, executor, jobs=1))


def test_budget(tmp_path: Path) -> None:
    journal = started(tmp_path, plan_of("tests.helpers.crashing:Slow", cases=2000))
    with ThreadPoolExecutor(1) as executor:
        report = carry_out(ExecutorWorkers(journal, executor, jobs=1), budget=8.0)
    assert report.passed
    assert 0 < report.cases < 5000


def test_fail_fast(tmp_path: Path) -> None:
    journal = started(tmp_path, plan_of("tests.mutants.forward:BiasAddedTwice", cases=300))
    with ThreadPoolExecutor(1) as executor:
        report = carry_out(ExecutorWorkers(journal, executor, jobs=1), fail_fast=True)
    assert report.failures
    assert report.cases < 300


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers with a thread each, every one a process; the address, and the workers."""
    file = tmp_path / "scheduler.json"
    options = ["--no-dashboard", "--scheduler-file", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_TEMPORARY_DIRECTORY": str(tmp_path)}

    def start(*command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )

    scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", *options)
    workers = [start("dask_worker", "--no-nanny", "--nthreads", "1", *options) for _ in range(2)]
    try:
        yield _address(file, 2), workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def _address(file: Path, workers: int) -> str:
    from distributed import Client

    until = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < until, "the scheduler did not start"
        time.sleep(0.1)
    with Client(scheduler_file=str(file), set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=60)
        address: str = client.scheduler.address
        return address


def test_dask_worker_is_killed_in_the_middle(
    tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]], capsys: pytest.CaptureFixture[str]
) -> None:
    address, workers = cluster
    folder, records = tmp_path / "run", tmp_path / "records"
    arguments = ["--implementation", "tests.helpers.crashing:SlowAndWrong", "--cases", "200", "--seed", "7"]
    arguments += [
        "--only",
        "zero_input_gives_bias",
        "--strength",
        "0",
        "--run-dir",
        str(folder),
        "--regressions",
        str(records),
    ]

    def kill() -> None:
        until = time.monotonic() + 120
        while not any(folder.glob("random*.json")) and time.monotonic() < until:
            time.sleep(0.05)
        workers[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert main(["run", "--dask", address, *arguments]) == 1
    killer.join()
    assert workers[0].wait() == -signal.SIGKILL
    verdict = unfolded(capsys.readouterr().out)[-1]
    plan = plan_of("tests.helpers.crashing:SlowAndWrong", cases=200, only=["zero_input_gives_bias"])
    assert verdict == run(replace(plan, implementation=BiasAddedTwice)).verdict_line
    (record,) = records.iterdir()
    assert record.name.startswith("zero_input_gives_bias-")


def test_no_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--cases", "10", "--dask", "tcp://127.0.0.1:9"]) == 2
    assert capsys.readouterr().err.startswith(
        "patchify-verify: could not run: no Dask scheduler answers at tcp://127.0.0.1:9: "
    )
