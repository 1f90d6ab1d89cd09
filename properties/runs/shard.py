"""The part of a run that one worker does."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from oracles.agreement import OracleError
from properties.cases.case import Case
from properties.laws.law import Law, VacuousLaw
from properties.runs.plan import Plan
from properties.runs.result import CaseResult, ShardResult, gather
from properties.trials.implementation import CannotRun
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import NotJudged, Verdict

BeforeCheck = Callable[[str, str], None]


def run_shard(
    plan: Plan,
    shard: str,
    *,
    until: float | None = None,
    stop_at: Callable[[str], bool] = lambda name: False,
) -> ShardResult:
    """Run all properties of a plan on all cases of a shard.

    Args:
        plan: the run.
        shard: a name from ``plan.shards``.
        until: ``time.monotonic()`` after which no further case is begun.
        stop_at: whether to stop after a case on which the named property has failed.
    """
    return gather(shard, run_cases(plan, shard, plan.cases_of(shard), until=until, stop_at=stop_at))


def run_cases(
    plan: Plan,
    shard: str,
    cases: Mapping[str, Case],
    *,
    until: float | None = None,
    stop_at: Callable[[str], bool] = lambda name: False,
) -> Iterator[CaseResult]:
    """Run some cases of a shard."""
    for name, case in cases.items():
        if until is not None and time.monotonic() >= until:
            return
        result = run_case(plan, plan.properties_on(shard, name), case, name)
        yield result
        if any(stop_at(prop) for prop in result.failed):
            return


def run_case(
    plan: Plan,
    properties: tuple[Law, ...],
    case: Case,
    name: str = "",
    before_check: BeforeCheck = lambda case, name: None,
) -> CaseResult:
    """Judge one trial by every property; ``before_check`` is called with the names of the case and each of them."""
    verdicts: dict[str, Verdict] = {}
    with undisturbed(plan.device, tf32=case.tf32):
        trial = Trial(case, plan.implementation, plan.device)
        for prop in properties:
            before_check(name, prop.name)
            verdicts[prop.name] = _judged(prop, trial)
    return CaseResult(name, case, verdicts)


def _judged(prop: Law, trial: Trial) -> Verdict:
    """What a law says; nothing, where it raises what it should not: that is no failure of the layer."""
    try:
        return prop(trial)
    except (CannotRun, OracleError, VacuousLaw):
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return NotJudged(f"the harness failed, in {Path(place.filename).name}, line {place.lineno}: {told}")
