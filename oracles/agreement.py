"""Checks the oracles, on hand-worked numbers and against each other, before anything is judged by them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oracles import adjoint, loops, unfold
from oracles.windows import covered, grid


class OracleError(Exception):
    """An oracle is wrong on this machine: nothing that it judges can be trusted."""


@dataclass(frozen=True)
class Worked:
    """A layer worked out by hand: nested lists of integers, shaped as the tensors that they stand for."""

    name: str
    stride: int
    x: Any
    weight: Any
    bias: Any
    tokens: Any
    cotangent: Any
    input_gradient: Any
    weight_gradient: Any
    bias_gradient: Any


WORKED = (
    Worked(
        # Windows (1, 2) and (3, 4), weights 1 and 10, bias 100; pixel 5 is the remainder.
        name="a sequence with a remainder",
        stride=2,
        x=[[[1], [2], [3], [4], [5]]],
        weight=[[[1, 10]]],
        bias=[100],
        tokens=[[[121], [143]]],
        cotangent=[[[1], [2]]],
        input_gradient=[[[1], [10], [2], [20], [0]]],
        weight_gradient=[[[7, 10]]],
        bias_gradient=[3],
    ),
    Worked(
        # The pixels 1 to 9 under the kernel 1 2 / 3 4, one pixel apart; the middle pixel is read by all four taps.
        name="an image with overlapping windows",
        stride=1,
        x=[[[[1], [2], [3]], [[4], [5], [6]], [[7], [8], [9]]]],
        weight=[[[[1, 2], [3, 4]]]],
        bias=[0],
        tokens=[[[[37], [47]], [[67], [77]]]],
        cotangent=[[[[1], [1]], [[1], [1]]]],
        input_gradient=[[[[1], [3], [2]], [[4], [10], [6]], [[3], [7], [4]]]],
        weight_gradient=[[[[12, 16], [24, 28]]]],
        bias_gradient=[4],
    ),
    Worked(
        # Single pixels, two apart, of a 3 x 1 x 2 volume: the first and the fifth; two channels in, two out.
        name="a volume with gaps",
        stride=2,
        x=[[[[[0, 0], [1, 10]]], [[[2, 20], [3, 30]]], [[[4, 40], [5, 50]]]]],
        weight=[[[[[1]]], [[[2]]]], [[[[3]]], [[[-1]]]]],
        bias=[0, 7],
        tokens=[[[[[0, 7]]], [[[84, -21]]]]],
        cotangent=[[[[[1, 0]]], [[[0, 1]]]]],
        input_gradient=[[[[[1, 2], [0, 0]]], [[[0, 0], [0, 0]]], [[[3, -1], [0, 0]]]]],
        weight_gradient=[[[[[0]]], [[[0]]]], [[[[4]]], [[[40]]]]],
        bias_gradient=[1, 1],
    ),
)

# (in_features, out_features, patch_size, stride, batch, sizes): small, unequal along every axis that there is.
SHAPES = (
    (1, 1, 1, 1, 1, (1,)),
    (2, 3, 3, 2, 2, (8,)),
    (3, 2, 2, 3, 1, (9,)),
    (2, 3, 2, 2, 2, (5, 6)),
    (1, 2, 3, 1, 1, (4, 5)),
    (3, 1, 2, 3, 1, (6, 8)),
    (2, 2, 2, 1, 1, (3, 4, 2)),
    (1, 3, 2, 2, 2, (5, 2, 4)),
    (2, 1, 1, 2, 1, (2, 3, 4)),
)


def check_oracles(device: torch.device | None = None) -> int:
    """Run both oracles on everything above.

    Args:
        device: where the torch oracle computes; the CPU where it is None.

    Returns:
        The number of comparisons made.

    Raises:
        OracleError: where a number differs, naming the case and the result.
    """
    comparisons = 0
    for worked in WORKED:
        tensors = [torch.tensor(values) for values in (worked.x, worked.weight, worked.bias, worked.cotangent)]
        by_hand = {
            "tokens": torch.tensor(worked.tokens),
            "input gradient": torch.tensor(worked.input_gradient),
            "weight gradient": torch.tensor(worked.weight_gradient),
            "bias gradient": torch.tensor(worked.bias_gradient),
        }
        for dtype in (torch.int64, torch.float64):
            found = _by_unfold([t.to(device, dtype) for t in tensors], worked.stride)
            comparisons += _agree(f"the torch oracle in {dtype} on {worked.name}", found, by_hand)
        comparisons += _agree(f"the NumPy oracle on {worked.name}", _by_loops(tensors, worked.stride), by_hand)
    for in_features, out_features, patch_size, stride, batch, sizes in SHAPES:
        taps = [patch_size] * len(sizes)
        tensors = [
            _integers(3, (batch, *sizes, in_features)),
            _integers(5, (out_features, in_features, *taps)),
            _integers(7, (out_features,)),
            _integers(11, (batch, *grid(sizes, patch_size, stride), out_features)),
        ]
        expected = _by_loops(tensors, stride)
        name = f"sizes {sizes}, patch_size {patch_size}, stride {stride}"
        for dtype in (torch.int64, torch.float64):
            found = _by_unfold([t.to(device, dtype) for t in tensors], stride)
            comparisons += _agree(f"the torch oracle in {dtype} on {name}", found, expected)
        by_slices = np.zeros(sizes, dtype=bool)
        for _, window in loops.windows(sizes, patch_size, stride):
            by_slices[window] = True
        by_intervals = torch.from_numpy(covered(sizes, patch_size, stride))
        mask = {"covered pixels": torch.from_numpy(by_slices)}
        comparisons += _agree(f"windows on {name}", {"covered pixels": by_intervals}, mask)
    return comparisons


def _by_unfold(tensors: list[Tensor], stride: int) -> dict[str, Tensor]:
    x, weight, bias, cotangent = tensors
    return {
        "tokens": unfold.forward(x, weight, bias, stride),
        "input gradient": adjoint.input_gradient(cotangent, weight, tuple(x.shape[1:-1]), stride),
        "weight gradient": adjoint.weight_gradient(cotangent, x, weight.shape[-1], stride),
        "bias gradient": adjoint.bias_gradient(cotangent),
    }


def _by_loops(tensors: list[Tensor], stride: int) -> dict[str, Tensor]:
    x, weight, bias, cotangent = (tensor.numpy() for tensor in tensors)
    for_input, for_weight, for_bias = loops.gradients(cotangent, x, weight, stride)
    return {
        "tokens": torch.from_numpy(loops.forward(x, weight, bias, stride)),
        "input gradient": torch.from_numpy(for_input),
        "weight gradient": torch.from_numpy(for_weight),
        "bias gradient": torch.from_numpy(for_bias),
    }


def _agree(what: str, found: dict[str, Tensor], expected: dict[str, Tensor]) -> int:
    for name, values in expected.items():
        result = found[name].cpu()
        if result.shape != values.shape or not torch.equal(result.double(), values.double()):
            raise OracleError(f"{what}: {name} is {result.tolist()}, expected {values.tolist()}")
    return len(expected)


def _integers(step: int, shape: tuple[int, ...]) -> Tensor:
    """Integers from -5 to 5 that repeat with no period of any axis."""
    count = int(np.prod(shape))
    return (torch.arange(1, count + 1) ** 2 * step % 11 - 5).reshape(shape)
