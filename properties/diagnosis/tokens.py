"""Right tokens in other places, in some places wrong by one factor, or with others added."""

from collections.abc import Callable, Iterator
from itertools import combinations

import torch
from torch import Tensor

from properties.cases.case import Case
from properties.diagnosis.probe import Look, Seen
from properties.diagnosis.words import backwards, block, members, place, scaled


def nouns(data_dim: int) -> list[str]:
    """What the indices of an output number."""
    return ["sample", *_along("token", data_dim), "output channel"]


def _along(noun: str, data_dim: int) -> list[str]:
    return [noun] if data_dim == 1 else [f"{noun} along axis {axis}" for axis in range(data_dim)]


# The tokens: right ones in other places.


def other_places(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """Every token that comes out is the right one for another place."""
    for words, move in _moves(case):
        if all(one.found.shape == one.given.right.shape and one.agrees(move(one.given.right)) for one in seen):
            return words
    return None


def mixed_up(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
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
    yield from backwards(axes, "the tokens run")
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


# Places and values together.


def some_places(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """In some places the values are right, and in the others they are one multiple of the right ones."""
    factor, wrong = _multiple(seen)
    if factor is None or bool(wrong.all()):
        return None
    places = block(wrong, nouns(case.spec.data_dim))
    whole = wrong.all(-1)
    if torch.equal(whole, wrong.any(-1)) and (places is None or int(whole[0].sum()) == 1):
        places = places_in_words(whole, case) or places
    return places and f"for {places} the output {'is NaN' if factor != factor else scaled(factor)}"


def all_places(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
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


def neighbours(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
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
