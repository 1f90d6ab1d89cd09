"""Drawing cases: the same sequence everywhere, other sequences for other seeds, and every corner reached."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from properties.cases.case import PARAMETERS_AND_INPUT, SHARING, Backward, Case, Fill, Spec
from properties.cases.drawing import cases, draw_cases, inputs, sizes, specs
from properties.cases.factors import LEVELS, levels
from properties.cases.small_scope import bounds, small_scope
from properties.runs.plan import make_plan

T = TypeVar("T")


@cache
def drawn() -> list[Case]:
    """Half a thousand cases, drawn once."""
    return draw_cases("7/random0", 500)


# Draws the same as this process, and a few plain integers, which Hypothesis may take from constants in the source.
_SCRIPT = """
import json, sys
sys.path.insert(0, {folder!r})
{importing}
from hypothesis import Phase, given, seed, settings, strategies as st
from properties.cases.drawing import draw_cases

integers = []

@seed(0)
@settings(max_examples=300, database=None, derandomize=False, phases=(Phase.generate,))
@given(st.integers(0, 2**60))
def collect(integer):
    integers.append(integer)

collect()
print(json.dumps([[case.to_json() for case in draw_cases("7/random0", 60)], integers]))
"""


def drawn_elsewhere(folder: Path, importing: str = "", **environment: str) -> tuple[list[Case], list[int]]:
    """The cases that another process draws, and the plain integers."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SCRIPT.format(folder=str(folder), importing=importing)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "CI"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    found, integers = json.loads(finished.stdout)
    return [Case.from_json(case) for case in found], integers


def test_same_in_every_process(tmp_path: Path) -> None:
    constants = [int.from_bytes(hashlib.sha256(bytes([i])).digest()[:4], "little") for i in range(200)]
    (tmp_path / "constants.py").write_text(f"NUMBERS = {constants}\n")
    here = draw_cases("7/random0", 60)
    plain, integers = drawn_elsewhere(tmp_path, PYTHONHASHSEED="1")
    assert plain == here
    in_ci, _ = drawn_elsewhere(tmp_path, PYTHONHASHSEED="2", CI="true")
    assert in_ci == here
    with_constants, other_integers = drawn_elsewhere(tmp_path, "import constants")
    assert with_constants == here
    # The trap is real: Hypothesis has found the constants, and drawn other integers for the same seed.
    assert other_integers != integers
    assert set(other_integers) & set(constants)


def test_same_whatever_was_drawn_before() -> None:
    random.seed(3)
    find(st.integers(), lambda integer: integer > 10)
    assert draw_cases("7/random0", 40) == draw_cases("7/random0", 40)


def test_random_state_of_the_caller_is_kept() -> None:
    random.seed(3)
    before = random.getstate()
    draw_cases("7/random0", 5)
    assert random.getstate() == before


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_number_of_cases(count: int) -> None:
    assert len(draw_cases("3/random1", count)) == count


def test_other_seeds_and_shards_give_other_sequences() -> None:
    sequences = {tuple(draw_cases(f"{seed}/{shard}", 5)) for seed in range(4) for shard in ("random0", "random1")}
    assert len(sequences) == 8


def test_nearly_all_cases_are_distinct() -> None:
    assert len(drawn()) == 500
    assert len({(case.spec, case.input.sizes) for case in drawn()}) >= 450


def test_data_seeds_are_unique() -> None:
    assert len({case.fill.seed for case in drawn()}) == 500
    expected = [int.from_bytes(hashlib.sha256(f"7/random0/{i}".encode()).digest()[:4], "little") for i in range(500)]
    assert [case.fill.seed for case in drawn()] == expected


def test_every_cell_is_reached() -> None:
    reached = {axis: set[str]() for axis in LEVELS}
    for case in (*drawn(), *draw_cases("8/random0", 1000)):
        for axis, level in levels(case).items():
            reached[axis].add(level)
    missing = {(axis, level) for axis, possible in LEVELS.items() for level in possible if level not in reached[axis]}
    # A plan, not the generator, decides which cases are compiled; no batch is empty; autocast is for its own law.
    decided = {("batch", "0"), ("compiled", "automatic"), ("compiled", "static")}
    decided |= {("autocast", "bfloat16"), ("autocast", "float16")}
    # The largest numbers take most of what a case may cost, and are drawn once in a thousand cases or less.
    assert decided <= missing <= decided | {("windows", ">= 131073"), ("batch", ">= 131073")}
    assert {axis: found - set(LEVELS[axis]) for axis, found in reached.items() if found - set(LEVELS[axis])} == {}


def test_only_the_dtypes_and_dimensions_that_are_asked_for() -> None:
    found = draw_cases("1", 100, ("float16", "float32"), (3,))
    assert {case.input.dtype for case in found} == {"float16", "float32"}
    assert {case.spec.data_dim for case in found} == {3}


@given(specs(), st.data())
@settings(max_examples=200)
def test_sizes_are_built_from_windows_and_remainder(spec: Spec, data: st.DataObject) -> None:
    found = data.draw(sizes(spec))
    assert len(found) == spec.data_dim
    most = {1: 7, 2: 4, 3: 3}[spec.data_dim]
    for size in found:
        windows, remainder = divmod(size - spec.patch_size, spec.effective_stride)
        assert 0 <= windows < most
        assert 0 <= remainder < spec.effective_stride


@given(cases())
@settings(max_examples=200)
def test_layouts_get_the_batches_that_they_need(case: Case) -> None:
    assert case.input.layout not in SHARING or case.input.batch > 1
    assert case.input.layout != "odd_strides" or 1 in (case.input.batch, case.spec.in_features, *case.input.sizes)
    assert case.spec.bias or "bias" not in case.backward.requires_grad


def test_every_subset_of_gradients_is_drawn() -> None:
    found = {case.backward.requires_grad for case in drawn()}
    every = {
        tuple(name for bit, name in enumerate(PARAMETERS_AND_INPUT) if number >> bit & 1) for number in range(2**3)
    }
    assert found == every


def smallest(strategy: st.SearchStrategy[T], condition: Callable[[T], bool]) -> T:
    # Without the phase that explains: what that tries last, find would return.
    phases = (Phase.generate, Phase.shrink)
    return find(strategy, condition, settings=settings(max_examples=2000, phases=phases), random=random.Random(0))


def test_strategies_shrink_under_plain_given() -> None:
    assert smallest(cases(), lambda case: True) == Case(Spec(bias=True), backward=Backward((), "random"))
    gap = smallest(cases(), lambda case: case.spec.effective_stride > case.spec.patch_size)
    assert (gap.spec.data_dim, gap.spec.patch_size, gap.spec.stride, gap.input.sizes) == (1, 1, 2, (1,))
    uneven = smallest(cases(), lambda case: case.input.sizes[0] != case.input.sizes[-1])
    assert (uneven.spec.data_dim, uneven.spec.patch_size, sorted(uneven.input.sizes)) == (2, 1, [1, 2])
    half = smallest(cases(), lambda case: case.input.dtype == "float16")
    assert half.input.sizes == (1,)
    assert smallest(cases(), lambda case: case.fill.name == "poison").fill == Fill("poison", 0)


def test_parts_shrink_too() -> None:
    spec = smallest(specs(), lambda spec: spec.data_dim == 3)
    assert (spec.in_features, spec.out_features, spec.patch_size, spec.stride) == (1, 1, 1, None)
    given_input = smallest(inputs(spec, 1, (1, 1, 1), ("bfloat16",)), lambda given: given.layout == "sliced")
    assert (given_input.batch, given_input.sizes, given_input.dtype) == (1, (1, 1, 1), "bfloat16")


def test_tf32_is_drawn_on_cuda_only() -> None:
    plan = make_plan(lambda: None, cases=300, seed=7)
    shards = [shard for shard in plan.shards if shard.startswith("random")]
    on_cpu = [case for shard in shards for case in plan.cases_of(shard).values()]
    on_cuda = [case for shard in shards for case in replace(plan, device="cuda").cases_of(shard).values()]
    assert [replace(case, tf32=False) for case in on_cuda] == on_cpu
    in_float32 = [case.tf32 for case in on_cuda if case.input.dtype == "float32" and case.fill.name != "address"]
    assert in_float32.count(True) > 20 < in_float32.count(False)
    assert not any(case.tf32 for case in on_cpu)


@pytest.mark.parametrize("data_dim", [1, 2, 3])
def test_small_scope_grows_by_its_margin(data_dim: int) -> None:
    plain, wider = (list(small_scope(data_dim, ("float64",), margin)) for margin in (0, 1))
    assert set(plain) < set(wider)
    for margin, found in ((0, plain), (1, wider)):
        most = bounds(data_dim, margin)
        assert max(case.spec.patch_size for case in found) == most[0]
        assert max(case.spec.effective_stride for case in found) == most[1]
        assert max(size for case in found for size in case.input.sizes) == most[2]
