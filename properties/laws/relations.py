"""Relations between outputs that need no oracle: what any linear map of windows obeys (C7), on integers bit for bit."""

import torch
from torch import Tensor

from properties.laws.law import checks
from properties.laws.purity import same_tokens
from properties.trials.comparison import compare_all
from properties.trials.trial import Expectation, Trial
from properties.trials.verdict import Failed, Inapplicable, Verdict


def _alternate(values: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors that add up to the values, each of which is zero where the other is not."""
    even = (torch.arange(values.numel(), device=values.device) % 2 == 0).reshape(values.shape)
    return values.masked_fill(~even, 0), values.masked_fill(even, 0)


def _bias(trial: Trial) -> Tensor | float:
    return 0.0 if trial.values.bias is None else trial.values.bias.to(trial.device).double()


def _run(trial: Trial, x: Tensor, doing: str, weight: Tensor | None = None) -> Tensor:
    """The output for other values, with another weight where one is given."""
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer = trial.layer
    if weight is not None:
        layer = trial.make_layer()
        with torch.no_grad():
            layer.conv.weight.copy_(weight)
    return trial.embed(layer, x.to(trial.device, copy=True), doing).detach()


def _compare(trial: Trial, what: str, found: Tensor, expected: Tensor) -> Verdict:
    # Up to three runs and a few additions may have rounded.
    return compare_all(what, found, Expectation(expected.double(), 6 * trial.expected_tokens.bound), "output")


@checks("C7", on="drawn")
def additive_in_input(trial: Trial) -> Verdict:
    """Two inputs embedded one by one and added give the embedding of their sum, the bias counted once."""
    tokens = trial.tokens.detach().double()
    left, right = _alternate(trial.values.x)
    total = _run(trial, left, "forward of one part").double() + _run(trial, right, "forward of the other part").double()
    return _compare(trial, "output values are not additive in the input", total - _bias(trial), tokens)


@checks("C7", on="drawn")
def additive_in_weight(trial: Trial) -> Verdict:
    """Two weights used one by one and added give the output of their sum, the bias counted once."""
    tokens, x = trial.tokens.detach().double(), trial.values.x
    left, right = _alternate(trial.values.weight)
    one = _run(trial, x, "forward with one part of the weight", left).double()
    other = _run(trial, x, "forward with the other part of the weight", right).double()
    return _compare(trial, "output values are not additive in the weight", one + other - _bias(trial), tokens)


@checks("C7", on="drawn")
def homogeneous(trial: Trial) -> Verdict:
    """An input of the opposite sign gives the opposite output, the bias apart.

    Catches absolute values, clamps and activations.
    """
    opposite = _run(trial, -trial.values.x, "forward of the opposite input").double()
    mirrored = 2 * _bias(trial) - trial.tokens.detach().double()
    return _compare(trial, "output values are not homogeneous in the input", opposite, mirrored)


@checks("C7", on="drawn")
def zero_input_gives_bias(trial: Trial) -> Verdict:
    """Where the input is zero every token is the bias, bit for bit.

    Catches a bias that is missing, doubled, or given to some tokens only.
    """
    shape = trial.tokens.shape
    found = _run(trial, torch.zeros_like(trial.values.x), "forward of zeros")
    expected = torch.zeros(shape, dtype=torch.float64, device=trial.device) + _bias(trial)
    exactly = Expectation(expected, torch.zeros_like(expected))
    return compare_all("output values of a zero input are not the bias", found, exactly, "output")


@checks("C5", "C7", on="drawn")
def commutes_with_shift(trial: Trial) -> Verdict:
    """Without the first S pixels of an axis, the tokens are the same without the first.

    Catches windows that are counted from the end, or from the middle.
    """
    step = trial.case.spec.step
    axis = next((axis for axis, windows in enumerate(trial.case.grid, start=1) if windows > 1), None)
    if axis is None:
        return Inapplicable("there is one window along every axis")
    windows = trial.case.grid[axis - 1]
    shorter = trial.values.x.narrow(axis, step, trial.values.x.shape[axis] - step).to(trial.device, copy=True)
    tokens = trial.tokens.detach()
    moved = tokens.clone()
    rest = moved.narrow(axis, 1, windows - 1)
    found = trial.call(trial.layer, shorter, "forward of a shifted input")
    if not isinstance(found, Tensor) or found.shape != rest.shape:
        observed = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        return Failed("a shifted input has the wrong shape", observed=str(observed), expected=str(list(rest.shape)))
    # In their old places, so that a wrong one is named by its place in the case.
    rest.copy_(found)
    what = f"output values do not shift with the input along axis {axis - 1}"
    return compare_all(what, moved, Expectation(tokens.double(), 2 * trial.expected_tokens.bound), "output")


@checks("C15", on="drawn")
def commutes_with_sample_permutation(trial: Trial) -> Verdict:
    """Samples in another order give tokens in that order.

    Catches samples that are mixed up, and ones that are treated unlike the others.
    """
    if trial.case.input.batch == 1:
        return Inapplicable("the batch is one sample")
    return same_tokens(
        trial, _run(trial, trial.values.x.roll(1, 0), "forward").roll(-1, 0), "do not follow their samples"
    )


@checks("C7", on="drawn")
def commutes_with_channel_permutation(trial: Trial) -> Verdict:
    """Channels in another order, in the input and in the weight, give the same output.

    Catches channels that are treated unlike one another.
    """
    if trial.case.spec.in_features == 1:
        return Inapplicable("there is one channel")
    weight = trial.values.weight.roll(1, 1)
    moved = _run(trial, trial.values.x.roll(1, -1), "forward with other channels first", weight)
    return same_tokens(trial, moved, "depend on the order of the channels")


@checks("C5", "C7", on="drawn")
def commutes_with_axis_permutation(trial: Trial) -> Verdict:
    """Spatial axes in the opposite order, in input and weight, give tokens with theirs in the opposite order.

    Catches axes that are mixed up, where sizes differ and where they are alike.
    """
    data_dim = trial.case.spec.data_dim
    if data_dim == 1:
        return Inapplicable("there is one spatial axis")
    reversed_axes = tuple(range(data_dim, 0, -1))
    x = trial.values.x.permute(0, *reversed_axes, data_dim + 1)
    weight = trial.values.weight.permute(0, 1, *(axis + 1 for axis in reversed_axes))
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer = trial.make_layer()
    with torch.no_grad():
        layer.conv.weight.copy_(weight)
    found = trial.call(layer, x.to(trial.device, copy=True).contiguous(), "forward with its axes reversed")
    expected_shape = (trial.case.input.batch, *reversed(trial.case.grid), trial.case.spec.out_features)
    if not isinstance(found, Tensor) or found.shape != expected_shape:
        observed = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        return Failed("reversed axes give the wrong shape", observed=str(observed), expected=str(list(expected_shape)))
    back = found.detach().permute(0, *reversed_axes, data_dim + 1)
    return same_tokens(trial, back, "depend on the order of the axes")
