"""Leads a run to the pairs or triples of levels that its drawn cases miss.

Greedy, as in the covering arrays of combinatorial testing: take the missing tuple that costs most to reach, choose the
other levels of its case so that it reaches as much else as possible, strike out all that it reaches, and go on until
nothing is missing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from properties.cases import generator
from properties.cases.case import Case
from properties.cases.domain import WHOLE, Domain
from properties.cases.factors import LEVELS, NUMBER, NUMBERED, Bools, emptied, levels, marked, row, together
from properties.cases.space import BESIDE, Space, boxes, build, possible

# Cases that are tried for each one that is chosen: more need fewer cases, but take longer to choose.
_CANDIDATES = 8
_TIES = 2**20
# Hundredths of a second that it takes to judge a case, roughly; what a tuple costs is what the cheapest case costs that
# reaches it. Integers, so that no sum of them depends on its order, which differs between machines.
_COST, _COST_HUGE, _COST_COMPILED, _COST_STATIC_VOLUME, _COST_AUTOMATIC_VOLUME = 3, 100, 500, 1000, 3000

_ALONG = {factor: [NUMBER[factor, level] for level in along] for factor, along in LEVELS.items()}
_FACTOR_OF = {number: factor for factor, numbers in _ALONG.items() for number in numbers}
_EMPTY, _VOLUME = NUMBER["batch", "0"], NUMBER["data_dim", "3"]
_HUGE = [NUMBER[factor, level] for factor in ("windows", "batch") for level in LEVELS[factor][-2:]]
_AUTOMATIC, _STATIC = NUMBER["compiled", "automatic"], NUMBER["compiled", "static"]


def steered(
    drawn: Sequence[Case],
    dtypes: tuple[str, ...],
    strength: int,
    seed: str,
    *,
    compiled: bool,
    domain: Domain = WHOLE,
) -> tuple[Case, ...]:
    """Cases that reach, together with drawn ones, all that is possible.

    A function of the arguments alone: not of the machine, the process or the order of a hash. It counts on every
    property, since what is steered must not depend on those of a run: then a run of one property alone has the same
    cases, and finds its failures again. So cases that are not compiled count as judged with an empty batch, too.

    Args:
        drawn: other cases of the run.
        dtypes: those of the run.
        strength: how many levels come together: 2 for pairs, 3 for triples.
        seed: what numbers and values follow from.
        compiled: whether the cases are those that are judged under a compiler, or the others.
        domain: what the layer is for.
    """
    space = Space(dtypes, eager=not compiled, compiled=compiled, emptied=not compiled, domain=domain)
    return tuple(_filled(space, _reached(drawn, compiled), strength, seed))


def _reached(cases: Sequence[Case], compiled: bool) -> Bools:
    """The levels of cases, bool ``[rows, levels]``."""
    plain, mixed = ([levels(case, compiled=compiled, autocast=judged) for case in cases] for judged in (False, True))
    return marked(row(where) for where in (*plain, *mixed, *(() if compiled else map(emptied, plain))))


def _filled(space: Space, reached: Bools, strength: int, seed: str) -> Iterator[Case]:
    """Cases that reach all that is possible and has not been reached."""
    missing = _costs(strength) * (possible(space, strength) & ~together(reached, strength))
    if not space.eager:
        # What a compiler has no part in is left to cases that are not compiled.
        missing *= _holding(_AUTOMATIC, strength) | _holding(_STATIC, strength)
    # By levels in any order.
    missing = np.sum([missing.transpose(order) for order in permutations(range(strength))], axis=0)
    number = 0
    while missing.any():
        first = [int(level) for level in np.unravel_index(np.argmax(missing), missing.shape)]
        ties = generator.integers(_data_seed(seed, number), "ties", _CANDIDATES * len(NUMBER), 0, _TIES - 1)
        left = _within(boxes(space), first)
        candidates = [_extended(space, left, first, missing, few) for few in ties.reshape(_CANDIDATES, -1)]
        best = max(candidates, key=lambda chosen: int(missing[_among(chosen, strength)].sum()))
        missing[_among(best, strength)] = 0
        where = dict(NUMBERED[level] for level in best if level != _EMPTY)
        yield build(where, _data_seed(seed, number), space.domain)
        number += 1


def _within(tables: tuple[Bools, Bools], chosen: list[int]) -> tuple[Bools, Bools]:
    """The boxes of two tables, bool ``[boxes, levels]``, from which some levels can be chosen."""
    numeric, beside = tables
    for level in chosen:
        if _FACTOR_OF[level] in BESIDE:
            beside = beside[beside[:, level]]
        else:
            numeric = numeric[numeric[:, level]]
    return numeric, beside


def _extended(
    space: Space,
    left: tuple[Bools, Bools],
    first: list[int],
    missing: NDArray[np.int64],
    ties: NDArray[np.int64],
) -> list[int]:
    """A level along every factor, those of ``first`` among them, chosen one by one for what they reach with the others.

    ``left`` holds the boxes from which those can be chosen. ``ties``, a number below ``_TIES`` for each level, decides
    between levels that reach as much. Where cases are judged with an empty batch, too, that level comes on top.
    """
    settled = np.zeros(len(NUMBER), dtype=bool)
    settled[_EMPTY] = True
    # What makes a case expensive is left to the tuples that need it.
    dear = np.zeros(len(NUMBER), dtype=bool)
    dear[_HUGE if space.eager else [*_HUGE, _VOLUME]] = True
    chosen = [_EMPTY] if space.emptied else []
    # What each level would reach together with those that are chosen.
    gains = sum((_gains(missing, level, []) for level in chosen), np.zeros(len(NUMBER), dtype=np.int64))
    turn = [level for level in first if level != _EMPTY]
    while len(chosen) < len(LEVELS) + space.emptied:
        if turn:
            level = turn.pop()
        else:
            open_to = ~settled & (left[0].any(axis=0) | left[1].any(axis=0))
            cheap = open_to & ~dear
            level = int(np.where(cheap if cheap.any() else open_to, gains * _TIES + ties, -1).argmax())
            left = _within(left, [level])
        gains += _gains(missing, level, chosen)
        chosen.append(level)
        settled[_ALONG[_FACTOR_OF[level]]] = True
    return chosen


def _gains(missing: NDArray[np.int64], level: int, chosen: list[int]) -> NDArray[np.int64]:
    """What each level reaches more once another one has been added to those that are chosen, in any order of them."""
    gains, others = missing[level], missing.ndim - 2
    for _ in range(others):
        gains = gains[chosen].sum(axis=0)
    return np.asarray((others + 1) * gains)


def _costs(strength: int) -> NDArray[np.int64]:
    """What each tuple costs, by the numbers of its levels."""
    volume, automatic, static = (_holding(level, strength) for level in (_VOLUME, _AUTOMATIC, _STATIC))
    huge = np.logical_or.reduce([_holding(level, strength) for level in _HUGE])
    return np.select(
        [volume & automatic, volume & static, automatic | static, huge],
        [_COST_AUTOMATIC_VOLUME, _COST_STATIC_VOLUME, _COST_COMPILED, _COST_HUGE],
        _COST,
    )


def _holding(level: int, strength: int) -> Bools:
    """The tuples that hold a level."""
    return np.asarray(np.any(np.indices((len(NUMBER),) * strength) == level, axis=0))


def _among(chosen: list[int], strength: int) -> tuple[NDArray[np.intp], ...]:
    """The index of all tuples of some levels."""
    return np.ix_(*[np.array(chosen, dtype=np.intp)] * strength)


def _data_seed(seed: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "little")
