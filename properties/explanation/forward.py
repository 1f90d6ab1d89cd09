"""What is wrong with an output of the right shape: the bias, the weight, the order of the tokens, or their values.

Every finder returns a sentence only where it predicts all of the values that were found.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from oracles import unfold
from properties.case import Case
from properties.explanation.probe import SEEDS, Given, Look, Seen, given_of, observe, stored
from properties.explanation.weight import other_weight
from properties.explanation.windows import first_difference, other_shape, other_windows
from properties.explanation.words import axes_named, block, members, number, place, scaled
from properties.layout import CHANNELS_LAST
from properties.trial import Raised, blaming

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


def nouns(data_dim: int) -> list[str]:
    """What the indices of an output number."""
    return ["sample", *_along("token", data_dim), "output channel"]


def _along(noun: str, data_dim: int) -> list[str]:
    return [noun] if data_dim == 1 else [f"{noun} along axis {axis}" for axis in range(data_dim)]


# The bias: what comes out for an input of zeros.


def _other_bias(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """The products are right, and something else than the bias is added to them."""
    if any(one.found.shape != one.given.right.shape for one in seen):
        return None
    added = [one.found - one.given.products for one in seen]
    biases = [one.given.bias for one in seen]
    if all(bias is not None for bias in biases):
        for words, predict in _wrong_biases(case):
            if all(one.agrees(one.given.products + predict(one.given)) for one in seen):
                return words
        factors = _factor_by_token(seen, added)
        if factors is not None:
            some, rest = (places_in_words(factors == factor, case) for factor in (1, 0))
            if some and rest and bool(((factors == 0) | (factors == 1)).all()):
                return (
                    f"the bias is missing for {rest}" if len(rest) < len(some) else f"the bias is added only to {some}"
                )
    extra = [one.found - one.given.right for one in seen]
    if all(one.same(extra[0] + one.given.right, one.found) for one in seen):
        return _constant(case, extra[0])
    return None


def _wrong_biases(case: Case) -> Iterator[tuple[str, Callable[[Given], Tensor]]]:
    taps, data_dim = case.spec.patch_size**case.spec.data_dim, case.spec.data_dim
    times: dict[float, str] = {
        0: "not added",
        2: "added twice",
        -1: "subtracted",
        case.spec.terms: "added once for every product",
    }
    times |= {taps: f"added once for every tap, {taps} times"} if taps > 1 else {}
    for factor in (0, 2, -1, 0.5, taps, case.spec.terms, 3):
        if factor != 1:
            words = times.get(factor, f"added {number(factor)} times")
            yield f"the bias is {words}", lambda given, f=factor: f * _bias(given)  # type: ignore[misc]
    yield "the bias is added with its channels in the reverse order", lambda given: _bias(given).flip(0)
    yield "the bias is added with its channels moved by one", lambda given: _bias(given).roll(1)
    yield "the magnitude of the bias is added", lambda given: _bias(given).abs()
    for axis, size in enumerate((case.input.batch, *case.grid)):
        if size == case.spec.out_features:
            words = "the samples" if axis == 0 else f"axis {axis - 1} of the grid"
            shape = [-1 if other == axis else 1 for other in range(data_dim + 2)]
            yield f"the bias runs along {words} instead of the channels", lambda given, s=shape: _bias(given).reshape(s)  # type: ignore[misc]


def _bias(given: Given) -> Tensor:
    assert given.bias is not None
    return given.bias


def _factor_by_token(seen: tuple[Seen, ...], added: list[Tensor]) -> Tensor | None:
    """How often the bias is added to each token, ``[B, *g]``, where that is what is added."""
    first = seen[0].given.bias
    assert first is not None
    nonzero = int(first.abs().argmax())
    factors = (added[0][..., nonzero] / first[nonzero]).round()
    for one, found in zip(seen, added, strict=True):
        if not one.same(factors[..., None] * _bias(one.given), found):
            return None
    return factors


def _constant(case: Case, extra: Tensor) -> str | None:
    """The same is added whatever the input, the weight and the bias are."""
    if bool((extra == extra.flatten()[0]).all()):
        return f"{number(float(extra.flatten()[0]))} is added to every value"
    for axis, noun in enumerate(nouns(case.spec.data_dim)):
        index = torch.arange(extra.shape[axis], dtype=extra.dtype)
        shape = [-1 if other == axis else 1 for other in range(extra.ndim)]
        if torch.allclose(extra, index.reshape(shape).expand_as(extra)):
            what, _, along = noun.partition(" along ")
            return f"every {what} has its own index{along and f' along {along}'} added"
    return "something is added that depends on neither input, weight nor bias"


# The tokens: right ones in other places.


def _other_places(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """Every token that comes out is the right one for another place."""
    for words, move in _moves(case):
        if all(one.found.shape == one.given.right.shape and one.agrees(move(one.given.right)) for one in seen):
            return words
    return None


def _mixed_up(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """Every token that comes out is the right one for some other place, in no order that has a name."""
    maps = [_sources(one.found, one.given.right) for one in seen]
    if any(found is None or not torch.equal(found, maps[0]) for found in maps if maps[0] is not None):
        return None
    sources = maps[0]
    if sources is None or bool((sources < 0).any()):
        return None
    return _in_place_of(sources, seen[0].given.right)


def _moves(case: Case) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Rearrangements of ``[B, *g, C_out]``."""
    axes = list(range(1, case.spec.data_dim + 1))
    for count in range(1, len(axes) + 1):
        for some in combinations(axes, count):
            named = axes_named([axis - 1 for axis in some])
            yield f"the tokens run backwards along {named}", lambda y, s=some: y.flip(s)  # type: ignore[misc]
    for one, other in combinations(axes, 2):
        words = f"axes {one - 1} and {other - 1} of the grid are swapped"
        yield words, lambda y, a=one, b=other: y.transpose(a, b)  # type: ignore[misc]
    yield "the samples come out in the reverse order", lambda y: y.flip(0)
    yield "every sample gets the tokens of the first", lambda y: y[:1].expand_as(y)
    for axis in axes:
        words = f"the samples and axis {axis - 1} of the grid are swapped"
        yield words, lambda y, a=axis: y.transpose(0, a)  # type: ignore[misc]
        words = f"axis {axis - 1} of the grid and the output channels are swapped"
        yield words, lambda y, a=axis: y.transpose(a, -1)  # type: ignore[misc]
    for count in (1, -1, 2, -2):
        places = "one place" if abs(count) == 1 else "two places"
        where = f"{places} {'further on' if count > 0 else 'further back'}"
        yield f"every token stands {where} than its own", lambda y, n=count: _rolled_tokens(y, n)  # type: ignore[misc]
        yield f"every sample stands {where} than its own", lambda y, n=count: y.roll(n, 0)  # type: ignore[misc]
        for axis in axes:
            words = f"every token stands {where} along axis {axis - 1} than its own"
            yield words, lambda y, n=count, a=axis: y.roll(n, a)  # type: ignore[misc]
        yield f"every output channel stands {where} than its own", lambda y, n=count: y.roll(n, -1)  # type: ignore[misc]
    yield "the output channels come out in the reverse order", lambda y: y.flip(-1)
    yield "the output channels are laid out before the grid, but not shaped so", _channels_first_memory
    yield "a token's flat index is row * rows + column instead of row * columns + column", _misindexed


def _rolled_tokens(y: Tensor, count: int) -> Tensor:
    return y.flatten(1, -2).roll(count, 1).reshape(y.shape)


def _channels_first_memory(y: Tensor) -> Tensor:
    return y.movedim(-1, 1).reshape(y.shape)


def _misindexed(y: Tensor) -> Tensor:
    if y.ndim < 4:
        return y
    rows, columns = y.shape[-3:-1]
    index = (torch.arange(rows)[:, None] * rows + torch.arange(columns)) % (rows * columns)
    return y.flatten(-3, -2).index_select(-2, index.flatten()).reshape(y.shape)


def _sources(found: Tensor, right: Tensor) -> Tensor | None:
    """For every token of one tensor, its place among the tokens of the other, -1 where it is none of them."""
    if found.ndim < 2 or found.shape[-1] != right.shape[-1] or right.shape[-1] < 2:
        return None
    places = {tuple(token): place for place, token in enumerate(right.flatten(0, -2).tolist())}
    if len(places) < right[..., 0].numel():
        return None
    flat = [places.get(tuple(token), -1) for token in found.flatten(0, -2).tolist()]
    return torch.tensor(flat).reshape(found.shape[:-1])


def _in_place_of(sources: Tensor, right: Tensor) -> str | None:
    """Which right token stands in the first wrong place."""
    own = torch.arange(right[..., 0].numel()).reshape(right.shape[:-1])
    if sources.shape != own.shape:
        return None
    first = tuple((sources != own).nonzero()[0].tolist())
    there = tuple(int(i) for i in torch.unravel_index(sources[first], right.shape[:-1]))
    moved = int((sources != own).sum())
    return (
        f"tokens stand in one another's places, {moved} of {own.numel()}: in the place of token {place(first[1:])} of "
        f"sample {first[0]} stands token {place(there[1:])} of sample {there[0]}"
    )


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


def _misread_memory(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """The memory of the input or of the weight is not read where its strides say."""
    for words, misread in _misreadings(case):
        if all(one.found.shape == one.given.right.shape and one.agrees(misread(one.given).right) for one in seen):
            return words
    return None


def _misreadings(case: Case) -> Iterator[tuple[str, Callable[[Given], Given]]]:
    layout = case.input.layout

    def reading(words: str, read: Callable[[Tensor], Tensor]) -> tuple[str, Callable[[Given], Given]]:
        return words, lambda given: replace(given, x=read(stored(given.x, layout)))

    if layout != "contiguous":
        yield reading(
            "the input's memory is read in order, whatever its strides",
            lambda x: _strided(x, dense_strides(x), int(x.storage_offset())),
        )
        yield reading(
            "the input's memory is read in order from its beginning, whatever its strides and offset",
            lambda x: _strided(x, dense_strides(x), 0),
        )
        yield reading(
            "the input's memory is read from its beginning, whatever its offset",
            lambda x: _strided(x, x.stride(), 0),
        )
        yield reading(
            "the channels of a pixel are taken to be adjacent in memory",
            lambda x: _strided(x, [*x.stride()[:-1], 1], int(x.storage_offset())),
        )
        yield reading(
            "an input that is stored channels first is taken for one that has its channels first",
            lambda x: x.reshape(x.shape[0], x.shape[-1], *x.shape[1:-1]).movedim(1, -1),
        )
        yield reading("only the first sample of the memory is read", lambda x: x[:1].expand(x.shape))
    if case.weight_layout == "channels_last":
        kind = CHANNELS_LAST[case.spec.data_dim]

        def in_order(given: Given) -> Given:
            stored = given.weight.to(memory_format=kind)
            return replace(given, weight=_strided(stored, dense_strides(stored), 0))

        yield "the weight's memory is read in order, whatever its strides", in_order


def _strided(x: Tensor, strides: Sequence[int], offset: int) -> Tensor:
    """Memory as it is read with other strides; the tensor itself where that leaves the memory."""
    last = offset + sum((n - 1) * stride for n, stride in zip(x.shape, strides, strict=True))
    inside = (last + 1) * x.element_size() <= x.untyped_storage().nbytes()
    return x.as_strided(x.shape, strides, offset) if inside else x


def dense_strides(x: Tensor) -> list[int]:
    """The strides of a contiguous tensor of the same shape."""
    return [math.prod(x.shape[axis + 1 :]) for axis in range(x.ndim)]


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
    for count in range(1, len(axes) + 1):
        for some in combinations(axes, count):
            named = axes_named([axis - 1 for axis in some])
            yield f"the pixels are read backwards along {named}", lambda x, s=some: x.flip(s)  # type: ignore[misc]
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


# Places and values together.


def _some_places(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """In some places the values are right, and in the others they are one multiple of the right ones."""
    factor, wrong = _multiple(seen)
    if factor is None or bool(wrong.all()):
        return None
    places = block(wrong, nouns(case.spec.data_dim))
    whole = wrong.all(-1)
    if torch.equal(whole, wrong.any(-1)) and (places is None or int(whole[0].sum()) == 1):
        places = places_in_words(whole, case) or places
    return places and f"for {places} the output {'is NaN' if factor != factor else scaled(factor)}"


def _all_places(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """Every value is one multiple of the right one."""
    factor, wrong = _multiple(seen)
    if factor is None or not bool(wrong.all()):
        return None
    # A mean instead of a sum has a name of its own.
    taps, channels = case.spec.patch_size**case.spec.data_dim, case.spec.in_features
    means = [1 / count for count in (taps, channels, taps * channels) if count > 1]
    return None if any(abs(factor / mean - 1) < 1e-6 for mean in means) else f"every output value {scaled(factor)}"


def _multiple(seen: tuple[Seen, ...]) -> tuple[float | None, Tensor]:
    """The one factor of all values that are wrong, and where they are, ``[B, *g, C_out]``."""
    if any(one.found.shape != one.given.right.shape for one in seen):
        return None, torch.empty(0)
    wrong = torch.stack([one.found != one.given.right for one in seen]).any(0)
    ratios = torch.cat([(one.found / one.given.right)[wrong & (one.given.right != 0)] for one in seen])
    if not ratios.numel() or not torch.allclose(ratios, ratios[0].expand_as(ratios), rtol=1e-6, atol=0, equal_nan=True):
        return None, wrong
    factor = float(ratios[0])
    # As good as one: what is wrong is the precision.
    return (None if abs(factor - 1) < 1e-3 else factor), wrong


def places_in_words(mask: Tensor, case: Case) -> str | None:
    """Which samples and tokens a mask ``[B, *g]`` chooses, where that can be said in a few words."""
    each = mask.flatten(1)
    if bool((each == each[:1]).all()) and bool(each.any()) and not bool(each.all()):
        chosen = each[0].nonzero().flatten().tolist()
        if len(chosen) in (1, each.shape[1] - 1):
            return f"{members(chosen, each.shape[1], 'token')} of every sample"
    return block(mask, nouns(case.spec.data_dim)[:-1])


def _neighbours(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """Some tokens have another right token added."""
    if any(one.found.shape != one.given.right.shape for one in seen) or case.spec.out_features < 2:
        return None
    maps = []
    for one in seen:
        extra = one.found - one.given.right
        sources = _sources(extra, one.given.right)
        if sources is None:
            return None
        nothing = (extra == 0).all(-1)
        if bool(((sources < 0) & ~nothing).any()):
            return None
        maps.append(sources.masked_fill(nothing, -1))
    sources = maps[0]
    if not all(torch.equal(sources, other) for other in maps):
        return None
    own = torch.arange(sources.numel()).reshape(sources.shape)
    for axis in range(1, sources.ndim):
        where = f" along axis {axis - 1}"
        before = own.roll(1, axis)
        before.select(axis, 0).fill_(-1)
        if torch.equal(sources, before):
            return f"every token has the one before it{where} added"
        after = own.roll(-1, axis)
        after.select(axis, -1).fill_(-1)
        if torch.equal(sources, after):
            return f"every token has the one after it{where} added"
    added_to = sources >= 0
    receivers = places_in_words(added_to, case)
    at = tuple(added_to.nonzero()[0].tolist())
    there = tuple(int(i) for i in torch.unravel_index(sources[at], sources.shape))
    who = receivers or f"{int(added_to.sum())} of {own.numel()} tokens"
    added = sources.flatten(1)[added_to.flatten(1)] % sources[0].numel()
    if bool((added == added[0]).all()) and torch.equal(
        sources[added_to] // sources[0].numel(), added_to.nonzero()[:, 0]
    ):
        source = members([int(added[0])], sources[0].numel(), "token")
        return f"{who} has {source} added"
    at_words = f"token {place(at[1:])} of sample {at[0]} has token {place(there[1:])} of sample {there[0]}"
    return f"{who} has another token added: {at_words}"


_FINDERS: tuple[Finder, ...] = (
    other_shape,
    _misread_memory,
    _other_bias,
    _some_places,
    _all_places,
    other_weight,
    _other_places,
    other_windows,
    _other_values,
    _neighbours,
    _mixed_up,
    first_difference,
)
