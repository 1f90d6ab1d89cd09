"""All evidence for CUDA in one sitting of at most twenty minutes.

    python3 -m benchmarks.cuda --out DIR [--device cuda] [--seconds 420] [--cases 300] [--only PARTS]

It runs from the source tree, uninstalled, without network and without jsonschema. Each part runs in a process of its
own, since what is wrong may end it, and writes DIR/<part>.json after every step. The same command again goes on where
it was cut short: what is done stays. ``python -m benchmarks.cuda_page DIR`` makes docs/cuda.md of it.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oracles.agreement import check_oracles
from patchify import LinearPatchify, Patchify
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.laws import LAWS
from properties.reports.json import report_json
from properties.runs.cores import cores
from properties.runs.journal import Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.parsing import duration, names
from properties.runs.plan import make_plan
from properties.runs.report import Report
from properties.runs.result import Found
from properties.runs.shard import run_cases
from properties.runs.shard_names import COMPILED, HUGE, LANDMARKS
from properties.trials.faults import available
from properties.trials.implementation import CannotRun
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from tests.correct import CORRECT
from tests.helpers import model_sizes
from tests.mutants import CUDA_MUTANTS, MUTANTS, Mutant
from tests.mutants.cuda import AtomicSums, SequencesByTriton, TritonProduct

Data = dict[str, Any]
LEVELS = ("contract", "robust")
PATCHIFY = "patchify:Patchify"
SEED = 7
# Seconds that a part may take beyond its budget, to start, to end the step it is at, and to examine failures.
GRACE = 60.0
# One mutant in so many, besides those that only CUDA shows.
MUTANTS_APART = 8


class Part:
    """What a part has found so far: plain data, on disk after every step."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.path = options.out / f"{name}.json"
        self.device: str = options.device
        self.cases: int = options.cases
        self.until = time.monotonic() + options.seconds
        self.folder: Path = options.out
        self.finished = True
        self.data: Data = read(self.path)
        self.data.setdefault("steps", {})

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        left: float = max(1.0, self.until - time.monotonic())
        return left

    def write(self, **members: Any) -> None:
        """Note something, and write everything."""
        self.data.update(members)
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.data, indent=1) + "\n")
        temporary.replace(self.path)

    def step(self, name: str, found: Any) -> None:
        """Note what came of a step."""
        self.data["steps"][name] = found
        print(f"  {name}: {found}", flush=True)
        self.write()

    def todo(self, steps: Iterator[str] | list[str]) -> Iterator[str]:
        """The steps that are not done, as long as there is time."""
        for name in steps:
            if name in self.data["steps"]:
                continue
            if time.monotonic() >= self.until:
                self.finished = False
                return
            yield name


def read(path: Path) -> Data:
    """What a part has written; nothing where there is no such file."""
    found: Data = json.loads(path.read_text()) if path.exists() else {}
    return found


# The parts.


def machine(part: Part) -> None:
    """Versions, and the device."""
    found: Data = {"python": platform.python_version(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    found |= {"cores": cores(), "device": part.device, "triton": _version("triton")}
    if part.device.startswith("cuda"):
        card = torch.cuda.get_device_properties(part.device)
        found |= {
            "card": card.name,
            "memory": f"{card.total_memory / 2**30:.0f} GiB",
            "capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        }
    for name, value in found.items():
        part.step(name, value)


def oracles(part: Part) -> None:
    """Both oracles agree on their hand-worked cases, on the device and off it."""
    for device in part.todo(["cpu", part.device]):
        check_oracles(torch.device(device))
        part.step(device, "agree")


def eager(part: Part) -> None:
    """The default run on Patchify in eager mode, both levels, TF32 off and on."""
    laws = [law.name for law in LAWS if law.on != "compiled" and law.level in LEVELS and law.runs_on(part.device)]
    _run(part, laws)


def compiled(part: Part) -> None:
    """The cases of the default run that are compiled: Inductor, forward and backward, later sizes."""
    laws = [law.name for law in LAWS if law.on == "compiled" and law.level in LEVELS and law.runs_on(part.device)]
    # Each worker has its own compiler.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    _run(part, laws)


def _run(part: Part, laws: list[str]) -> None:
    """A run in a journal that stays, counted as it is; then a failing case of each law once more, for what it shows."""
    journal = _journal(part)
    if not (journal.folder / "plan.json").exists():
        journal.start(make_plan(PATCHIFY, cases=part.cases, seed=SEED, device=part.device, only=laws))
    plan = journal.plan()
    workers = LocalWorkers(journal, cores(), 60.0)
    workers.run_shards(journal.left(plan), until=part.until)
    part.finished = not journal.left(plan)
    found = count_run(part)
    for law in part.todo(list(found)):
        verdict = workers.examine({law: found[law]}, shrink=False)[law].verdict
        part.step(law, f"{verdict} on {found[law].case}")


def _journal(part: Part) -> Journal:
    return Journal(part.path.with_suffix(".run"))


def count_run(part: Part) -> dict[str, Found]:
    """Note what the journal of a part's run holds; the smallest failing case of each law."""
    journal = _journal(part)
    plan = journal.plan()
    report = Report(plan, tuple(journal.results(plan)), stopped="budget" if journal.left(plan) else None)
    found = {law: tally.smallest_failure for law, tally in report.tallies.items() if tally.smallest_failure}
    cases = [case for one in report.results for case in list(plan.cases_of(one.shard).values())[: one.cases]]
    members = ("stopped", "cases", "checks", "properties")
    part.write(
        **{member: value for member, value in report_json(report).items() if member in members},
        tf32_cases=sum(case.tf32 for case in cases),
        shards=[len(plan.shards) - len(journal.left(plan)), len(plan.shards)],
        failing={law: f"{one.died or ''} {Case.from_json(one.case).describe()}" for law, one in found.items()},
    )
    print(
        f"  {report.cases} cases, {sum(report.checks.values())} checks; failing: {', '.join(found) or 'none'}",
        flush=True,
    )
    return found


def models(part: Part) -> None:
    """Layers at the sizes of real models, eager and compiled, in every dtype, on integers: bit for bit."""
    planned = [f"{model}, {mode}" for mode in ("eager", "compiled") for model in model_sizes.MODELS]
    part.write(planned=planned)
    for model in part.todo(planned):
        name, _, mode = model.rpartition(", ")
        dtypes = model_sizes.DTYPES if mode == "eager" else ("float32", "bfloat16")
        found = "right"
        for dtype in dtypes:
            try:
                with undisturbed(part.device):
                    wrong = model_sizes.wrong(
                        model_sizes.PATCHIFY, name, dtype, "all gradients",
                        compiled=mode == "compiled", device=part.device,
                    )  # fmt: skip
            except Exception as error:
                wrong = _error(error)
            if wrong:
                found = f"{dtype}: {wrong}"
                break
        part.step(model, found)


class Original(nn.Module):
    """The documented layer: a convolution between two changes of axes, with and without the copy that it makes."""

    def __init__(self, copy: bool, data_dim: int) -> None:
        super().__init__()
        self.layer, self.copy = Patchify(3, 8, data_dim, 4), copy

    def forward(self, x: Tensor) -> Tensor:
        """Embed a batch."""
        x = x.movedim(-1, 1)
        tokens: Tensor = self.layer.conv(x.contiguous() if self.copy else x)
        return tokens.movedim(1, -1)


def strides(part: Part) -> None:
    """The stride mismatch that the documentation warns of: compiled backward passes with and without the copy."""
    steps = [f"{data_dim}D, {how}" for data_dim in (1, 2, 3) for how in ("with the copy", "without")]
    for step in part.todo(steps):
        torch._dynamo.reset()
        data_dim = int(step[0])
        layer = Original(step.endswith("with the copy"), data_dim).to(part.device)
        call = torch.compile(layer, fullgraph=True)
        try:
            for extent in (16, 22, 30):
                x = torch.randn(2, *[extent] * data_dim, 3, device=part.device, requires_grad=True)
                tokens = call(x)
                # What comes after the layer hands back a gradient that is laid out as tokens are, channels last.
                tokens.square().sum().backward()
            found = "runs"
        except Exception as error:
            found = _error(error)
        part.step(step, found)


def algorithms(part: Part) -> None:
    """Which kernels convolve small windows with stride 1, searched for and not, and how far their sums are off."""
    on_device = part.device.startswith("cuda")
    steps = [
        f"patch {patch_size}, {dtype}, {search}"
        for patch_size in (3, 5, 7, 11)
        for dtype in ("float32", "float16", "bfloat16")
        for search in ("as it is", "cudnn.benchmark")
    ]
    for step in part.todo(steps):
        size, dtype, search = step.split(", ")
        spec = Spec(32, 48, 2, int(size.split()[1]), stride=1, bias=True)
        found: Data = {}
        with undisturbed(part.device):
            torch.backends.cudnn.benchmark = search == "cudnn.benchmark"
            for fill in ("exact", "real"):
                given = Input(2, (56, 56), dtype)
                trial = Trial(
                    Case(spec, given, Fill(fill, 1000), backward=Backward(PARAMETERS_AND_INPUT)), Patchify, part.device
                )
                for name in ("output", *PARAMETERS_AND_INPUT):
                    tensor = trial.tokens if name == "output" else trial.gradient(name)
                    expected = trial.expected_tokens if name == "output" else trial.expected_gradient(name)
                    errors = (tensor.detach().double() - expected.values).abs()
                    where = (expected.bound == 0) if fill == "exact" else (expected.bound > 0)
                    if fill == "exact":
                        found[f"{name} exact"] = bool((errors[where] == 0).all()) if bool(where.any()) else None
                    elif bool(where.any()):
                        found[f"{name} error/bound"] = round(float((errors / expected.bound)[where].max()), 5)
            found["infinity reaches its token"] = _infinity_reaches(trial)
            if on_device:
                found["kernels"] = _kernels(trial)
        part.step(step, found)


def _infinity_reaches(trial: Trial) -> bool:
    """Whether a pixel that is infinite makes the token infinite, or no number, whose window covers it."""
    x = trial.make_input().detach()
    x[0, 0, 0, 0] = torch.inf
    tokens = trial.embed(trial.make_layer(), x, "forward with infinity")
    return not bool(tokens[0, 0, 0].isfinite().any())


def _kernels(trial: Trial) -> list[str]:
    """The names of the kernels of one forward and backward pass."""
    layer, x, cotangent = trial.make_layer(), trial.make_input(), trial.make_cotangent()
    trial.differentiate(layer, x, trial.embed(layer, x, "forward"), cotangent)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        trial.differentiate(layer, x, trial.embed(layer, x, "forward"), cotangent)
        torch.cuda.synchronize()
    kernels = {event.key for event in profiler.key_averages()}
    return sorted({" ".join(kernel.split("(")[0].split())[:80] for kernel in kernels if "elementwise" not in kernel})


def indices(part: Part) -> None:
    """Torch's own convolution of more than 2**31 elements, as views and as copies, each in a process of its own."""
    steps = [f"{data_dim}D, {layout}" for data_dim in (1, 2, 3) for layout in ("view", "copy")]
    for step in part.todo(steps if part.device.startswith("cuda") else []):
        command = [sys.executable, "-c", _INDICES, step[0], step[4:]]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=part.left + GRACE / 2)
        error = [line for line in run.stderr.splitlines() if "Error" in line][-1:]
        part.step(step, "; ".join([*run.stdout.splitlines(), *(error if run.returncode else [])]))


# The samples of a batch over and over again: each must give what the first gives.
_INDICES = """
import sys, torch
from torch.nn import functional as f
dims, layout = int(sys.argv[1]), sys.argv[2]
channels, sizes, patch, out = {1: (64, (256,), 4, 8), 2: (3, (224, 224), 16, 24), 3: (1, (16,) * 3, 4, 8)}[dims]
one = torch.randint(-2, 3, (1, *sizes, channels), device="cuda", dtype=torch.bfloat16)
copies = 2**31 // one.numel() + 1
x = one.repeat(copies, *[1] * (dims + 1))
x = x.movedim(-1, 1) if layout == "view" else x.movedim(-1, 1).contiguous()
weight = torch.randint(-2, 3, (out, channels, *[patch] * dims), device="cuda", dtype=torch.bfloat16)
convolve = (f.conv1d, f.conv2d, f.conv3d)[dims - 1]
def same(name, whole, first):
    torch.cuda.synchronize()
    wrong = sum(int((part != first).sum()) for part in whole.split(2**14))
    print(f"{name} {'right' if wrong == 0 else f'{wrong} of {whole.numel()} wrong'}", flush=True)
x.requires_grad_()
tokens = convolve(x, weight, stride=patch)
same("output", tokens.detach(), convolve(x[:1].detach(), weight, stride=patch))
cotangent = torch.ones_like(tokens)
gradient, = torch.autograd.grad(tokens, x, cotangent)
small = x[:1].detach().requires_grad_()
tokens = convolve(small, weight, stride=patch)
same("input gradient", gradient, torch.autograd.grad(tokens, small, torch.ones_like(tokens))[0])
x = x.detach()
gradient, = torch.autograd.grad(convolve(x, weight.requires_grad_(), stride=patch), weight, cotangent)
torch.cuda.synchronize()
print("weight gradient runs", flush=True)
"""


def layers(part: Part) -> None:
    """Right layers, which must pass, and mutants, which must not; each by a few cases of the run, eager."""
    chosen = contestants()
    part.write(planned=list(chosen))
    todo = list(part.todo(list(chosen)))
    # What takes most of the device's memory, or may leave the device unusable, has it for itself.
    alone = [name for name in todo if any(shard == HUGE for shard in _shards(chosen[name])) or "Killed" in name]
    # Each layer has a process of its own.
    context, workers = get_context("spawn"), max(1, min(8, cores()))
    for some, number in (([name for name in todo if name not in alone], workers), *(([name], 1) for name in alone)):
        if some and time.monotonic() >= part.until:
            part.finished = False
            break
        with ProcessPoolExecutor(number, context, max_tasks_per_child=1) as pool:
            running = {pool.submit(judge, chosen[name], part.device, part.until, part.cases): name for name in some}
            for done in as_completed(running):
                if time.monotonic() >= part.until:
                    for other in running:
                        other.cancel()
                if not done.cancelled() and (found := _result(done)):
                    part.step(running[done], found)
                else:
                    part.finished = False


def contestants() -> dict[str, type[nn.Module] | Mutant]:
    """Who is judged, by name; what only a device can show comes first."""
    found: dict[str, type[nn.Module] | Mutant] = {f"mutant: {one.name}": one for one in CUDA_MUTANTS}
    right: tuple[type[nn.Module], ...] = (TritonProduct, SequencesByTriton, AtomicSums, LinearPatchify, *CORRECT)
    found |= {f"right: {layer.__name__}": layer for layer in right}
    return found | {f"mutant: {one.name}": one for one in MUTANTS[::MUTANTS_APART]}


def _shards(layer: type[nn.Module] | Mutant) -> list[str]:
    """By which shards of a run a layer is judged."""
    if not isinstance(layer, Mutant):
        large = [HUGE] if layer in (Patchify, LinearPatchify, TritonProduct, SequencesByTriton) else []
        return ["random0", "random1", "histories0", "copies0", LANDMARKS, *large]
    (kind,) = (law.on for law in LAWS if law.name == layer.detected_by)
    found = {"compiled": [f"{COMPILED[2]}0", f"{COMPILED[1]}0"], "huge": [HUGE]}
    return found.get(kind, ["random0", "histories0", "copies0", LANDMARKS])


def _result(done: Any) -> str:
    try:
        found: str = done.result()
    except Exception as error:
        return f"its process died ({_error(error)})"
    return found


def judge(layer: type[nn.Module] | Mutant, device: str, until: float, cases: int) -> str:
    """Judge a right layer or a mutant by some of a run's cases: what came of it in a line, empty where time was up."""
    torch.set_num_threads(1)
    mutant = isinstance(layer, Mutant)
    implementation = layer.layer if isinstance(layer, Mutant) else layer
    # Many a mutant refuses what a robust layer does, for instance jvp, which is not what it is made for.
    levels = {law.level for law in LAWS if isinstance(layer, Mutant) and law.name == layer.detected_by} | {LEVELS[0]}
    plan = make_plan(implementation, cases=min(cases, 100), seed=SEED, device=device, levels=sorted(levels))
    count, failed = 0, set[str]()
    for shard in [shard for shard in _shards(layer) if shard in plan.all_shards]:
        some = list(plan.cases_of(shard).items())
        chosen = dict(some[::4] if shard == LANDMARKS and not mutant else some)
        for result in run_cases(plan, shard, chosen, until=until, stop_at=lambda name: mutant):
            count += 1
            failed |= set(result.failed)
        if mutant and failed:
            break
    if time.monotonic() >= until and not failed:
        return ""
    return f"{count} cases: {', '.join(sorted(failed)) or 'nothing failed'}"


def layer(part: Part) -> None:
    """The layer's benchmark tables: forward and training, eager and compiled, float32 and bfloat16."""
    out = part.folder / "layer.txt"
    seconds = "0.3" if part.device.startswith("cuda") else "0.01"
    command = [
        sys.executable,
        "-m",
        "benchmarks.layer",
        "--devices",
        part.device.partition(":")[0],
        "--seconds",
        seconds,
    ]
    if not part.device.startswith("cuda"):
        command += ["--only", "Swin P4", "--modes", "eager", "--dtypes", "float32"]
    code = subprocess.run([*command, "--out", str(out)], check=False, timeout=part.left + GRACE / 2).returncode
    part.step("benchmarks.layer", "done" if code == 0 else f"exit code {code}")


def sanitizer(part: Part) -> None:
    """compute-sanitizer on one forward and backward pass, where it is there."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not part.device.startswith("cuda") or not Path(tool).exists():
        part.step("memcheck", "not there")
        return
    code = (
        "import torch; from patchify import Patchify\n"
        "for spec, sizes in (((3, 8, 2, 4), (2, 17, 22)), ((2, 5, 1, 7, 3), (3, 41)), ((1, 4, 3, 2), (2, 5, 6, 7))):\n"
        "    x = torch.randn(*sizes, spec[0], device='cuda', requires_grad=True)\n"
        "    Patchify(*spec).cuda()(x).sum().backward()\n"
        "torch.cuda.synchronize(); print('ran')"
    )
    for step in part.todo(["memcheck", "racecheck", "initcheck"]):
        run = subprocess.run(
            [tool, "--tool", step, "--error-exitcode", "9", sys.executable, "-c", code],
            capture_output=True, text=True, check=False, timeout=part.left + GRACE / 2,
        )  # fmt: skip
        lines = [line.strip() for line in (run.stdout + run.stderr).splitlines() if line.strip()]
        summary = [line for line in lines if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line or line == "ran"]
        # Whose they are: the tool names the kernel before the offset in it.
        kernels = {line.split(" at ")[1].split("+0x")[0][:80] for line in lines if " at " in line and "+0x" in line}
        found = "; ".join([*(summary or lines[-3:]), *sorted(kernels)])
        part.step(step, f"exit code {run.returncode}: {found}")


PARTS: dict[str, Callable[[Part], None]] = {
    part.__name__: part
    for part in (machine, oracles, eager, compiled, models, strides, algorithms, indices, layers, layer, sanitizer)
}


def _error(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _version(module: str) -> str:
    try:
        return version(module)
    except PackageNotFoundError:
        return "not installed"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError as error:
        return _error(error)


def main() -> int:
    """Run the parts that are not done, one after the other; 1 where one of them did not end well."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part:
        part = Part(options.part, options)
        PARTS[options.part](part)
        part.write(done=part.finished)
        return 0
    try:
        available(options.device)
    except CannotRun as error:
        print(f"benchmarks.cuda: could not run: {error}", file=sys.stderr)
        return 2
    # Whoever ends this ends the part that runs, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    problems = 0
    for name in options.only or PARTS:
        path = options.out / f"{name}.json"
        if read(path).get("done"):
            print(f"{name}: done before", flush=True)
            continue
        print(f"{name}: {(PARTS[name].__doc__ or '').strip()}", flush=True)
        begin = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.cuda", *sys.argv[1:], "--part", name]
        process = subprocess.Popen(command, start_new_session=True)
        try:
            code = process.wait(options.seconds + GRACE)
            ended = "" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            ended = f"cut short after {options.seconds + GRACE:g} seconds"
        finally:
            # Whatever the part has started ends with it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if path.with_suffix(".run").exists() and not read(path).get("done"):
                count_run(Part(name, options))
        found = read(path)
        found["seconds"] = round(found.get("seconds", 0) + time.monotonic() - begin)
        found["ended"] = ended
        path.write_text(json.dumps(found, indent=1) + "\n")
        problems += bool(ended)
        told = ended or ("done" if found.get("done") else "out of time: the same command goes on")
        print(f"{name}: {told}, {found['seconds']} s", flush=True)
    return 1 if problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.cuda")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where every part writes what it found")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=duration, default=420.0, help="of each part, at most (default: 420)")
    parser.add_argument("--cases", type=int, default=300, help="random cases of the runs (default: 300)")
    parser.add_argument("--only", type=names, metavar="PARTS", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
