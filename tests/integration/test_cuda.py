"""The evidence for CUDA: every part that needs no GPU runs on the CPU; what only a device shows says nothing here."""

import json
import signal
import subprocess
import sys
import time
from argparse import Namespace
from itertools import islice
from pathlib import Path

import pytest
import torch

from benchmarks import cuda, layer
from benchmarks.cuda_page import page
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.laws import LAWS
from properties.laws import cuda as laws_on_cuda
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Passed
from tests.mutants import CUDA_MUTANTS, MUTANTS, Mutant
from tests.mutants.cuda import IndicesIn32Bits
from tests.mutants.stages import Staged

KEPT = Path(cuda.__file__).parent / "cuda_h200"
COMMAND = [sys.executable, "-m", "benchmarks.cuda", "--device", "cpu", "--cases", "1"]


def command(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "--out", str(out), *arguments], capture_output=True, text=True, check=False)


def options(out: Path, seconds: float) -> Namespace:
    return Namespace(out=out, device="cpu", cases=1, seconds=seconds)


def test_command_goes_on_where_it_was_cut_short(tmp_path: Path) -> None:
    before = {"patch 3, float32, as it is": "found before"}
    (tmp_path / "algorithms.json").write_text(json.dumps({"steps": before}))
    (tmp_path / "oracles.json").write_text(json.dumps({"steps": {}, "done": True}))
    found = command(tmp_path, "--only", "oracles,algorithms", "--seconds", "0.01")
    assert (found.returncode, found.stderr.count("Traceback")) == (0, 0), found.stderr
    assert "oracles: done before" in found.stdout
    assert "algorithms: out of time: the same command goes on, " in found.stdout
    after = cuda.read(tmp_path / "algorithms.json")["steps"]
    assert list(after.items())[:1] == list(before.items())


def test_command_ends_with_what_it_has(tmp_path: Path) -> None:
    process = subprocess.Popen([*COMMAND, "--out", str(tmp_path), "--only", "algorithms", "--seconds", "300"])
    steps = tmp_path / "algorithms.json"
    while not cuda.read(steps).get("steps"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    before = cuda.read(steps)
    time.sleep(1)
    # The part that ran has ended, too.
    assert cuda.read(steps) == before


def test_device_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.cuda", "--out", str(tmp_path), "--device", "cuda:99"])
    assert cuda.main() == 2
    told = capsys.readouterr().err
    assert told.startswith("benchmarks.cuda: could not run: ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", [name for name in cuda.PARTS if name not in ("layers", "layer")])
def test_part_runs_on_a_cpu(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A run stops when its time is up, wherever it is; other parts are cut short after their first step.
    part = cuda.Part(name, options(tmp_path, 0.05 if name in ("eager", "compiled") else 300))
    monkeypatch.setattr(cuda.Part, "todo", lambda part, steps: islice(steps, 1))
    cuda.PARTS[name](part)
    part.write(done=part.finished)
    found = cuda.read(tmp_path / f"{name}.json")
    assert found["done"] == part.finished
    if name in ("eager", "compiled"):
        # Whether a shard ends in so short a time is the machine's business.
        assert found["shards"][1] > found["shards"][0] >= 0
    else:
        assert found["steps"] or name == "indices"


def test_run_that_was_cut_short_is_counted_by_its_journal(tmp_path: Path) -> None:
    cuda.eager(cuda.Part("eager", options(tmp_path, 0.05)))
    (tmp_path / "eager.json").unlink()
    cuda.count_run(cuda.Part("eager", options(tmp_path, 0.05)))
    found = cuda.read(tmp_path / "eager.json")
    assert found["stopped"] == "budget"
    assert found["shards"][1] > found["shards"][0]


def test_layers_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is right passes, a mutant is killed, and time that is up is no verdict."""
    mutant = next(one for one in MUTANTS if one.layer.__name__ == "BiasAddedTwice")
    found = cuda.judge(mutant, "cpu", time.monotonic() + 300, 1)
    assert found.partition(": ")[2] not in ("", "nothing failed")
    assert cuda.judge(Staged, "cpu", time.monotonic() - 1, 1) == ""

    monkeypatch.setattr(cuda, "contestants", lambda: {"right: Staged": Staged})
    part = cuda.Part("layers", options(tmp_path, 0.01))
    cuda.layers(part)
    assert not part.finished


def test_mutants_of_cuda_come_first_and_are_all_there() -> None:
    names = list(cuda.contestants())
    assert names[: len(CUDA_MUTANTS)] == [f"mutant: {one.name}" for one in CUDA_MUTANTS]


def test_benchmark_is_asked_for_what_a_cpu_can_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark itself takes a minute: its own command shows it."""
    asked: list[list[str]] = []

    def run(arguments: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(arguments)
        return subprocess.CompletedProcess(arguments, 3)

    monkeypatch.setattr(subprocess, "run", run)
    part = cuda.Part("layer", options(tmp_path, 1))
    cuda.layer(part)
    assert cuda.read(tmp_path / "layer.json")["steps"] == {"benchmarks.layer": "exit code 3"}
    monkeypatch.undo()
    (arguments,) = asked
    monkeypatch.setattr(sys, "argv", arguments[2:])
    chosen = layer._options()
    assert (list(chosen.devices), list(chosen.modes)) == (["cpu"], ["eager"])


def test_page_is_what_was_found() -> None:
    assert page(KEPT.relative_to(Path.cwd())) == Path("docs/cuda.md").read_text()


def test_page_says_what_has_not_run(tmp_path: Path) -> None:
    assert "**It has not met a device.**" in page(tmp_path)
    (tmp_path / "strides.json").write_text(json.dumps({"steps": {"1D, without": "runs | or not"}, "done": True}))
    told = page(tmp_path)
    assert "| 1D, without | runs / or not |" in told
    missing = told.partition("## What has not run")[2]
    assert "- compiled: " in missing
    assert "- strides: " not in missing


CASE = Case(
    Spec(3, 5, 2, 2, bias=True), Input(2, (4, 6), "float32"), Fill("exact"), backward=Backward(PARAMETERS_AND_INPUT)
)


class WrongPast(Staged):
    """Past the first samples of a batch, the tokens are those of the sample before."""

    def finished(self, tokens: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([tokens[:5], tokens[4:-1]]) if len(tokens) > 5 else tokens


def test_huge_inputs_are_compared_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit that is small enough for a CPU, and parts that do not divide the batch."""
    monkeypatch.setattr(laws_on_cuda, "MANY", 2000)
    monkeypatch.setattr(laws_on_cuda, "_AT_A_TIME", 500)
    law = laws_on_cuda.more_elements_than_32_bits_count
    with undisturbed("cpu"):
        assert isinstance(law(Trial(CASE, Staged)), Passed)
        assert isinstance(law(Trial(CASE, IndicesIn32Bits)), Passed)
        found = law(Trial(CASE, WrongPast))
    assert isinstance(found, Failed)
    assert "past the first 0 of 28 samples" in found.what


@pytest.mark.parametrize("mutant", CUDA_MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_of_cuda_are_right_on_a_cpu(mutant: Mutant) -> None:
    """Nothing but the device shows them, so each law that can be judged here says that they are right."""
    with undisturbed("cpu"):
        trial = Trial(CASE, mutant.layer)
        failed = [law.name for law in LAWS if law.on == "cases" and isinstance(law(trial), Failed)]
    assert failed == []
    assert mutant.detected_by in {law.name for law in LAWS}
