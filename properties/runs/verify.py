"""A run: from a plan to a report."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from properties.failures.record import Record
from properties.runs.failure import examine
from properties.runs.options import DEFAULT_STRENGTH
from properties.runs.plan import Plan, make_plan
from properties.runs.report import Report, conclude
from properties.runs.result import Found, ShardResult
from properties.runs.shard import run_shard
from properties.trials.faults import check_machine
from properties.trials.implementation import CannotRun, Implementation


def verify(
    implementation: Implementation | str,
    *,
    cases: int = 300,
    seed: int | None = None,
    device: str = "cpu",
    dtypes: Sequence[str] | None = None,
    levels: Sequence[str] = ("contract",),
    only: Sequence[str] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    budget: float | None = None,
    fail_fast: bool = False,
    shrink: bool = True,
    regressions: str | Path | None = None,
    scope_margin: int = 0,
    strength: int = DEFAULT_STRENGTH,
) -> Report:
    """Verify an implementation of Patchify against the contract.

    Args:
        implementation: anything that takes Patchify's arguments and returns a module with ``conv.weight`` and
            ``conv.bias``, or where to import it from: ``"package.module:Name"``.
        cases: random cases to draw; landmark cases come on top.
        seed: the run seed, which everything follows from; None draws a fresh one and prints it.
        device: where to run, such as ``"cpu"`` or ``"cuda"``.
        dtypes: some of float64, float32, bfloat16, float16; None means all of them.
        levels: ``contract`` is what every implementation must satisfy; ``robust`` adds what a careful one also does.
        only: names of properties, or clauses; properties named here run whatever their level.
        expected_failures: property to the reason why it may fail; one that then passes fails the run.
        budget: seconds after which no further case is begun.
        fail_fast: stop after the first case on which a property fails.
        shrink: look for the smallest case of every failure.
        regressions: folder of records: those in it are replayed first, and one is written for every failure.
        scope_margin: how much to raise each bound of the small scope, whose shapes are all checked.
        strength: how many cells of the parameter space to lead the run to together: 2 reaches every possible pair, 3
            every triple, 0 only what is drawn.

    Returns:
        The report. ``report.passed`` is the verdict; ``report.raise_if_failed()`` raises with the evidence.

    Raises:
        CannotRun: where the arguments do not fit, the implementation cannot be imported, or the device is absent.
        OracleError: where the oracles are wrong on this machine.
    """
    folder = None if regressions is None else Path(regressions)
    plan = make_plan(
        implementation,
        cases=cases,
        seed=seed,
        device=device,
        dtypes=dtypes,
        levels=levels,
        only=only,
        expected_failures=expected_failures,
        scope_margin=scope_margin,
        strength=strength,
        regressions=folder,
    )
    if seed is None:
        print(f"run seed {plan.seed}")
    return run(plan, budget=budget, fail_fast=fail_fast, shrink=shrink, regressions=folder)


def run(
    plan: Plan,
    *,
    budget: float | None = None,
    fail_fast: bool = False,
    shrink: bool = True,
    regressions: Path | None = None,
) -> Report:
    """Carry out a plan; ``verify`` says what the arguments mean."""
    if budget is not None and not (isinstance(budget, int | float) and budget > 0):
        raise CannotRun(f"budget must be a positive number of seconds, got {budget!r}")
    check_machine(plan.device)
    until = None if budget is None else time.monotonic() + budget
    results: list[ShardResult] = []
    stopped = None

    def stop_at(name: str) -> bool:
        return fail_fast and name not in plan.expected_failures

    for shard in plan.shards:
        result = run_shard(plan, shard, until=until, stop_at=stop_at)
        results.append(result)
        if any(tally.failed and stop_at(name) for name, tally in result.tallies.items()):
            stopped = "fail_fast"
            break
        out_of_time = until is not None and time.monotonic() >= until
        # Drawing the last shard's cases again, to see whether all were run, is left to the runs that ran out of time.
        if out_of_time and (shard != plan.shards[-1] or result.cases < len(plan.cases_of(shard))):
            stopped = "budget"
            break

    def examine_here(found: Mapping[str, Found]) -> dict[str, Record]:
        props = {prop.name: prop for prop in plan.properties}
        return {name: examine(plan, props[name], one, shrink=shrink) for name, one in found.items()}

    return conclude(plan, results, examine_here, stopped=stopped, regressions=regressions)
