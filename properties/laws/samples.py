"""Samples and tokens are independent of one another, however many there are (C15)."""

import math
from collections.abc import Callable

import numpy as np
import torch

from oracles import rounding
from oracles.windows import covered, origins
from properties.cases.case import Case
from properties.laws.law import law
from properties.trials.comparison import Expectation
from properties.trials.ending import Raised, blaming
from properties.trials.faults import keeps_subnormals
from properties.trials.trial import Trial
from properties.trials.verdict import NOT_FINITE

try:  # what comes after Patchify in the models that it was made for
    from nvsubquadratic.modules.position_encoding import PositionEmbeddingND
except ImportError:
    PositionEmbeddingND = None

HUGE_BATCH = 65_537
_MOST_ELEMENTS = 2**20


@law("C15", on="drawn")
def samples_independent(trial: Trial) -> None:
    """A sample gives the same tokens alone as in its batch, and a change of one sample changes no other.

    Catches statistics over the batch, and samples that are mixed up.
    """
    batch = trial.case.input.batch
    if batch == 1:
        trial.inapplicable("the batch is one sample")
    x = trial.values.x.to(trial.device)
    first = Expectation(trial.tokens.detach().double(), 2 * trial.expected_tokens.bound)
    for sample in {0, batch // 2, batch - 1}:
        alone = trial.call(trial.layer, x[sample : sample + 1].clone(), "forward of one sample alone")
        one = Expectation(first.values[sample : sample + 1], first.bound[sample : sample + 1])
        tokens = trial.shaped("a batch of one has another shape", alone, one.values.shape)
        trial.close(f"output values of sample {sample} change when it is alone", tokens, one)
    others = x.clone()
    others[batch - 1] = -others[batch - 1]
    tokens = trial.embed(trial.layer, others, "forward with one sample changed")
    rest = Expectation(first.values[:-1], first.bound[:-1])
    trial.close("output values change with another sample", tokens[:-1], rest)


@law("C15", on="drawn")
def huge_batch(trial: Trial) -> None:
    """A batch of 65,537 samples is embedded like any other, forward and backward.

    Catches indices that are kept in 16 bits, and grids of GPU blocks that are larger than they may be.
    """
    per_sample = max(
        math.prod(trial.case.input_shape[1:]),
        math.prod(trial.case.output_shape[1:]),
        math.prod(trial.case.grid) * trial.case.spec.terms,
    )
    if per_sample * HUGE_BATCH > _MOST_ELEMENTS:
        trial.inapplicable("so many samples of this size would cost too much")
    batch = trial.case.input.batch
    chosen = torch.arange(HUGE_BATCH, device=trial.device) % batch
    tokens = trial.tokens
    found = trial.call(trial.layer, trial.values.x.to(trial.device)[chosen], "forward of 65,537 samples")
    found = trial.shaped("a huge batch has the wrong shape", found, (HUGE_BATCH, *tokens.shape[1:]))
    expected = Expectation(tokens.detach().double()[chosen], 2 * trial.expected_tokens.bound[chosen])
    trial.close("output values are wrong in a batch of 65,537", found, expected)


@law("C15", on="drawn")
def tokens_local(trial: Trial) -> None:
    """A change of one pixel changes only the tokens whose windows cover it.

    Catches context that leaks between tokens: normalisation over the grid, and windows that are too large.
    """
    tokens = trial.tokens.detach()
    for pixel in pixels_to_change(trial.case):
        x = trial.values.x.clone()
        _at(x, pixel).fill_(0)
        poked = trial.embed(trial.layer, trial.lay_out(x), "forward").detach()
        reached = tokens_that_cover(trial, pixel)
        errors = (poked.double() - tokens.double()).abs()
        wrong = ~(errors <= 2 * trial.expected_tokens.bound) & ~reached.unsqueeze(0).unsqueeze(-1)
        what = f"a token changes with pixel {pixel}, which its window does not cover"
        trial.nowhere(wrong, what, "output", poked, tokens)


def pixels_to_change(case: Case) -> list[tuple[int, ...]]:
    """A few pixels, covered ones among them: the first, the last, and two in between."""
    sizes = case.input.sizes
    places = np.argwhere(covered(sizes, case.spec.patch_size, case.spec.effective_stride))
    within = [places[len(places) * part // 3] for part in (1, 2)]
    return [(0,) * len(sizes), *(tuple(int(i) for i in place) for place in within), tuple(size - 1 for size in sizes)]


def _at(x: torch.Tensor, pixel: tuple[int, ...]) -> torch.Tensor:
    """A pixel of every sample, ``[B, C_in]``, as a view."""
    for index in pixel:
        x = x.select(1, index)
    return x


def tokens_that_cover(trial: Trial, pixel: tuple[int, ...]) -> torch.Tensor:
    """Bool ``[*g]``: whose windows cover a pixel, found by going through them."""
    spec, sizes = trial.case.spec, trial.case.input.sizes
    reached = torch.ones(trial.case.grid, dtype=torch.bool)
    for axis, (size, at) in enumerate(zip(sizes, pixel, strict=True)):
        along = [
            first <= at < first + spec.patch_size for first in origins(size, spec.patch_size, spec.effective_stride)
        ]
        reached &= torch.tensor(along).reshape([-1 if other == axis else 1 for other in range(len(sizes))])
    return reached.to(trial.device)


@law("C18", on="drawn")
def nonfinite_reaches_its_tokens(trial: Trial) -> None:
    """NaN or infinity in a covered pixel makes exactly the tokens non-finite that cover it.

    Catches inputs that are cleaned on the way in, and products with zero that spread NaN to other tokens.
    """
    for value, pixel in zip((math.nan, math.inf, -math.inf, math.nan), pixels_to_change(trial.case), strict=True):
        x = trial.values.x.clone()
        _at(x, pixel)[:, -1] = value
        found = trial.embed(trial.layer, trial.lay_out(x), f"forward with {value}")
        reached = tokens_that_cover(trial, pixel).unsqueeze(0).unsqueeze(-1).expand_as(found)
        missing, too_far = reached & found.isfinite(), ~reached & ~found.isfinite()
        what = f"{value} in pixel {pixel} does not reach a token whose window covers it"
        trial.nowhere(missing, what, "output", found, NOT_FINITE)
        what = f"{value} in pixel {pixel} reaches a token whose window misses it"
        trial.nowhere(too_far, what, "output", found, "a finite value")


@law("C18", on="drawn")
def nonfinite_parameters_reach_their_channels(trial: Trial) -> None:
    """NaN or infinity in one weight, or in one bias, makes exactly the tokens of its output channel non-finite.

    Catches parameters that are cleaned on the way, and products with zero that spread NaN to other channels.
    """
    names = ("weight", "bias") if trial.case.spec.bias else ("weight",)
    own = torch.arange(trial.case.spec.out_features, device=trial.device) == trial.case.spec.out_features - 1
    for value in (math.nan, math.inf, -math.inf):
        for name in names:
            layer = trial.make_layer()
            with torch.no_grad():
                parameter: torch.Tensor = getattr(layer.conv, name)
                parameter[(-1,) * parameter.ndim] = value
            found = trial.embed(layer, trial.make_input(), f"forward with {value} in the {name}")
            what = f"{value} in the {name} of the last output channel"
            _exactly(trial, what, "output", found, own.expand_as(found), trial.expected_tokens)


@law("C18", "C11", on="drawn", needs_output=False, needs=("gradients",))
def nonfinite_cotangent_reaches_its_terms(trial: Trial) -> None:
    """NaN or infinity in one cotangent makes exactly those gradients non-finite that it is a term of.

    Those of its output channel's weights and bias, and of the pixels that its window covers. Catches gradients that are
    cleaned or clipped, and products with zero that spread NaN to other windows.
    """
    wanted, spec = trial.case.backward.requires_grad, trial.case.spec
    if not wanted:
        trial.inapplicable("the case asks for no gradients")
    trial.gradient(wanted[0])
    last = tuple(size - 1 for size in trial.case.output_shape)
    pixels = torch.zeros(trial.case.input_shape, dtype=torch.bool, device=trial.device)
    window = pixels[-1]
    for axis, index in enumerate(last[1:-1]):
        window = window.narrow(axis, index * spec.effective_stride, spec.patch_size)
    window.fill_(True)
    own = torch.arange(spec.out_features, device=trial.device) == last[-1]
    terms = {"input": pixels, "weight": own.reshape(-1, *[1] * (spec.data_dim + 1)), "bias": own}
    for value in (math.nan, math.inf):
        layer, x, cotangent = trial.make_layer(), trial.make_input(), trial.make_cotangent().clone()
        cotangent[last] = value
        tokens = trial.embed(layer, x, "forward")
        for name, gradient in trial.differentiate(layer, x, tokens, cotangent).items():
            trial.expect(gradient is not None, f"no gradient reaches the {name}", observed="None")
            assert gradient is not None
            what = f"{value} in the last cotangent"
            _exactly(trial, what, name, gradient, terms[name].expand_as(gradient), trial.expected_gradient(name))


def _exactly(
    trial: Trial, what: str, tensor: str, found: torch.Tensor, reached: torch.Tensor, plain: Expectation
) -> None:
    """Expect a value that is not finite to reach those of a tensor that it must, and none of the others.

    ``plain`` says what they are without it, and which of them may overflow anyway.
    """
    missing, spread = reached & found.isfinite(), ~reached & ~found.isfinite() & plain.bound.isfinite()
    lost, far = f"{what} does not reach what it is a term of", f"{what} reaches what it is no term of"
    trial.nowhere(missing, lost, tensor, found, "a value that is not finite")
    trial.nowhere(spread, far, tensor, found, plain.values)


@law("C18", "C7", on="drawn")
def scales_with_powers_of_two(trial: Trial) -> None:
    """Integers times a power of two, huge or subnormal ones, give as many times the tokens, bit for bit.

    Nothing rounds, whatever the power. Subnormal ones where torch's own convolution and matrix product keep them.
    Catches clamps, logarithms, and conversions to a dtype with a smaller range.
    """
    expected, pixels, bias = trial.expected_tokens, trial.values.x.double(), torch.as_tensor(trial.bias)
    if not trial.case.fill.integral or bool((expected.bound != 0).any()):
        trial.inapplicable("the sums of this case are no integers that are exact")
    largest = max(float(values.max()) for values in (expected.magnitude, pixels.nan_to_num().abs(), bias.abs()))
    exponent = math.floor(math.log2(torch.finfo(trial.dtype).max)) - math.ceil(math.log2(max(largest, 1.0))) - 1
    for name, power in (("huge", 2.0**exponent), ("subnormal", rounding.precision_of(trial.dtype).smallest_subnormal)):
        x, values = (pixels * power).to(trial.device, trial.dtype), expected.values * power
        if name == "subnormal" and not keeps_subnormals(trial, x, (expected.values - bias) * power):
            continue
        layer = trial.make_layer()
        if trial.case.spec.bias:
            with torch.no_grad():
                layer.conv.bias.copy_(bias * power)
        tokens = trial.embed(layer, trial.lay_out(x), f"forward of {name} numbers")
        what = f"output values of {name} numbers are wrong"
        trial.close(what, tokens, Expectation(values, torch.zeros_like(expected.bound)))


@law("C16", needs_output=False, needs=("grid",))
def feeds_position_embedding(trial: Trial) -> None:
    """The output plus a position embedding ``[*g, C_out]`` goes into a channels-last mixer as it is.

    Where nvsubquadratic is installed, its ``PositionEmbeddingND`` is added too. Catches tokens that come flattened or
    channels first.
    """
    output = trial.forward_pass
    if isinstance(output, Raised):
        trial.broken("forward raised (see runs_forward)")
    spec, shape = trial.case.spec, trial.case.output_shape
    positions: dict[str, Callable[[], torch.Tensor]] = {
        "a position embedding": lambda: torch.ones(shape[1:], dtype=trial.dtype, device=trial.device)
    }
    mixer = torch.nn.Linear(shape[-1], 2, device=trial.device, dtype=trial.dtype)
    if PositionEmbeddingND is not None and spec.out_features % spec.data_dim == 0:
        embedding = PositionEmbeddingND(spec.out_features, spec.data_dim, trial.case.grid).to(trial.device)
        positions["nvsubquadratic's PositionEmbeddingND"] = lambda: embedding(output).to(trial.dtype)
    for name, position in positions.items():
        with blaming(f"adding {name}"):
            embedded = output + position()  # type: ignore[operator]
            mixed = mixer(embedded)
        fits = embedded.shape == shape and mixed.shape == (*shape[:-1], 2)
        what = f"{name} does not fit the output"
        trial.expect(fits, what, observed=list(embedded.shape), expected=list(shape))
