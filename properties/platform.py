"""What torch itself gets wrong on this machine, measured, so that no layer is blamed for it."""

import subprocess
import sys
from functools import cache, lru_cache
from importlib.resources import files
from math import prod

import torch
from torch.nn import functional

from oracles.agreement import check_oracles
from properties.case import Case
from properties.compilation import best_backend, later_cases, operators
from properties.implementation import CannotRun
from properties.layout import CHANNELS_LAST
from properties.tensors import TORCH_DTYPES
from properties.trial import Trial

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
UNFOLD_BACKWARD = "torch's fault: Inductor's backward pass of unfold writes past its memory"
# How scripts of properties/torch_faults end: torch is right, torch is wrong. By a signal where memory was destroyed.
_RIGHT, _WRONG = 0, 3
# Elements after the input that are made NaN: more than any register holds.
_MARGIN = 256


def available(device: str) -> str:
    """The name of a device, where it is there.

    Raises:
        CannotRun: where it is not.
    """
    try:
        torch.empty(0, device=device)
    # torch raises RuntimeError, AssertionError or others, by device and build.
    except Exception as error:
        raise CannotRun(f"device {device!r} is not available: {str(error).splitlines()[0]}") from error
    return device


def check_machine(device: str) -> None:
    """Stop before anything is judged where that would be worth nothing.

    Raises:
        CannotRun: where the device is absent.
        OracleError: where the oracles are wrong on it.
    """
    check_oracles(torch.device(available(device)))


@cache
def leaks_nan(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether torch's own convolution lets NaN into windows that do not cover it.

    Some bfloat16 kernels for CPUs take products in pairs and fill an odd one up with a zero weight and whatever pixel
    comes next: zero times a number is nothing, zero times NaN is NaN. Every layer that is built on such a kernel
    inherits that, so where it happens no layer is judged by NaN or infinity.
    """
    for data_dim, convolution in _CONVOLUTIONS.items():
        for patch_size, stride, size in ((1, 2, 3), (1, 3, 5), (2, 2, 3), (3, 3, 4), (3, 4, 8)):
            for channels in (1, 3):
                x = torch.ones(1, channels, *[size] * data_dim, dtype=dtype, device=device)
                x[..., patch_size] = torch.nan  # not covered along the last axis: a gap, or the remainder
                weight = torch.ones(2, channels, *[patch_size] * data_dim, dtype=dtype, device=device)
                tokens = convolution(x, weight.requires_grad_(), stride=stride)
                (gradient,) = torch.autograd.grad(tokens.sum(), weight)
                if bool(tokens.isnan().any()) or bool(gradient.isnan().any()):
                    return True
    return False


def nan_advice(dtype: torch.dtype, device: torch.device) -> str:
    """Why NaN is not judged."""
    return f"{_convolution(dtype, device)} lets NaN into windows that do not cover it"


@cache
def missums(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether torch's own convolution gives wrong sums for inputs that are exactly one window wide.

    torch 2.13 does, in bfloat16 and channels last, on CPUs that have instructions for it. All values are integers so
    small that nothing is rounded, whatever the order of summation.
    """
    for data_dim, channels, patch_size in ((2, 8, 8), (2, 16, 4), (3, 16, 4)):
        shape = (2, channels, *[patch_size] * data_dim)
        x = torch.arange(prod(shape), device=device).remainder(3).sub(1).reshape(shape).double()
        weight = torch.arange(prod(shape[1:]), device=device).remainder(7).sub(3).sign().double()
        # No more terms than bfloat16 adds up exactly.
        weight[200:] = 0
        weight = weight.reshape(1, *shape[1:])
        right = _CONVOLUTIONS[data_dim](x, weight)
        stored = x.to(dtype).contiguous(memory_format=CHANNELS_LAST[data_dim])
        found = _CONVOLUTIONS[data_dim](stored, weight.to(dtype), stride=patch_size)
        if not torch.equal(found.double(), right):
            return True
    return False


def missums_advice(dtype: torch.dtype, device: torch.device) -> str:
    """Why a wrong value is not judged where torch's own convolution gives one, too."""
    return f"{_convolution(dtype, device)} gives wrong sums here as well"


@lru_cache(maxsize=64)
def reads_past_input(case: Case, device: torch.device) -> bool:
    """Whether torch's own convolution, on tensors of a case's shapes, lets in what memory holds after its input.

    The same kernels do it with the last pixel of an input of one channel: whether that shows depends on what was in
    that memory before.
    """
    spec, dtype = case.spec, TORCH_DTYPES[case.input.dtype]
    weight = torch.ones(case.weight_shape, dtype=dtype, device=device)
    if case.weight_layout == "channels_last":
        weight = weight.to(memory_format=CHANNELS_LAST[spec.data_dim])
    elements = prod(case.input_shape)
    channels_first = (case.input.batch, spec.in_features, *case.input.sizes)
    for channels_last_input in (False, True):
        memory = torch.full((elements + _MARGIN,), torch.nan, dtype=dtype, device=device)
        pixels = memory[:elements].fill_(1)
        x = pixels.view(case.input_shape).movedim(-1, 1) if channels_last_input else pixels.view(channels_first)
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        tokens = _CONVOLUTIONS[spec.data_dim](x, weight, stride=spec.step)
        gradients = torch.autograd.grad(tokens, (x, weight), torch.ones_like(tokens))
        if any(bool(tensor.isnan().any()) for tensor in (tokens, *gradients)):
            return True
    return False


def past_input_advice(dtype: torch.dtype, device: torch.device) -> str:
    """Why a NaN is not judged where torch itself reads past the input."""
    return f"{_convolution(dtype, device)} reads memory past an input of this shape, and NaN was there"


def corrupts_memory(trial: Trial) -> bool:
    """Whether compiling the trial's layer would run into Inductor's backward pass of ``unfold`` where that is wrong.

    Only where the layer uses ``unfold``, its input requires a gradient, and torch alone is seen to be wrong for this
    dtype, at this size or a later one that the laws call the layer at. Nothing in the process can be trusted after it,
    so it is found out before, in another process.
    """
    case = trial.case
    if trial.device.type != "cpu" or "input" not in case.backward.requires_grad or best_backend() != "inductor":
        return False
    return "aten.unfold.default" in _operators(trial) and any(
        script_fails("unfold_backward", each.input.dtype, each.input_shape, case.spec.patch_size, case.spec.step)
        for each in (case, *later_cases(case))
    )


# The laws of a trial follow one another.
_operators = lru_cache(maxsize=2)(operators)


@lru_cache(maxsize=1024)
def script_fails(fault: str, dtype: str, shape: tuple[int, ...], *numbers: int) -> bool:
    """Whether a script of ``properties/torch_faults``, run in a process of its own, shows its fault on this machine.

    Args:
        fault: the script's name.
        dtype: of its tensors.
        shape: of its input.
        numbers: what else it asks for, such as patch_size and stride.

    Raises:
        CannotRun: where the script itself cannot be run.
    """
    script = files("properties").joinpath("torch_faults", f"{fault}.py")
    command = [sys.executable, str(script), dtype, ",".join(map(str, shape)), *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode not in (_RIGHT, _WRONG) and done.returncode > 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotRun(f"the script of torch's fault {fault!r} exited with {done.returncode}: {last}")
    return done.returncode != _RIGHT


def _convolution(dtype: torch.dtype, device: torch.device) -> str:
    return f"torch's own {str(dtype).removeprefix('torch.')} convolution on {device}"
