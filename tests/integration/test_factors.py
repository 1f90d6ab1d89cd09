"""Cells of the parameter space: where a case falls, what comes together, and what a report says of it."""

import io
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from patchify import Patchify
from properties import Report, verify
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.cases.drawing import draw_cases
from properties.cases.factors import LEVELS, NUMBER, Bools, emptied, levels, marked, named, row, together
from properties.cases.landmarks import landmarks
from properties.reports.text import print_report
from properties.runs.result import CaseResult, ShardResult, gather
from properties.trials.verdict import Failed, Inapplicable, Passed, Verdict

# A value of every axis, in the order of the table.
IMAGES = Case(
    Spec(3, 8, 2, 4, stride=3, bias=True),
    Input(2, (7, 8), "float32", "sliced"),
    Fill("real", 5),
    "channels_last",
    Backward(("weight",), "ones"),
    compiled="static",
)
CELLS_OF_IMAGES = {
    "data_dim": "2",
    "stride": "< P, does not divide P",
    "patch_size": "3-7",
    "remainder": "some axes",
    "sizes": "unequal",
    "windows": "2-16",
    "in_features": "2-16",
    "out_features": "2-16",
    "terms": "17-256",
    "batch": "2-16",
    "bias": "yes",
    "dtype": "float32",
    "layout": "sliced",
    "origin": "leaf",
    "weight layout": "channels_last",
    "fill": "real",
    "gradients": "weight",
    "cotangent": "ones",
    "mode": "train",
    "autocast": "off",
    "compiled": "no",
}


def spec(**changes: Any) -> Case:
    return replace(IMAGES, spec=replace(IMAGES.spec, **changes))


def given(**changes: Any) -> Case:
    return replace(IMAGES, input=replace(IMAGES.input, **changes))


def wanting(*names: str) -> Case:
    return replace(IMAGES, backward=Backward(names, "ones"))


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        (IMAGES, {}),
        (spec(stride=1), {"stride": "1", "remainder": "no axis", "windows": "17-4096"}),
        (spec(stride=2), {"stride": "< P, divides P"}),
        (spec(stride=4), {"stride": "= P"}),
        (spec(stride=None), {"stride": "= P"}),
        (spec(stride=5), {"stride": "> P", "remainder": "all axes", "windows": "1"}),
        (
            spec(patch_size=1, stride=1),
            {"stride": "= P", "patch_size": "1", "remainder": "no axis", "windows": "17-4096", "terms": "1-16"},
        ),
        (spec(patch_size=2), {"stride": "> P", "patch_size": "2", "terms": "1-16"}),
        (spec(patch_size=7, stride=7), {"stride": "= P", "windows": "1"}),
        (
            spec(patch_size=3),
            {"stride": "= P", "remainder": "all axes", "in_features": "= P"},
        ),
        (given(sizes=(7, 7)), {"remainder": "no axis", "sizes": "equal"}),
        (given(sizes=(8, 8)), {"remainder": "all axes", "sizes": "equal"}),
        (given(sizes=(8, 9)), {"remainder": "all axes"}),
        (spec(in_features=1), {"in_features": "1", "terms": "1-16"}),
        (spec(in_features=4), {"in_features": "= P"}),
        (spec(out_features=1), {"out_features": "1"}),
        (spec(out_features=3), {"out_features": "= in_features"}),
        (spec(in_features=1, out_features=1), {"in_features": "1", "out_features": "1", "terms": "1-16"}),
        (spec(bias=False), {"bias": "no"}),
        (given(batch=1), {"batch": "1"}),
        (given(batch=17), {"batch": "17-4096"}),
        (given(batch=2**17, sizes=(4, 5)), {"batch": "4097-131072", "windows": "1"}),
        (given(batch=2**17 + 1, sizes=(4, 5)), {"batch": ">= 131073", "windows": "1"}),
        (spec(stride=15), {"stride": "> P", "windows": "1", "remainder": "all axes"}),
        (spec(stride=16), {"stride": ">= 4 P", "windows": "1", "remainder": "all axes"}),
        (given(origin="result"), {"origin": "result"}),
        (replace(IMAGES, mode="eval"), {"mode": "eval"}),
        (wanting(), {"gradients": "none"}),
        (wanting(*PARAMETERS_AND_INPUT), {"gradients": "input + weight + bias"}),
        (wanting("input", "weight"), {"gradients": "input + weight"}),
    ],
)
def test_levels_of_a_case(case: Case, changes: dict[str, str]) -> None:
    assert levels(case) == CELLS_OF_IMAGES | changes


def test_levels_under_a_compiler_and_of_an_empty_batch() -> None:
    assert levels(IMAGES, compiled=True) == CELLS_OF_IMAGES | {"compiled": "static"}
    assert emptied(levels(IMAGES)) == CELLS_OF_IMAGES | {"batch": "0"}


def test_row_has_a_digit_for_every_axis() -> None:
    assert row(CELLS_OF_IMAGES) == "122111221211401120000"
    (table,) = marked([row(CELLS_OF_IMAGES)])
    assert {name for name, number in NUMBER.items() if table[number]} == set(CELLS_OF_IMAGES.items())
    assert marked([]).shape == (0, len(NUMBER))


def by_hand(rows: Iterable[dict[str, str]], strength: int) -> set[tuple[str, ...]]:
    found = set()
    for reached in rows:
        found |= set(combinations([f"{axis} {reached[axis]}" for axis in LEVELS], strength))
    return found


@pytest.mark.parametrize("strength", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 130])
def test_together_is_what_is_found_by_hand(strength: int, count: int) -> None:
    rows = [levels(case) for case in draw_cases("coverage", 130)][:count]
    found = named(together(marked(map(row, rows)), strength))
    assert len(found) == len(set(found))
    assert set(found) == by_hand(rows, strength)


def test_levels_of_one_factor_never_come_together() -> None:
    every = np.ones((1, len(NUMBER)), dtype=bool)
    sizes = [len(along) for along in LEVELS.values()]
    for strength in (1, 2, 3):
        expected = sum(int(np.prod(chosen)) for chosen in combinations(sizes, strength))
        assert together(every, strength).sum() == expected


def test_what_nothing_was_said_of_is_not_reached() -> None:
    def result(**verdicts: Verdict) -> CaseResult:
        return CaseResult("", IMAGES, verdicts)

    silent, judged = Inapplicable("nothing to say"), row(CELLS_OF_IMAGES)
    empty = row(emptied(CELLS_OF_IMAGES))
    assert gather("random0", [result(), result(homogeneous=silent)]).rows == {}
    assert gather("random0", [result(homogeneous=silent, grid_shape=Failed("wrong"))]).rows == {judged: 1}
    assert gather("random0", [result(homogeneous=Passed(), empty_batch=silent)] * 2).rows == {judged: 2}
    assert gather("steered0", [result(empty_batch=Passed())] * 2).rows == {judged: 2, empty: 2}
    under_compiler = row(CELLS_OF_IMAGES | {"compiled": "static"})
    for shard in ("compiled1D-0", "compiled-steered3", "regressions"):
        assert gather(shard, [result(compiled_values=Passed())]).rows == {under_compiler: 1}


def test_rows_survive_json() -> None:
    result = gather("random0", [CaseResult("", IMAGES, {"empty_batch": Passed()})])
    assert ShardResult.from_json(result.to_json()) == result


def text_of(report: Report) -> list[str]:
    text = io.StringIO()
    print_report(report, Console(file=text, width=100_000), messages=False, verbose=True)
    return text.getvalue().splitlines()


# What other laws are judged with: an empty batch, two kinds of compilation, two of autocast.
PLAIN = len(NUMBER) - 5


def test_report_of_a_run() -> None:
    report = verify(Patchify, cases=60, seed=7, only=["returns_tensor"], jobs=0)
    assert report.passed
    singles, pairs, triples = (report.reached(strength) for strength in (1, 2, 3))
    assert singles == (PLAIN, PLAIN)
    assert pairs[0] == pairs[1] > 3000
    assert 30_000 < triples[0] < triples[1]
    assert report.missing(1) == report.missing(2) == []
    missing = report.missing(3)
    assert len(missing) == triples[1] - triples[0]
    lines = text_of(report)
    (at,) = (i for i, line in enumerate(lines) if line.startswith("levels of the parameter space: "))
    assert lines[at] == (
        f"levels of the parameter space: {PLAIN} of {PLAIN} singles, {pairs[0]:,} of {pairs[1]:,} pairs, "
        f"{triples[0]:,} of {triples[1]:,} triples reached"
    )
    shown = "; ".join(" with ".join(found) for found in missing[:6])
    assert lines[at + 1] == f"triples not reached: {shown}; and {len(missing) - 6:,} more"
    assert not any(line.startswith(("singles not", "pairs not")) for line in lines)
    assert set(report.coverage) == set(LEVELS)
    assert report.coverage["batch"]["0"] == 0
    assert report.coverage["batch"][">= 131073"] >= 1


def test_report_without_steering_names_what_is_missing() -> None:
    report = verify(Patchify, cases=2, seed=7, only=["homogeneous"], strength=0, dtypes=["float32"], jobs=0)
    reached, possible = report.reached(1)
    missing = report.missing(1)
    assert (possible, len(missing)) == (PLAIN - 3, PLAIN - 3 - reached)
    assert ("dtype float32",) not in missing
    assert ("batch >= 131073",) in missing
    lines = text_of(report)
    assert f"singles not reached: {'; '.join(name for (name,) in missing)}" in lines
    (pairs,) = (line for line in lines if line.startswith("pairs not reached: "))
    assert re.search(rf"; and {len(report.missing(2)) - 60:,} more$", pairs)
    assert pairs.count(";") == 60


def test_empty_batches_count_along_their_axis_alone() -> None:
    report = verify(Patchify, cases=10, seed=7, only=["empty_batch"], strength=0, dtypes=["float64"], jobs=0)
    assert report.coverage["batch"]["0"] == 10
    assert sum(report.coverage["batch"].values()) == 20
    assert {sum(report.coverage[axis].values()) for axis in LEVELS if axis != "batch"} == {10}
    assert ("batch 0",) not in report.missing(1)


def test_report_of_nothing() -> None:
    report = verify(Patchify, cases=0, seed=7, only=["homogeneous"], jobs=0)
    assert [report.reached(strength) for strength in (1, 2, 3)] == [(0, 0)] * 3
    assert "levels of the parameter space: 0 of 0 singles, 0 of 0 pairs, 0 of 0 triples reached" in text_of(report)


def test_landmarks_fall_into_levels() -> None:
    def table(found: Iterable[Case]) -> Bools:
        return marked(row(levels(case)) for case in found)

    assert table(landmarks().values()).sum(axis=1).tolist() == [len(LEVELS)] * len(landmarks())
