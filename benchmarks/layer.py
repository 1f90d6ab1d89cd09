"""How long the layers take, and how much memory, against other patch embeddings and bare matrix products.

    python -m benchmarks.layer [--only ROWS] [--modes eager,compiled] [--dtypes float32,bfloat16] [--out FILE]

All contestants of a row have the same weights, input and cotangent, channels last, and their tokens are taken channels
last. What they compute is compared before it is timed. In every round each has its turn, in a new order.
"""

import argparse
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from math import nan, prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from patchify import LinearPatchify, Patchify
from properties.runs.cores import cores

# Rounds of a table, and what is enough where they take more than so many times the seconds asked for.
ROUNDS, FEW_ROUNDS, PATIENCE = 7, 3, 10
WARM_UP_ROUNDS = 2
# The largest error allowed, as a part of the largest value. bfloat16 itself rounds by 0.004.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
OURS, LINEAR, COPY, FLOOR = "Patchify", "Linear", "copy + conv", "floor"
OTHERS = ("nvsubquadratic", "monai", "transformers")

Step = Callable[[], list[Tensor]]


class Row(NamedTuple):
    """A layer and the batch it embeds."""

    name: str
    in_features: int
    out_features: int
    patch_size: int
    stride: int
    batch: int
    sizes: tuple[int, ...]


ROWS = (
    Row("1D P4", 64, 128, 4, 4, 8, (4096,)),
    Row("ViT P16", 3, 768, 16, 16, 8, (224, 224)),
    Row("Swin P4", 3, 96, 4, 4, 8, (224, 224)),
    Row("3D P8", 1, 256, 8, 8, 2, (64, 64, 64)),
    Row("3D P4", 1, 96, 4, 4, 2, (64, 64, 64)),
    Row("video P4", 3, 768, 4, 4, 2, (16, 112, 112)),
    Row("1D 400/160", 1, 256, 400, 160, 8, (16000,)),
    Row("AST 16/10", 1, 768, 16, 10, 8, (128, 512)),
    Row("3D 4/2", 1, 96, 4, 2, 8, (32, 32, 32)),
)


class Measured(NamedTuple):
    """What came of a row, by contestant: seconds, peaks of memory over input and output, and why there are none.

    A failure begins with the word that is shown in place of a number.
    """

    row: Row
    times: dict[str, float]
    peaks: dict[str, float]
    failures: dict[str, str]
    rounds: int

    def ratio(self, name: str, value: float | None, over: float = 1.0) -> str:
        """What a table shows of a contestant."""
        if value is None:
            return self.failures.get(name, "-").split(":")[0]
        return f"{value / over:.{2 if value < 100 * over else 0}f}"


class ChannelsFirst(nn.Module):
    """A layer that takes channels first, behind a permute; the rest are views.

    Args:
        layer: what gives tokens ``[B, C_out, *g]``, or ``[B, n, C_out]`` where ``grid`` is given.
        copy: whether its input is made contiguous.
        grid: the windows along each axis.
    """

    def __init__(self, layer: nn.Module, copy: bool = False, grid: list[int] | None = None) -> None:
        super().__init__()
        self.layer, self.copy, self.grid = layer, copy, grid

    def forward(self, x: Tensor) -> Tensor:
        """Embed ``[B, *s, C_in]`` as ``[B, *g, C_out]``."""
        x = x.movedim(-1, 1)
        tokens: Tensor = self.layer(x.contiguous() if self.copy else x)
        return tokens.movedim(1, -1) if self.grid is None else tokens.view(len(x), *self.grid, -1)


def build(name: str, row: Row) -> nn.Module | None:
    """A contestant, None where it has no such layer."""
    _, in_features, out_features, patch_size, stride, _, sizes = row
    if name in (OURS, LINEAR, "nvsubquadratic"):
        ours = {OURS: Patchify, LINEAR: LinearPatchify}
        layer: Any = ours.get(name) or import_module("nvsubquadratic.modules.patchify").Patchify
        return layer(in_features, out_features, len(sizes), patch_size, stride)  # type: ignore[no-any-return]
    if name == COPY:
        return ChannelsFirst(_convolution(row), copy=True)
    if stride != patch_size or len(sizes) not in {"monai": (2, 3), "transformers": (2,)}[name]:
        return None
    if name == "monai":
        embed = import_module("monai.networks.blocks").PatchEmbed
        return ChannelsFirst(embed(patch_size, in_features, out_features, None, len(sizes)))
    vit = import_module("transformers.models.vit.modeling_vit")
    config = vit.ViTConfig(
        image_size=sizes[0], patch_size=patch_size, num_channels=in_features, hidden_size=out_features
    )
    return ChannelsFirst(vit.ViTPatchEmbeddings(config), grid=_grid(row))


def _convolution(row: Row) -> nn.Module:
    classes: list[type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
    return classes[len(row.sizes) - 1](row.in_features, row.out_features, row.patch_size, row.stride)


def _grid(row: Row) -> list[int]:
    return [(size - row.patch_size) // row.stride + 1 for size in row.sizes]


def measure(row: Row, kind: str, mode: str, dtype: torch.dtype, device: str, seconds: float) -> Measured:
    """Compare all contestants of a row, time them and, in training, take their peaks of memory."""
    torch.manual_seed(0)
    torch.compiler.reset()
    convolution = _convolution(row).to(device, dtype)
    x = torch.randn(row.batch, *row.sizes, row.in_features).to(device, dtype).requires_grad_()
    cotangent = torch.randn(row.batch, *_grid(row), row.out_features).to(device, dtype)

    reference = ChannelsFirst(deepcopy(convolution).float(), copy=True)
    expected = _step(kind, reference, reference, x.detach().float().requires_grad_(), cotangent.float())()
    steps: dict[str, Step] = {}
    failures: dict[str, str] = {}
    for name in (OURS, LINEAR, COPY, *filter(find_spec, OTHERS)):
        try:
            module = build(name, row)
            if module is None:
                continue
            module.to(device, dtype)
            weights = zip(module.state_dict(), convolution.state_dict().values(), strict=True)
            module.load_state_dict(dict(weights))
            run = torch.compile(module, fullgraph=True, dynamic=False) if mode == "compiled" else module
            step = _step(kind, module, run, x, cotangent)
            if differences := _differences(step(), expected, TOLERANCES[dtype]):
                failures[name] = f"wrong: {differences}"
            else:
                steps[name] = step
        except Exception as error:
            failures[name] = _error(error)
    steps[FLOOR] = _floor(row, kind, _floor_dtype(dtype, device), device)
    times, rounds, failures_later = _medians(steps, seconds, device)
    weighed = [name for name in (OURS, LINEAR, COPY) if kind == "training" and name in times]
    size = x.nbytes + cotangent.nbytes
    peaks = {name: _peak_bytes(steps[name], device) / size for name in weighed}
    return Measured(row, times, peaks, failures | failures_later, rounds)


def _step(kind: str, module: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor, cotangent: Tensor) -> Step:
    parameters = list(module.parameters())

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return [run(x)]

    def training() -> list[Tensor]:
        tokens = run(x)
        return [tokens, *torch.autograd.grad(tokens, [x, *parameters], cotangent)]

    return forward if kind == "forward" else training


def _floor(row: Row, kind: str, dtype: torch.dtype, device: str) -> Step:
    number, length = row.batch * prod(_grid(row)), row.in_features * row.patch_size ** len(row.sizes)
    shapes = ((number, length), (row.out_features, length), (number, row.out_features))
    windows, weight, cotangent = (torch.randn(shape).to(device, dtype) for shape in shapes)
    if kind == "forward":
        return lambda: [windows @ weight.T]
    return lambda: [windows @ weight.T, cotangent @ weight, cotangent.T @ windows]


def _floor_dtype(dtype: torch.dtype, device: str) -> torch.dtype:
    """float32 on a CPU without instructions for bfloat16, where products of it are far slower."""
    has = device != "cpu" or any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
    return dtype if has else torch.float32


def _differences(results: list[Tensor], expected: list[Tensor], tolerance: float) -> str:
    """What is further from the expected than the tolerance; empty where nothing is."""
    names = ("tokens", "gradient of the input", "gradient of the weight", "gradient of the bias")
    wrong = []
    for name, result, wanted in zip(names, results, expected, strict=False):
        if result.shape != wanted.shape:
            wrong.append(f"{name} {list(result.shape)}, not {list(wanted.shape)}")
            continue
        error = (result.detach().float() - wanted.detach()).abs().max() / wanted.detach().abs().max()
        if not error <= tolerance:
            wrong.append(f"{name} off by {error:.1e} of the largest value")
    return ", ".join(wrong)


def _medians(steps: dict[str, Step], seconds: float, device: str) -> tuple[dict[str, float], int, dict[str, str]]:
    """Seconds of each step that never raised, rounds, and failures."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    failures: dict[str, str] = {}
    shuffle = random.Random(0).shuffle
    begin, turn = time.perf_counter(), -WARM_UP_ROUNDS
    while not _enough(turn, time.perf_counter() - begin, seconds):
        if turn == 0:
            begin = time.perf_counter()
        order = list(times)
        shuffle(order)
        for name in order:
            try:
                spent = _seconds_of(steps[name], device)
            except Exception as error:
                failures[name] = _error(error)
                del times[name]
            else:
                times[name] += [spent] if turn >= 0 else []
        turn += 1
    return {name: statistics.median(spent) for name, spent in times.items()}, turn, failures


def _enough(rounds: int, spent: float, seconds: float) -> bool:
    return (rounds >= ROUNDS and spent >= seconds) or (rounds >= FEW_ROUNDS and spent >= PATIENCE * seconds)


def _seconds_of(step: Step, device: str) -> float:
    _synchronise(device)
    start = time.perf_counter()
    step()
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _peak_bytes(step: Step, device: str) -> int:
    """The most that one step holds at a time of what torch allocates: its results too, not what was there before."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    recorded: Any = profiler.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def header(devices: list[str], dtypes: list[str]) -> str:
    """What the numbers below it are, and of what machine."""
    cards = [torch.cuda.get_device_name()] if "cuda" in devices else []
    capability = f"CPU capability {torch.backends.cpu.get_cpu_capability()}"
    narrow = ""
    if "cpu" in devices and "bfloat16" in dtypes and _floor_dtype(torch.bfloat16, "cpu") == torch.float32:
        narrow = "\nThis CPU has no instructions for bfloat16: there the floor of bfloat16 is that of float32."
    return f"""python -m benchmarks.layer {shlex.join(sys.argv[1:])}
{", ".join([f"torch {torch.__version__}", capability, f"{torch.get_num_threads()} threads", *cards])}
not installed: {", ".join(name for name in OTHERS if find_spec(name) is None) or "none"}

Times are medians, over that of the floor: bare matrix products, not compiled, of windows made
before; one product forward, three in training. Linear is LinearPatchify, nvsubquadratic its
Patchify, monai its PatchEmbed and transformers its ViTPatchEmbeddings, the latter two behind a
permute. '-': not installed, or has no such layer. TF32 is off.
Memory is the most that torch allocates at a time in a training step, over the bytes of input and
output. Parameters, input and cotangent are not counted; scratch that oneDNN reserves is, though it
writes only some of it.{narrow}

{_table([[row.name, f"{row.in_features} -> {row.out_features}, patch size {row.patch_size}, stride {row.stride}",
          f"{row.batch} x {'x'.join(map(str, row.sizes))}"] for row in ROWS])}
"""  # fmt: skip


def time_table(rows: list[Measured]) -> str:
    """The times over those of the floor; below it ours over the copy and convolution, and what failed."""
    contestants = (OURS, LINEAR, COPY, *OTHERS)
    cells = [["", "floor ms", *contestants, "rounds"]]
    for measured in rows:
        times, floor = measured.times, measured.times.get(FLOOR, nan)
        ratios = [measured.ratio(name, times.get(name), floor) for name in contestants]
        cells.append([measured.row.name, f"{1000 * floor:.2f}", *ratios, str(measured.rounds)])
    ours = [f"{m.row.name} {m.ratio(OURS, m.times.get(OURS), m.times.get(COPY, nan))}" for m in rows]
    lines = [_table(cells), f"Patchify over copy + convolution: {', '.join(ours)}"]
    for measured in rows:
        lines += [f"{measured.row.name}, {name}: {failure}" for name, failure in measured.failures.items()]
    return "\n".join(lines)


def memory_table(rows: list[Measured]) -> str:
    """The peaks of a training step."""
    weighed = (OURS, LINEAR, COPY)
    return _table(
        [["", *weighed], *([m.row.name, *(m.ratio(name, m.peaks.get(name)) for name in weighed)] for m in rows)]
    )


def _table(cells: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *rest in cells:
        right = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *right]))
    return "\n".join(lines)


def _error(error: Exception) -> str:
    return " ".join(f"error: {type(error).__name__}: {error}".split())[:300]


def main() -> int:
    """Print a table of forward and one of training, and one of memory, for every device, mode and dtype."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # as it is for products
    if options.out:
        options.out.write_text("")

    def say(text: str) -> None:
        print(text, flush=True)
        if options.out:
            with options.out.open("a") as file:
                print(text, file=file)

    say(header(options.devices, options.dtypes))
    for device, mode, dtype, kind in product(options.devices, options.modes, options.dtypes, ("forward", "training")):
        rows = []
        for row in ROWS:
            if row.name in options.only:
                print(f"{device}, {mode}, {dtype}, {kind}: {row.name}", file=sys.stderr, flush=True)
                rows.append(measure(row, kind, mode, getattr(torch, dtype), device, options.seconds))
        say(f"{device}, {mode}, {dtype}, {kind}: time over the floor\n{time_table(rows)}\n")
        if kind == "training":
            say(f"{device}, {mode}, {dtype}, {kind}: peak of memory over input and output\n{memory_table(rows)}\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layer")
    choices = {
        "only": [row.name for row in ROWS],
        "modes": ["eager", "compiled"],
        "dtypes": ["float32", "bfloat16"],
        "devices": ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"],
    }
    for name, known in choices.items():
        help_ = f"some of {','.join(known)}"
        parser.add_argument(f"--{name}", type=partial(_some, known), default=known, metavar="NAMES", help=help_)
    parser.add_argument("--seconds", type=float, default=3.0, help="for the rounds of one row of a table")
    parser.add_argument("--threads", type=int, default=min(2, cores()))
    parser.add_argument("--out", type=Path, help="a file that gets what is printed, too")
    return parser.parse_args()


def _some(known: list[str], text: str) -> list[str]:
    if unknown := set(text.split(",")) - set(known):
        raise argparse.ArgumentTypeError(f"no {', '.join(sorted(unknown))} among {', '.join(known)}")
    return text.split(",")


if __name__ == "__main__":
    sys.exit(main())
