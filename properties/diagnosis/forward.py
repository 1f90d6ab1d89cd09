"""What is wrong with an output of the right shape: the bias, the weight, the order of the tokens, or their values.

Every finder returns a sentence only where it predicts all of the values that were found.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import combinations

import torch
from torch import Tensor

from oracles import unfold
from properties.cases.case import Case
from properties.diagnosis.bias import other_bias
from properties.diagnosis.memory import misread_memory
from properties.diagnosis.probe import SEEDS, Given, Look, Seen, given_of, observe
from properties.diagnosis.reading import first_difference
from properties.diagnosis.tokens import all_places, mixed_up, neighbours, other_places, some_places
from properties.diagnosis.weight import other_weight
from properties.diagnosis.windows import other_shape, other_windows
from properties.diagnosis.words import backwards, number
from properties.trials.trial import Raised, blaming

Finder = Callable[[Case, Look, tuple[Seen, ...]], str | None]


def cause_of_output(case: Case, look: Look, seen: tuple[Seen, ...] | None = None) -> str | None:
    """What is wrong with the layer's output, None where it is right or nothing fits.

    Args:
        case: what is run.
        look: how it is run.
        seen: what came out, where that is known already.

    Raises:
        Raised: where the layer does.
    """
    seen = seen or observe(case, look)
    if all(one.is_right for one in seen):
        return None
    for finder in _FINDERS:
        # A layer need not take what this finder asks it; the next one asks something else.
        with suppress(Raised), blaming("a probe"):
            found = finder(case, look, seen)
            if found:
                return found
    return None


# Values: a function of the right ones, in some places or in all.


def _other_values(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """Every value is a function of the right one or of its token."""
    # Small values too: on large ones alone a clamp and a tanh are the same.
    given = given_of(case, SEEDS[0], "real")
    small = Seen(given, look(given), 64 * seen[0].roundoff)
    for words, function in _functions(seen):
        if not small.same(function(given), small.found):
            continue
        if all(one.found.shape == one.given.right.shape and one.agrees(function(one.given)) for one in seen):
            return words
    return None


def _functions(seen: tuple[Seen, ...]) -> Iterator[tuple[str, Callable[[Given], Tensor]]]:
    largest = max(float(one.found.abs().max()) for one in seen)
    yield "negative output values become zero", lambda given: given.right.relu()
    yield "output values lose their sign", lambda given: given.right.abs()
    yield (
        f"output values beyond {number(largest)} in magnitude are clamped",
        (lambda given: given.right.clamp(-largest, largest)),
    )
    yield "every token is divided by its norm", (lambda given: torch.nn.functional.normalize(given.right, dim=-1))
    for name, activation in (("softmax", lambda y: y.softmax(-1)), ("tanh", torch.tanh), ("sigmoid", torch.sigmoid),
                             ("GELU", torch.nn.functional.gelu), ("SiLU", torch.nn.functional.silu)):  # fmt: skip
        yield f"{name} is applied to the output", lambda given, a=activation: a(given.right)  # type: ignore[misc]
    data_dim = seen[0].given.data_dim
    for name, axes in {
        "the output channels": (-1,),
        "the tokens of its sample": tuple(range(1, data_dim + 1)),
        "all samples": (0,),
    }.items():
        yield (
            f"the mean over {name} is subtracted from every value",
            (
                lambda given, a=axes: given.right - given.right.mean(a, keepdim=True)  # type: ignore[misc]
            ),
        )
    for words, prepared in _preparations(seen):
        yield words, lambda given, p=prepared: unfold.forward(p(given.x), given.weight, given.bias, given.stride)  # type: ignore[misc]
    for words, added in _additions():
        yield words, lambda given, a=added: given.right + a(given)  # type: ignore[misc]


def _preparations(seen: tuple[Seen, ...]) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Functions of the input that keep its shape."""
    data_dim = seen[0].given.data_dim
    axes = list(range(1, data_dim + 1))
    yield "the sign of the input is lost", torch.abs
    yield "negative values of the input become zero", torch.relu
    yield "the input is taken for zero", torch.zeros_like
    yield "the mean over the samples is subtracted from the input", lambda x: x - x.mean(0)
    yield "the mean over its channels is subtracted from every pixel", lambda x: x - x.mean(-1, keepdim=True)
    yield "the mean over its pixels is subtracted from every sample", lambda x: x - x.mean(axes, keepdim=True)
    yield from backwards(axes, "the pixels are read")
    for one, other in combinations(axes, 2):
        words = f"axes {one - 1} and {other - 1} of the input are swapped"
        yield words, lambda x, a=one, b=other: _swapped(x, a, b)  # type: ignore[misc]
    for axis in axes:
        yield f"the samples and axis {axis - 1} of the input are swapped", lambda x, a=axis: _swapped(x, 0, a)  # type: ignore[misc]
        yield f"axis {axis - 1} of the input and its channels are swapped", lambda x, a=axis: _swapped(x, a, -1)  # type: ignore[misc]
    yield (
        "an input whose channels are last is taken for one whose channels are first",
        (lambda x: x.reshape(x.shape[0], x.shape[-1], *x.shape[1:-1]).movedim(1, -1)),
    )
    yield "every sample is embedded as the first one is", lambda x: x[:1].expand_as(x)
    yield "the samples are read in the reverse order", lambda x: x.flip(0)


def _swapped(x: Tensor, one: int, other: int) -> Tensor:
    """Swaps two axes of one size; the input as it is where they are of two."""
    return x.transpose(one, other) if x.shape[one] == x.shape[other] else x


def _additions() -> Iterator[tuple[str, Callable[[Given], Tensor]]]:
    """What else is added to the output, the same to every channel."""
    powers: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
        ("", lambda part: part),
        ("the square of ", torch.square),
        ("the magnitude of ", torch.abs),
    )
    for words, power in powers:
        yield (
            f"{words or 'the value of '}the first pixel of each window is added to its token, in its first channel",
            (
                lambda given, p=power: p(given.patches[..., :1])  # type: ignore[misc]
            ),
        )
        yield (
            f"the sum over {words or 'the values of '}its window is added to each token",
            (
                lambda given, p=power: p(given.patches).sum(-1, keepdim=True)  # type: ignore[misc]
            ),
        )
    yield "the mean of the output is added to every value", lambda given: given.right.mean().expand_as(given.right)


_FINDERS: tuple[Finder, ...] = (
    other_shape,
    misread_memory,
    other_bias,
    some_places,
    all_places,
    other_weight,
    other_places,
    other_windows,
    _other_values,
    neighbours,
    mixed_up,
    first_difference,
)
