"""Every mutant is detected, every property detects one, and correct layers are accepted, however they compute."""

import pytest
from torch import nn

from properties import verify
from properties.laws import LAWS
from properties.runs.plan import make_plan
from properties.runs.result import gather
from properties.runs.shard import run_cases
from properties.trials.verdict import Failed
from tests.correct import CORRECT
from tests.correct.windows import UnfoldedLinear
from tests.helpers.mutant_cases import BY_NAME, first_failure, judge, load_cases
from tests.mutants import CUDA_MUTANTS, MUTANTS, Mutant

EAGER = [mutant for mutant in MUTANTS if BY_NAME[mutant.detected_by].on != "compiled"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.layer.__name__)
def test_killed(mutant: Mutant) -> None:
    """On a case that a default run has shrunk; how soon any run finds one is what ``patchify-verify power`` counts."""
    verdict = judge(mutant, BY_NAME[mutant.detected_by], load_cases()[mutant.name])
    assert isinstance(verdict, Failed), verdict


@pytest.mark.parametrize("mutant", EAGER[::20], ids=lambda mutant: mutant.layer.__name__)
def test_found_by_the_default_run(mutant: Mutant) -> None:
    """A part of them; a property draws nothing, so leaving the others out changes none of its checks."""
    assert first_failure(mutant) is not None


def test_cases_are_those_of_the_mutants() -> None:
    assert list(load_cases()) == [mutant.name for mutant in MUTANTS]


def test_every_property_kills_a_mutant() -> None:
    assert {mutant.detected_by for mutant in (*MUTANTS, *CUDA_MUTANTS)} == {prop.name for prop in LAWS}


def test_mutants_are_mutant_once() -> None:
    layers = [mutant.layer for mutant in MUTANTS]

    assert len(set(layers)) == len(layers) >= 70


def test_levels_are_those_of_the_properties() -> None:
    levels = {prop.name: prop.level for prop in LAWS}

    assert [mutant.layer.__name__ for mutant in MUTANTS if mutant.level != levels[mutant.detected_by]] == []


def test_correct_layer_is_accepted() -> None:
    """By the whole contract, on every fifteenth shape of the small scope: on its integers all give the same bits."""
    report = verify(UnfoldedLinear, seed=7, cases=20, strength=0, scope_sample=15, jobs=0)
    # So few cases are compiled that torch's own faults may leave none of them to a property.
    unchecked = [name for name, tally in report.tallies.items() if not tally.checks and not tally.lost]
    assert (report.failures, unchecked) == ((), [])


@pytest.mark.parametrize("layer", CORRECT, ids=lambda layer: layer.__name__)
def test_correct_layers_pass_drawn_cases(layer: type[nn.Module]) -> None:
    """By the contract on what is drawn: ``benchmarks.correct`` has all of it, and takes minutes a layer."""
    plan = make_plan(layer, seed=7, cases=12)
    shards = ("random0", "histories0")
    results = [gather(shard, run_cases(plan, shard, plan.cases_of(shard))) for shard in shards]

    assert sum(result.cases for result in results) > 15
    assert [name for result in results for name, tally in result.tallies.items() if tally.failed] == []
