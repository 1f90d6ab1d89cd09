"""What can be reached together, and the cases that reach what drawn ones miss."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchify import Patchify
from properties.cases.case import AUTOCAST, COMPILED, DTYPES, FILLS, Case, Input, Spec, autocasts
from properties.cases.covering import steered
from properties.cases.drawing import draw_cases
from properties.cases.factors import LEVELS, NUMBER, Bools, emptied, levels, marked, named, row, together
from properties.cases.landmarks import landmarks
from properties.cases.numbers import MOST_ELEMENTS
from properties.cases.small_scope import count, small_scope
from properties.cases.space import Space, build, possible
from properties.runs.plan import Plan, make_plan
from properties.runs.sharding import KINDS

ROOT = Path(__file__).parents[2]
EVERYTHING = Space(DTYPES)
BOTH = ("contract", "robust")
EVERY = np.ones((1, len(NUMBER)), dtype=bool)


def table(cases: list[Case], *, compiled: bool, autocast: bool = True, empty: bool = True) -> Bools:
    """The levels of cases that are judged by every property, or by all but some."""
    plain = [levels(case, compiled=compiled) for case in cases]
    # What autocast cannot be judged by stays inapplicable.
    judged = [case for case in cases if autocasts(case.autocast, case.fill.name, case.input.dtype)]
    mixed = [levels(case, compiled=compiled, autocast=True) for case in judged if autocast]
    emptiable = plain if empty and not compiled else []
    return marked(row(where) for where in (*plain, *mixed, *map(emptied, emptiable)))


@cache
def steered_from_nothing(strength: int, *, compiled: bool) -> list[Case]:
    return list(steered([], DTYPES, strength, "tests", compiled=compiled))


def least(level: str) -> int:
    """The least number of a bin."""
    return int(re.findall(r"[0-9]+", level)[0])


def too_dear() -> set[tuple[str, ...]]:
    """Pairs of numbers whose product is among the elements of a tensor, and larger than what a case may cost."""
    pairs = combinations(("patch_size", "windows", "in_features", "out_features", "terms", "batch"), 2)
    found: set[tuple[str, ...]] = set()
    for one, other in pairs:
        # Of these, one number is a factor of the other.
        if other != "terms" or one not in ("patch_size", "in_features"):
            for a, b in product(LEVELS[one], LEVELS[other]):
                if "=" not in (a[0], b[0]) and least(a) * least(b) > MOST_ELEMENTS:
                    found.add((f"{one} {a}", f"{other} {b}"))
    return found


def test_pairs_that_are_impossible() -> None:
    expected = too_dear() | {
        # A sequence has one axis, which is all of them; and torch has no channels_last format for it.
        ("data_dim 1", "remainder some axes"),
        ("data_dim 1", "sizes unequal"),
        ("data_dim 1", "weight layout channels_last"),
        # No stride is smaller than 1, and 1, whatever it divides, is a level of its own.
        ("stride 1", "patch_size 1"),
        ("stride < P, divides P", "patch_size 1"),
        ("stride < P, divides P", "patch_size 2"),
        ("stride < P, does not divide P", "patch_size 1"),
        ("stride < P, does not divide P", "patch_size 2"),
        # Stride 1 leaves nothing over, and equal sizes leave over the same.
        ("stride 1", "remainder some axes"),
        ("stride 1", "remainder all axes"),
        ("remainder some axes", "sizes equal"),
        # One channel is in the level of 1.
        ("patch_size 1", "in_features = P"),
        ("in_features 1", "out_features = in_features"),
        # A sum is as long as a patch has pixels of all channels.
        ("patch_size >= 32", "terms 1-16"),
        ("in_features 17-256", "terms 1-16"),
        ("in_features 257-4096", "terms 1-16"),
        ("in_features 257-4096", "terms 17-256"),
        *(("in_features >= 4097", f"terms {level}") for level in LEVELS["terms"][:-1]),
        ("in_features >= 4097", "out_features = in_features"),
        # The identity weight of so many terms has too many elements.
        *((f"{axis} >= 4097", "fill address") for axis in ("in_features", "out_features", "terms")),
        # One sample cannot be repeated.
        ("batch 1", "layout expanded"),
        ("batch 1", "layout overlapping"),
        # What judges an empty batch does not compile, and knows no autocast.
        *(("batch 0", f"compiled {how}") for how in COMPILED),
        *(("batch 0", f"autocast {low}") for low in AUTOCAST[1:]),
        # Autocast leaves float64 as it is; float16 holds few integers, and neither dtype the largest numbers.
        ("dtype float64", "autocast float16"),
        *((f"fill {fill}", "autocast float16") for fill in FILLS if fill not in ("exact", "poison")),
        ("fill extreme", "autocast bfloat16"),
        # Without a bias, and without gradient mode, there is no such gradient.
        *(("bias no", f"gradients {wanted}") for wanted in LEVELS["gradients"] if "bias" in wanted),
        *(
            (f"gradients {wanted}", f"mode {mode}")
            for wanted in LEVELS["gradients"][1:]
            for mode in ("no_grad", "inference")
        ),
    }
    assert set(named(together(EVERY, 2) & ~possible(EVERYTHING, 2))) == expected
    assert possible(EVERYTHING, 1).all()


@pytest.mark.parametrize(
    ("levels_of_three", "expected"),
    [
        # The identity weight has as many outputs as there are taps of all channels: P**d * C_in.
        (("patch_size 1", "out_features 1", "fill address"), True),
        (("patch_size 2", "out_features 1", "fill address"), False),
        (("patch_size 2", "out_features = in_features", "fill address"), False),
        (("in_features 2-16", "out_features 1", "fill address"), False),
        (("patch_size 1", "out_features = in_features", "fill address"), True),
        # 131,073 pixels cannot be numbered in eight or eleven bits; 4 * 4 * 4 pixels of 4 channels take all of eight.
        (("batch >= 131073", "dtype float32", "fill address"), True),
        (("batch >= 131073", "dtype bfloat16", "fill address"), False),
        (("batch >= 131073", "dtype float16", "fill address"), False),
        (("in_features = P", "dtype bfloat16", "fill address"), True),
        (("data_dim 3", "dtype bfloat16", "fill address"), True),
        # Only an axis of one element can have any stride: of samples, of channels, or of pixels where P = 1.
        (("in_features 1", "batch >= 131073", "layout odd_strides"), True),
        (("patch_size 1", "batch 2-16", "layout odd_strides"), True),
        (("in_features 2-16", "batch 2-16", "layout odd_strides"), True),
        (("in_features = P", "batch 2-16", "layout odd_strides"), False),
        # A stride of 1 leaves nothing over, so one size that is larger is larger by windows.
        (("data_dim 2", "stride 1", "sizes unequal"), True),
        # 8 numbers are the most that a sample of so large a batch may have: 2 * 2 * 2.
        (("data_dim 3", "patch_size 2", "batch >= 131073"), True),
        (("data_dim 3", "patch_size 3-7", "batch >= 131073"), False),
        (("data_dim 3", "stride < P, divides P", "batch >= 131073"), False),
        (("batch 0", "layout odd_strides", "compiled no"), True),
        (("batch >= 131073", "layout sliced", "compiled static"), True),
    ],
)
def test_triples_by_hand(levels_of_three: tuple[str, ...], expected: bool) -> None:
    found = set(named(possible(EVERYTHING, 3)))
    assert levels_of_three in set(named(together(EVERY, 3)))
    assert (levels_of_three in found) is expected


def test_space_follows_what_is_judged() -> None:
    def singles(**changes: Any) -> set[str]:
        missing = ~possible(replace(EVERYTHING, **changes), 1)
        return {name for (name,) in named(missing)}

    assert singles() == set()
    assert singles(emptied=False) == {"batch 0"}
    assert singles(compiled=False) == {"compiled automatic", "compiled static"}
    assert singles(eager=False, emptied=False) == {"compiled no", "batch 0"}
    assert singles(autocast=False) == {"autocast bfloat16", "autocast float16"}
    assert singles(dtypes=("float32",)) == {"dtype float64", "dtype bfloat16", "dtype float16"}


@pytest.mark.parametrize("strength", [2, 3])
def test_everything_that_is_possible_can_be_built(strength: int) -> None:
    plain, compiled = (steered_from_nothing(strength, compiled=judged) for judged in (False, True))
    reached = np.concatenate([table(plain, compiled=False), table(compiled, compiled=True)])
    assert (together(reached, strength) == possible(EVERYTHING, strength)).all()


def test_nothing_that_is_drawn_is_impossible() -> None:
    plain = draw_cases("coverage", 500) + draw_cases("coverage too", 500) + list(landmarks().values())
    for data_dim in (1, 2, 3):
        plain += small_scope(data_dim, DTYPES)
    reached = marked({row(levels(case)) for case in plain})
    assert not (together(reached, 3) & ~possible(EVERYTHING, 3)).any()
    plan = make_plan(Patchify, cases=20_000, seed=7, only=["compiled_values"], strength=0)
    drawn = [case for shard in plan.shards for case in plan.cases_of(shard).values()]
    assert len(drawn) == 60 + 60 + 30
    assert not (together(table(drawn, compiled=True), 3) & ~possible(EVERYTHING, 3)).any()


def reached_by(plan: Plan) -> Bools:
    """The levels of all cases of a plan that are of its domain and not of the small scope."""
    space = plan.space
    return np.concatenate(
        [
            table(
                list(plan.cases_of(shard).values()),
                compiled=shard.startswith("compiled"),
                autocast=space.autocast,
                empty=space.emptied and shard != "landmarks",
            )
            for shard in plan.shards
            if not shard.startswith(("small", "outside"))
        ]
    )


@pytest.mark.parametrize(
    ("of_levels", "strength", "changes"),
    [
        (BOTH, 2, {"seed": 1}),
        (("contract",), 2, {"seed": 3, "cases": 1}),
        (("contract",), 2, {"seed": 1, "cases": 60, "dtypes": ["float32"]}),
        (BOTH, 3, {"seed": 4, "cases": 60, "dtypes": ["bfloat16"], "data_dims": [1]}),
    ],
)
def test_plan_reaches_every_tuple(of_levels: tuple[str, ...], strength: int, changes: dict[str, Any]) -> None:
    plan = make_plan(Patchify, levels=of_levels, strength=strength, **changes)
    reached = reached_by(plan)
    assert named(possible(plan.space, strength) & ~together(reached, strength)) == []
    assert not (together(reached, 3) & ~possible(plan.space, 3)).any()


def kinds(plan: Plan) -> set[str]:
    return {shard.rstrip("0123456789") for shard in plan.shards}


def test_nothing_is_steered_where_nothing_is_drawn() -> None:
    everything = {"steered", "compiled-steered"}
    assert everything <= kinds(make_plan(Patchify, seed=7))
    for changes in ({"cases": 0}, {"strength": 0}):
        assert not everything & kinds(make_plan(Patchify, seed=7, **changes))  # type: ignore[arg-type]
    assert kinds(make_plan(Patchify, seed=7, cases=0)) == {"landmarks", "small1D-", "small2D-", "small3D-"}
    assert kinds(make_plan(Patchify, seed=7, only=["homogeneous"])) == {"random", "steered"}
    compiled = {"compiled1D-", "compiled2D-", "compiled3D-", "compiled-steered"}
    assert kinds(make_plan(Patchify, seed=7, only=["compiled_values"])) == compiled


@pytest.mark.parametrize(("strength", "cases", "compiled"), [(0, 320, 2), (2, 60, 1)])
def test_shards_are_cut_evenly(strength: int, cases: int, compiled: int) -> None:
    plan = make_plan(Patchify, seed=7, cases=cases, strength=strength, dtypes=["float64"])
    sizes: dict[str, list[int]] = {}
    for shard in plan.shards:
        found = plan.cases_of(shard)
        assert list(found) == (list(found) if shard == "landmarks" else [f"{shard}/{i}" for i in range(len(found))])
        sizes.setdefault(shard.rstrip("0123456789"), []).append(len(found))
    for kind, most in KINDS.items():
        *full, last = sizes.get(kind, [1])
        assert set(full) <= {most}
        assert 0 < last <= most
    assert sum(sizes["random"]) == cases
    # One in so many of sequences, images and volumes, rounded up.
    assert [sum(sizes[f"compiled{data_dim}D-"]) for data_dim in (1, 2, 3)] == [compiled] * 3


def test_compilations_are_bounded() -> None:
    plan = make_plan(Patchify, seed=7, cases=10**7, only=["compiled_values"], strength=0)
    found = {shard: len(plan.cases_of(shard)) for shard in plan.shards}
    assert set(found.values()) == {4, 2}
    assert [sum(n for shard, n in found.items() if f"{data_dim}D" in shard) for data_dim in (1, 2, 3)] == [60, 60, 30]


@pytest.mark.parametrize(("data_dim", "margin"), [(1, 0), (2, 0), (3, 0), (2, 1)])
def test_small_scope_is_cut_into_shards(data_dim: int, margin: int) -> None:
    plan = make_plan(Patchify, seed=7, cases=0, only=["grid_shape"], scope_margin=margin)
    shards = [shard for shard in plan.shards if shard.startswith(f"small{data_dim}D-")]
    parts = [list(plan.cases_of(shard).values()) for shard in shards]
    whole = list(small_scope(data_dim, DTYPES, margin))
    assert [case for part in parts for case in part] == whole
    assert len(whole) == count(data_dim, margin)


def test_what_is_judged_changes_no_case() -> None:
    """A failure is found again by a run of the property alone, whatever ran beside it at first."""
    plan, alone = (make_plan(Patchify, seed=7, levels=BOTH, only=only) for only in (None, ["homogeneous"]))
    shards = [shard for shard in plan.shards if shard.startswith(("random", "steered"))]
    assert shards == list(alone.shards)
    assert [plan.cases_of(shard) for shard in shards] == [alone.cases_of(shard) for shard in shards]


def test_long_runs_look_at_their_first_cases() -> None:
    long, short = (make_plan(Patchify, seed=7, cases=cases, only=["homogeneous"]) for cases in (10**6, 300))
    assert long.cases_of("steered0") == short.cases_of("steered0")


def test_tf32_is_steered_on_cuda_only() -> None:
    plan = make_plan(Patchify, seed=7, cases=1, dtypes=["float32"])
    on_cpu = plan.cases_of("steered0").values()
    on_cuda = replace(plan, device="cuda").cases_of("steered0").values()
    assert [replace(case, tf32=False) for case in on_cuda] == list(on_cpu)
    assert any(case.tf32 for case in on_cuda)


def test_numbers_follow_from_the_data_seed() -> None:
    where = levels(Case(Spec(2, 3, 2, 3, 2), Input(2, (4, 5))))
    cases = [build(where, seed) for seed in range(20)]
    assert cases == [build(where, seed) for seed in range(20)]
    assert {row(levels(case)) for case in cases} == {row(where)}
    assert [case.fill.seed for case in cases] == list(range(20))
    assert len({(case.spec, case.input) for case in cases}) > 10


def test_expensive_cases_are_few() -> None:
    plain, compiled = (steered_from_nothing(2, compiled=judged) for judged in (False, True))
    assert not any(case.compiled == COMPILED[1] for case in plain)
    # Nothing needs more than each layout, fill and cotangent once for each of the two ways to compile.
    assert len(compiled) < 2 * 35
    assert len(plain) < 110
    huge = [case for case in plain if case.input.batch > 65_535]
    assert 7 <= len(huge) < 20
    assert all(np.prod(case.input_shape[1:]) <= 32 for case in huge)


_SCRIPT = """
import json
from properties.runs.plan import make_plan
plan = make_plan("patchify:Patchify", seed=7, cases=60)
shards = [shard for shard in plan.shards if "steered" in shard]
print(json.dumps({shard: [case.to_json() for case in plan.cases_of(shard).values()] for shard in shards}))
"""


def test_same_in_every_process() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1", "CI": "" if "CI" in os.environ else "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(finished.stdout)
    plan = make_plan("patchify:Patchify", seed=7, cases=60)
    assert list(found) == [shard for shard in plan.shards if "steered" in shard]
    for shard, cases in found.items():
        assert [Case.from_json(case) for case in cases] == list(plan.cases_of(shard).values())
