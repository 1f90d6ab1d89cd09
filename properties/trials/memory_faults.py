"""Where torch's own backward pass of a convolution would write past its memory, and end the process.

It is found out before such a pass is run, by the convolutions that a layer runs inside and by scripts of those faults,
in another process.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from properties.cases.case import Case
from properties.trials.fault_scripts import script_fails

WEIGHT_GRADIENT = "torch's fault: oneDNN's weight gradient of a strided 1 x 1 convolution writes past its memory"
INPUT_GRADIENT = "torch's fault: oneDNN's input gradient of overlapping windows of a sequence writes past its memory"
# The product of output channels and patch size up to which that one has never been seen.
_FEW = 2**14


class Convolutions(TorchDispatchMode):
    """Finds the convolutions that are run inside: the input of each, and its strides."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[Tensor, list[int]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Note a convolution, and run it."""
        if func is torch.ops.aten.convolution.default:
            self.found.append((args[0], args[3]))
        return func(*args, **(kwargs or {}))


def memory_fault(case: Case, run: Callable[[bool], object]) -> str:
    """The fault of oneDNN that the backward pass of a layer would meet on the CPU; empty where its scripts show none.

    Args:
        case: what the layer is run on.
        run: runs its forward pass, on an input that requires a gradient or not.
    """
    # oneDNN has no convolutions in float64.
    if case.input.dtype == "float64":
        return ""
    if any(script_fails("convolution_weight_gradient", *each) for each in _strided_pixels(case, run)):
        return WEIGHT_GRADIENT
    if any(script_fails("convolution_input_gradient", *each) for each in _overlapping_sequences(case, run)):
        return INPUT_GRADIENT
    return ""


def _strided_pixels(case: Case, run: Callable[[bool], object]) -> set[tuple[str, tuple[int, ...], int, int]]:
    """What the fault may befall: dtype, shape, patch_size 1 and stride of the layer's convolutions of one pixel."""
    if case.spec.patch_size > 1 or case.spec.effective_stride == 1:
        return set()
    with Convolutions() as convolutions:
        run(False)
    return {
        (str(x.dtype).removeprefix("torch."), tuple(x.movedim(1, -1).shape), 1, max(strides))
        for x, strides in convolutions.found
        if x.ndim > 2 and any((n - 1) % by for n, by in zip(x.shape[2:], strides, strict=True))
    }


def _overlapping_sequences(
    case: Case, run: Callable[[bool], object]
) -> set[tuple[str, tuple[int, ...], int, int, int]]:
    """What the fault may befall: dtype, shape, patch_size, stride and output channels of sequences in a row."""
    spec = case.spec
    many = spec.in_features > 1 and spec.out_features * spec.patch_size > _FEW
    if not (many and spec.data_dim == 1 and 1 < spec.effective_stride < spec.patch_size):
        return set()
    with Convolutions() as convolutions:
        run(True)
    return {
        (
            str(x.dtype).removeprefix("torch."),
            (len(x), x.shape[-1], x.shape[1]),
            spec.patch_size,
            spec.effective_stride,
            spec.out_features,
        )
        for x, _ in convolutions.found
        if x.shape[-1] > 1 and x.shape[2:].numel() == x.shape[-1]
    }
