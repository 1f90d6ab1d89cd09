"""The part of a run that one worker does: some cases, each judged by the properties of its shard."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from oracles.agreement import OracleError
from properties.cases.case import Case
from properties.laws.law import Law, VacuousLaw
from properties.runs.journal import Journal
from properties.runs.plan import Plan
from properties.runs.result import CaseResult, gather
from properties.trials.implementation import CannotRun, said
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Inapplicable, NotJudged, Passed, Verdict

# Called with a shard, the cases of it that are done, their number, and the properties that have failed on them since
# the call before.
OnCase = Callable[[str, int, int, list[str]], None]
BeforeCheck = Callable[[str, str], None]
# Deaths after which the rest of a shard is given up: each costs a new process.
MOST_DEATHS = 3


def finish_shard(
    plan: Plan,
    journal: Journal,
    shard: str,
    until: float | None,
    on_case: OnCase,
    begin: Callable[[str, str, str], None] = lambda shard, case, prop: None,
    end: Callable[[], None] = lambda: None,
) -> None:
    """Run what is left of a shard, as far as there is time, and write down what comes of it.

    Args:
        plan: the run.
        journal: its folder.
        shard: a name from ``plan.shards``.
        until: ``time.monotonic()`` after which no case is begun.
        on_case: called after every case.
        begin: called with the names of a shard, a case and a property that is about to be judged on it.
        end: called after every case, whatever became of it.
    """
    if until is not None and time.monotonic() >= until:
        return
    cases = plan.cases_of(shard)
    results = journal.done(shard, cases)
    deaths = journal.deaths(shard)
    given_up = len(deaths) >= MOST_DEATHS
    done = {result.name for result in results}
    for name, case in ((name, case) for name, case in cases.items() if name not in done):
        died = {death.property: death for death in deaths if death.case == name}
        if given_up and not died:
            break
        if until is not None and time.monotonic() >= until:
            return
        properties = () if given_up else plan.properties_on(shard, name)
        alive = tuple(prop for prop in properties if prop.name not in died)
        owners = () if died else plan.owners_of(shard)
        try:
            result = run_case(plan, alive, case, name, lambda case, prop: begin(shard, case, prop), owners)
        finally:
            end()
        fatal = {prop: NotJudged(death.how) if death.hung else Failed(death.how) for prop, death in died.items()}
        how = {prop: death.how for prop, death in died.items()}
        result = replace(result, verdicts={**result.verdicts, **fatal}, died=how)
        journal.add(shard, result)
        results.append(result)
        on_case(shard, len(results), len(cases), result.failed)
    journal.finish(replace(gather(shard, results), deaths=len(deaths), left_out=len(cases) - len(results)))


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
        result = run_case(plan, plan.properties_on(shard, name), case, name, owners=plan.owners_of(shard))
        yield result
        if any(stop_at(prop) for prop in result.failed):
            return


def run_case(
    plan: Plan,
    properties: tuple[Law, ...],
    case: Case,
    name: str = "",
    before_check: BeforeCheck = lambda case, name: None,
    owners: tuple[Law, ...] = (),
) -> CaseResult:
    """Judge one trial by every property; ``before_check`` is called with the names of the case and each of them.

    Where one of them holds, or could not be judged since the layer is broken, and none has failed, ``owners`` are
    judged, too: what they have nothing against is not told.
    """
    verdicts: dict[str, Verdict] = {}
    begun = perf_counter()
    with undisturbed(plan.device, tf32=case.tf32):
        trial = Trial(case, plan.declared, plan.device)
        for prop in properties:
            before_check(name, prop.name)
            verdicts[prop.name] = _judged(prop, trial)
        if any(map(_needs_owners, verdicts.values())) and not any(map(_is_told, verdicts.values())):
            for prop in owners:
                before_check(name, prop.name)
                verdict = _judged(prop, trial)
                if _is_told(verdict):
                    verdicts[prop.name] = verdict
                    break
    return CaseResult(name, case, verdicts, seconds=perf_counter() - begun)


def _needs_owners(verdict: Verdict) -> bool:
    return isinstance(verdict, Passed) or (isinstance(verdict, Inapplicable) and verdict.broken)


def _is_told(verdict: Verdict) -> bool:
    return isinstance(verdict, Failed | NotJudged)


def _judged(prop: Law, trial: Trial) -> Verdict:
    """What a law says; nothing, where it raises what it should not: that is no failure of the layer."""
    try:
        return prop(trial)
    except (CannotRun, OracleError, VacuousLaw):
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = " ".join(f"{type(error).__name__}: {said(error)}".split())
        return NotJudged(f"the harness failed, in {Path(place.filename).name}, line {place.lineno}: {told}")
