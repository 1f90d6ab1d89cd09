"""Relations between outputs that need no oracle: what any linear map of windows obeys (C7), on integers bit for bit."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from properties.cases.case import Case
from properties.laws.law import law
from properties.trials.comparison import Expectation
from properties.trials.trial import Trial


def _alternate(values: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors that add up to the values, each of which is zero where the other is not."""
    even = (torch.arange(values.numel(), device=values.device) % 2 == 0).reshape(values.shape)
    return values.masked_fill(~even, 0), values.masked_fill(even, 0)


def _run(trial: Trial, x: Tensor, doing: str, weight: Tensor | None = None) -> Tensor:
    """The output for other values, with another weight where one is given."""
    layer = trial.layer
    if weight is not None:
        layer = trial.make_layer()
        with torch.no_grad():
            layer.conv.weight.copy_(weight)
    return trial.embed(layer, x.to(trial.device, copy=True), doing).detach()


def _sized(case: Case, sizes: Sequence[int]) -> Case:
    """The case at other sizes, in a layout that any have."""
    return replace(case, input=replace(case.input, sizes=tuple(sizes), layout="contiguous"))


def _compare(trial: Trial, what: str, found: Tensor, expected: Tensor) -> None:
    # Up to three runs and a few additions may have rounded.
    trial.close(what, found, Expectation(expected.double(), 6 * trial.expected_tokens.bound))


@law("C7", on="drawn")
def additive_in_input(trial: Trial) -> None:
    """Two inputs embedded one by one and added give the embedding of their sum, the bias counted once."""
    tokens = trial.tokens.detach().double()
    left, right = _alternate(trial.values.x)
    total = _run(trial, left, "forward of one part").double() + _run(trial, right, "forward of the other part").double()
    _compare(trial, "output values are not additive in the input", total - trial.bias, tokens)


@law("C7", on="drawn")
def additive_in_weight(trial: Trial) -> None:
    """Two weights used one by one and added give the output of their sum, the bias counted once."""
    tokens, x = trial.tokens.detach().double(), trial.values.x
    left, right = _alternate(trial.values.weight)
    one = _run(trial, x, "forward with one part of the weight", left).double()
    other = _run(trial, x, "forward with the other part of the weight", right).double()
    _compare(trial, "output values are not additive in the weight", one + other - trial.bias, tokens)


@law("C7", on="drawn")
def homogeneous(trial: Trial) -> None:
    """An input of the opposite sign gives the opposite output, the bias apart.

    Catches absolute values, clamps and activations.
    """
    opposite = _run(trial, -trial.values.x, "forward of the opposite input").double()
    mirrored = 2 * trial.bias - trial.tokens.detach().double()
    _compare(trial, "output values are not homogeneous in the input", opposite, mirrored)


@law("C7", on="drawn")
def zero_input_gives_bias(trial: Trial) -> None:
    """Where the input is zero every token is the bias, bit for bit.

    Catches a bias that is missing, doubled, or given to some tokens only.
    """
    found = _run(trial, torch.zeros_like(trial.values.x), "forward of zeros")
    expected = torch.zeros(trial.tokens.shape, dtype=torch.float64, device=trial.device) + trial.bias
    exactly = Expectation(expected, torch.zeros_like(expected))
    trial.close("output values of a zero input are not the bias", found, exactly)


@law("C5", "C7", on="drawn")
def commutes_with_shift(trial: Trial) -> None:
    """Without the first S pixels of an axis, the tokens are the same without the first.

    Catches windows that are counted from the end, or from the middle.
    """
    stride = trial.case.spec.effective_stride
    axis = next((axis for axis, windows in enumerate(trial.case.grid, start=1) if windows > 1), None)
    if axis is None:
        trial.inapplicable("there is one window along every axis")
    windows, sizes = trial.case.grid[axis - 1], list(trial.case.input.sizes)
    sizes[axis - 1] -= stride
    if not trial.is_for(_sized(trial.case, sizes)):
        trial.inapplicable("the domain has no shorter axis")
    shorter = trial.values.x.narrow(axis, stride, trial.values.x.shape[axis] - stride).to(trial.device, copy=True)
    tokens = trial.tokens.detach()
    moved = tokens.clone()
    rest = moved.narrow(axis, 1, windows - 1)
    found = trial.call(trial.layer, shorter, "forward of a shifted input")
    # In their old places, so that a wrong one is named by its place in the case.
    rest.copy_(trial.shaped("a shifted input has the wrong shape", found, rest.shape))
    what = f"output values do not shift with the input along axis {axis - 1}"
    trial.close(what, moved, Expectation(tokens.double(), 2 * trial.expected_tokens.bound))


@law("C15", on="drawn")
def commutes_with_sample_permutation(trial: Trial) -> None:
    """Samples in another order give tokens in that order.

    Catches samples that are mixed up, and ones that are treated unlike the others.
    """
    if trial.case.input.batch == 1:
        trial.inapplicable("the batch is one sample")
    moved = _run(trial, trial.values.x.roll(1, 0), "forward")
    trial.unchanged(moved.roll(-1, 0), "do not follow their samples")


@law("C7", on="drawn")
def commutes_with_channel_permutation(trial: Trial) -> None:
    """Channels in another order, in the input and in the weight, give the same output.

    Catches channels that are treated unlike one another.
    """
    if trial.case.spec.in_features == 1:
        trial.inapplicable("there is one channel")
    weight = trial.values.weight.roll(1, 1)
    moved = _run(trial, trial.values.x.roll(1, -1), "forward with other channels first", weight)
    trial.unchanged(moved, "depend on the order of the channels")


@law("C5", "C7", on="drawn")
def commutes_with_axis_permutation(trial: Trial) -> None:
    """Spatial axes in the opposite order, in input and weight, give tokens with theirs in the opposite order.

    Catches axes that are mixed up, where sizes differ and where they are alike.
    """
    data_dim = trial.case.spec.data_dim
    if data_dim == 1:
        trial.inapplicable("there is one spatial axis")
    if not trial.is_for(_sized(trial.case, trial.case.input.sizes[::-1])):
        trial.inapplicable("the domain has no such sizes in the opposite order")
    reversed_axes = tuple(range(data_dim, 0, -1))
    x = trial.values.x.permute(0, *reversed_axes, data_dim + 1)
    weight = trial.values.weight.permute(0, 1, *(axis + 1 for axis in reversed_axes))
    layer = trial.make_layer()
    with torch.no_grad():
        layer.conv.weight.copy_(weight)
    found = trial.call(layer, x.to(trial.device, copy=True).contiguous(), "forward with its axes reversed")
    shape = (trial.case.input.batch, *reversed(trial.case.grid), trial.case.spec.out_features)
    back = trial.shaped("reversed axes give the wrong shape", found, shape)
    trial.unchanged(back.detach().permute(0, *reversed_axes, data_dim + 1), "depend on the order of the axes")
