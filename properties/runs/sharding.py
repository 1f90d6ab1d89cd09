"""Cuts the cases of a run into shards: which there are of each kind, and which cases each of them holds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from properties.cases import small_scope
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case
from properties.cases.covering import steered
from properties.cases.domain import Domain
from properties.cases.drawing import draw_cases
from properties.cases.drawing_histories import draw_histories
from properties.cases.landmarks import compiled_landmarks, inside
from properties.runs.shard_names import (
    COMPILED,
    COMPILED_STEERED,
    COPIES,
    HISTORIES,
    HUGE,
    LANDMARKS,
    OUTSIDE,
    RANDOM,
    REGRESSIONS,
    SMALL,
    STEERED,
    data_dim_of,
    is_compiled,
    is_small,
    kind_of,
    name_of,
    number_of,
)

# Cases in a shard of each kind, at most. Constants, so that a run has the same cases however many workers share it; and
# so few that workers share the last ones evenly.
KINDS = {
    RANDOM: 50,
    HISTORIES: 50,
    COPIES: 50,
    **dict.fromkeys(SMALL.values(), 500),
    STEERED: 50,
    **dict.fromkeys((*COMPILED.values(), COMPILED_STEERED), 4),
}
# The kinds in the order in which they are run: what costs little and detects much comes first.
_ORDER = (
    REGRESSIONS,
    RANDOM,
    HISTORIES,
    COPIES,
    *SMALL.values(),
    LANDMARKS,
    *COMPILED.values(),
    STEERED,
    HUGE,
    OUTSIDE,
    COMPILED_STEERED,
)
# Compiling takes as long as hundreds of other checks, and for volumes longer still. By data_dim: one case in so many is
# drawn once more to be compiled, and how many are at most, since beyond them time is better spent on other cases.
CASES_FOR_A_COMPILATION = {1: 300, 2: 300, 3: 300}
# Histories are small, and what they meet is rare. For so many cases one is drawn with copies in it.
HISTORIES_FOR_A_CASE = 2
CASES_FOR_A_COPY = 3
MOST_COMPILATIONS = {1: 60, 2: 60, 3: 30}
# Shards of drawn cases whose gaps steered cases fill: more would leave fewer gaps, but any worker of a long run must
# draw them to know its steered cases.
SHARDS_LOOKED_AT = 6


@dataclass(frozen=True)
class Asked:
    """What the cases of a run follow from, and nothing else does; ``properties.runs.plan`` says what it means."""

    seed: int
    cases: int
    device: str
    dtypes: tuple[str, ...]
    domain: Domain
    strength: int
    scope_margin: int
    scope_sample: int
    chosen: Mapping[str, tuple[Case, ...]]


def shards(asked: Asked, kind: str) -> list[str]:
    """The names of the shards of a kind."""
    if kind == RANDOM:
        count = asked.cases
    elif kind == HISTORIES:
        count = HISTORIES_FOR_A_CASE * asked.cases
    elif kind == COPIES:
        count = _copies(asked)
    elif is_small(kind):
        count = len(_shapes(asked, kind))
    else:
        count = len(_every(asked, kind))
    return [name_of(kind, number) for number in range(math.ceil(count / KINDS[kind]))]


def cases_of(asked: Asked, shard: str) -> tuple[Case, ...]:
    """The cases of a shard: a function of seed, domain, dtypes, number of cases, strength, margin and device alone."""
    kind = kind_of(shard)
    first, most = number_of(shard) * KINDS[kind], KINDS[kind]
    if kind == RANDOM:
        found = _random(asked.seed, shard, min(most, asked.cases - first), asked.dtypes, asked.domain)
    elif kind in (HISTORIES, COPIES):
        count = HISTORIES_FOR_A_CASE * asked.cases if kind == HISTORIES else _copies(asked)
        drawn = _histories(asked.seed, shard, min(most, count - first), asked.dtypes)
        found = tuple(map(asked.domain.nearest, drawn))
    elif is_small(kind):
        shapes = shapes_of(asked, shard)
        found = tuple(
            small_scope.small_scope(data_dim_of(kind), asked.dtypes, asked.scope_margin, shapes, asked.domain)
        )
    else:
        found = _every(asked, kind)[first : first + most]
    if asked.device.startswith("cuda") and kind in (RANDOM, STEERED):
        found = tuple(_with_tf32(case) if i % 2 else case for i, case in enumerate(found))
    return found


def shapes_of(asked: Asked, shard: str) -> range:
    """The shapes of a shard of the small scope, by their numbers."""
    first = number_of(shard) * KINDS[kind_of(shard)]
    return _shapes(asked, shard)[first : first + KINDS[kind_of(shard)]]


def _shapes(asked: Asked, kind: str) -> range:
    """The shapes of the small scope that are checked, by their numbers."""
    every = small_scope.count(data_dim_of(kind), asked.scope_margin, asked.domain)
    return range(asked.seed % asked.scope_sample, every, asked.scope_sample)


def _copies(asked: Asked) -> int:
    """How many histories are drawn with copies in them."""
    return math.ceil(asked.cases / CASES_FOR_A_COPY)


def turn(shard: str) -> tuple[int, int]:
    """When a shard is run: after the first ones of all kinds the second ones, and so on."""
    kind = kind_of(shard)
    return (number_of(shard) if kind in KINDS else 0), _ORDER.index(kind)


def _every(asked: Asked, kind: str) -> tuple[Case, ...]:
    """The cases of all shards of a kind that is compiled or steered."""
    if kind in (STEERED, COMPILED_STEERED):
        return steered_cases(asked, kind)
    return _compiled(asked.seed, data_dim_of(kind), asked.cases, asked.dtypes, asked.domain)


def steered_cases(asked: Asked, kind: str) -> tuple[Case, ...]:
    """The steered cases of a run, in shards of a kind."""
    if kind in asked.chosen:
        return asked.chosen[kind]
    return _steered(asked.seed, kind, asked.cases, asked.dtypes, asked.strength, asked.domain)


@lru_cache(maxsize=2 * SHARDS_LOOKED_AT)
def _random(seed: int, shard: str, count: int, dtypes: tuple[str, ...], domain: Domain) -> tuple[Case, ...]:
    return tuple(map(domain.nearest, draw_cases(f"{seed}/{shard}", count, dtypes)))


@lru_cache(maxsize=2 * SHARDS_LOOKED_AT)
def _histories(seed: int, shard: str, count: int, dtypes: tuple[str, ...]) -> tuple[Case, ...]:
    return tuple(draw_histories(f"{seed}/{shard}", count, dtypes, copies=kind_of(shard) == COPIES))


@cache
def _compiled(seed: int, data_dim: int, cases: int, dtypes: tuple[str, ...], domain: Domain) -> tuple[Case, ...]:
    """The drawn cases that are compiled."""
    if cases == 0 or data_dim not in domain.data_dims:
        return ()
    count = min(math.ceil(cases / CASES_FOR_A_COMPILATION[data_dim]), MOST_COMPILATIONS[data_dim])
    # Hypothesis draws the simplest case first, a single pixel: that one is not worth a compilation.
    drawn = draw_cases(f"{seed}/compiled{data_dim}D", count + 1, dtypes, (data_dim,))[1:]
    return tuple(domain.nearest(_compilable(case, i, dtypes)) for i, case in enumerate(drawn))


@cache
def _steered(
    seed: int, kind: str, cases: int, dtypes: tuple[str, ...], strength: int, domain: Domain
) -> tuple[Case, ...]:
    """The cases that reach what drawn ones miss: of those that are compiled, models among them, or of the others."""
    if cases == 0 or strength == 0:
        return ()
    compiled, chosen = is_compiled(kind), tuple[Case, ...]()
    if compiled:
        named = {str(number): case for number, case in enumerate(compiled_landmarks(dtypes))}
        chosen = tuple(inside(named, domain).values())
        drawn = [*chosen, *(case for d in (1, 2, 3) for case in _compiled(seed, d, cases, dtypes, domain))]
    else:
        most = KINDS[RANDOM]
        counts = [min(most, cases - first) for first in range(0, min(cases, SHARDS_LOOKED_AT * most), most)]
        drawn = [
            case for i, count in enumerate(counts) for case in _random(seed, name_of(RANDOM, i), count, dtypes, domain)
        ]
    return chosen + steered(drawn, dtypes, strength, f"{seed}/{kind}", compiled=compiled, domain=domain)


def _with_tf32(case: Case) -> Case:
    """The case with TF32 allowed, where that means something and its values survive it."""
    return replace(case, tf32=case.input.dtype == "float32" and case.fill.name != "address")


def _compilable(case: Case, number: int, dtypes: Sequence[str]) -> Case:
    """A drawn case as it is compiled.

    There are few of these, so what matters to a compiler takes turns instead of being drawn: the dtype, static sizes,
    both layouts, gradients; and what would leave little to compare is left to the cases that are steered to it.
    """
    every = tuple(name for name in PARAMETERS_AND_INPUT if name != "bias" or case.spec.bias)
    learning = number % 2 == 0
    return replace(
        case,
        input=replace(
            case.input,
            batch=min(case.input.batch, 8),
            dtype=dtypes[number % len(dtypes)],
            layout="contiguous" if number % 4 == 0 else case.input.layout,
        ),
        fill=replace(case.fill, name=case.fill.name if case.fill.name in ("real", "sparse") else "exact"),
        weight_layout=case.weight_layout if number % 4 == 3 else "plain",
        backward=Backward(
            every if learning else case.backward.requires_grad,
            "random" if case.backward.cotangent == "zero" else case.backward.cotangent,
        ),
        compiled="static" if number % 3 == 1 else "automatic",
        mode="train" if learning else case.mode,
    )
