"""What torch itself gets wrong on this machine, measured, so that no layer is blamed for it."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from oracles import unfold
from oracles.agreement import check_oracles
from properties.trials.compilation import best_backend, later_cases, operators
from properties.trials.fault_scripts import script_fails
from properties.trials.implementation import CannotRun
from properties.trials.layout import with_plain_ones
from properties.trials.trial import Trial
from properties.trials.verdict import NOT_FINITE, Failed, Place

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
UNFOLD_BACKWARD = "torch's fault: Inductor's backward pass of unfold writes past its memory"
# Scripts that show where a NaN, and where another wrong value, may come from.
_NOT_NUMBERS = {
    "convolution_leaks_nan": "torch's fault: its bfloat16 convolution lets NaN into windows that do not cover it",
    "convolution_reads_past": "torch's fault: its bfloat16 convolution reads memory past its input",
}
_FINITE = {"convolution_loses_infinity": "torch's fault: its float16 convolution gives 0 for negative infinity"}
_ROUNDED = {"convolution_transforms": "torch's fault: its float32 convolution transforms integers, and rounds them"}
_WRONG_NUMBERS = {"convolution_sums": "torch's fault: its bfloat16 convolution gives wrong sums"}


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


def fault_behind(trial: Trial, verdict: Failed, dtype: torch.dtype) -> str:
    """The fault of torch's own convolution, at this dtype and shape, that a wrong value may come from; else empty.

    Some of oneDNN's bfloat16 kernels are known for such faults, and of cuDNN's kernels for float16 and float32. Every
    layer that is built on one inherits them.
    """
    case, spec, where = trial.case, trial.case.spec, verdict.where
    if not isinstance(where, Place):
        return ""
    kinds, numbers = {}, [spec.patch_size, spec.effective_stride]
    if trial.device.type == "cpu" and dtype == torch.bfloat16:
        kinds = _NOT_NUMBERS if "nan" in (verdict.observed, verdict.expected) else _WRONG_NUMBERS
    elif trial.device.type == "cuda":
        numbers.append(spec.out_features)
        if dtype == torch.float16 and verdict.expected == NOT_FINITE:
            kinds = _FINITE
        elif dtype == torch.float32 and case.fill.integral and _rounds_to(verdict.observed, verdict.expected):
            kinds = _ROUNDED
    name = str(dtype).removeprefix("torch.")
    shown = (what for fault, what in kinds.items() if script_fails(fault, name, case.input_shape, *numbers))
    return next(shown, "")


def _rounds_to(observed: str, expected: str) -> bool:
    """Whether a value is an integer but for rounding: then no term of its sum is wrong or missing."""
    try:
        return abs(float(observed) - float(expected)) < 0.5
    except ValueError:
        return False


def keeps_subnormals(trial: Trial, x: Tensor, expected: Tensor) -> bool:
    """Whether torch's own convolution, its matrix product of windows, and its sums in any order keep what is subnormal.

    Some kernels take such numbers for zero, and so do float32's atomic additions on CUDA.

    Args:
        trial: whose weight, of integers, to use.
        x: the input.
        expected: the exact tokens, without a bias.
    """
    spec, weight = trial.case.spec, trial.values.weight.to(trial.device)
    with torch.no_grad():
        channels_first = with_plain_ones(x.movedim(-1, 1).contiguous())
        convolution = _CONVOLUTIONS[spec.data_dim](channels_first, weight, None, spec.effective_stride).movedim(1, -1)
        product = functional.linear(unfold.patches(x, spec.patch_size, spec.effective_stride), weight.flatten(1))
        rows = torch.arange(len(expected), device=x.device)
        added = torch.zeros_like(product).index_add(0, rows, product)
    return all(torch.equal(tokens.double(), expected) for tokens in (convolution, product, added))


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
        script_fails(
            "unfold_backward", each.input.dtype, each.input_shape, case.spec.patch_size, case.spec.effective_stride
        )
        for each in (case, *later_cases(trial))
    )


# The laws of a trial follow one another.
_operators = lru_cache(maxsize=2)(operators)
