"""Shards: from plain data to plain data, each with cases of its own that nothing but the run seed decides."""

import json
from dataclasses import replace

import hypothesis.core
import pytest

from properties.cases.case import Fill
from properties.cases.drawing import draw_cases
from properties.runs.engine import in_order
from properties.runs.plan import Plan
from properties.runs.result import ShardResult, gather
from properties.runs.shard import run_cases
from tests.integration.test_local_workers import plan_of


def sequences(plan: Plan) -> list[str]:
    """What each shard draws, apart from data seeds."""
    return [
        json.dumps([replace(case, fill=Fill(case.fill.name)).to_json() for case in plan.cases_of(shard).values()])
        for shard in plan.shards
        if plan.draws(shard)
    ]


def test_no_two_shards_draw_the_same_sequence() -> None:
    drawn = plan_of("patchify:Patchify", cases=100, only=["zero_input_gives_bias"])
    compiled = plan_of("patchify:Patchify", cases=2000, only=["compiled_values"])
    plans = [replace(plan, seed=seed) for plan in (drawn, compiled) for seed in (7, 8)]
    found = [sequence for plan in plans for sequence in sequences(plan)]
    # 2 of drawn cases; of those that are compiled 3 with one axis, 2 with two and 1 with three.
    assert len(found) == 2 * (2 + 3 + 2 + 1)
    assert len(set(found)) == len(found)


def test_data_seeds_differ_too() -> None:
    plan = plan_of("patchify:Patchify", cases=100)
    seeds = [case.fill.seed for shard in plan.shards for case in plan.cases_of(shard).values()]
    assert len(set(seeds)) == len(seeds) == 100


def test_hypothesis_seed_does_not_change_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    found = draw_cases("7/random0", 50)
    # As its option --hypothesis-seed sets it.
    monkeypatch.setattr(hypothesis.core, "global_force_seed", 5)
    assert draw_cases("7/random0", 50) == found


def test_plain_data_both_ways() -> None:
    plan = plan_of("tests.mutants.forward:BiasAddedTwice", cases=20)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    result = gather("random0", run_cases(again, "random0", again.cases_of("random0")))
    assert ShardResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert result == gather("random0", run_cases(plan, "random0", plan.cases_of("random0")))


def test_records_are_replayed_before_anything_is_drawn() -> None:
    assert in_order(["landmarks", "regressions", "random0"]) == [["regressions"], ["landmarks", "random0"]]
