"""``verify``: a run from its arguments to its report."""

import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from properties.cases.domain import Domain
from properties.laws.law import Law
from properties.runs.cores import cores
from properties.runs.engine import Workers, carry_out
from properties.runs.journal import Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.options import DEFAULT_CASE_TIMEOUT, check_arguments
from properties.runs.outputs import check_outputs
from properties.runs.plan import Plan, make_plan
from properties.runs.profiles import DEFAULT_STRENGTH
from properties.runs.progress import watched
from properties.runs.report import Report
from properties.runs.this_process import ThisProcess
from properties.trials.implementation import Implementation


def verify(
    implementation: Implementation | str,
    *,
    cases: int = 300,
    seed: int | None = None,
    device: str = "cpu",
    dtypes: Sequence[str] | None = None,
    levels: Sequence[str] = ("contract",),
    only: Sequence[str] | None = None,
    skip: Sequence[str] | None = None,
    compile: bool = True,
    expected_failures: Mapping[str, str] | None = None,
    budget: float | None = None,
    fail_fast: bool = False,
    shrink: bool = True,
    regressions: str | Path | None = None,
    scope_margin: int = 0,
    scope_sample: int = 1,
    strength: int = DEFAULT_STRENGTH,
    domain: Domain | None = None,
    data_dims: Sequence[int] | None = None,
    laws: Sequence[Law | str] | None = None,
    laws_version: str | None = None,
    jobs: int | None = None,
    case_timeout: float = DEFAULT_CASE_TIMEOUT,
) -> Report:
    """Verify an implementation of Patchify against the contract.

    Where standard error is a terminal, or in a notebook, it shows how far it is.

    Args:
        implementation: anything that takes Patchify's arguments and returns a module with ``conv.weight`` and
            ``conv.bias``, or where to import it from: ``"package.module:Name"``.
        cases: random cases to draw; landmark cases come on top.
        seed: the run seed, which everything follows from; None draws a fresh one and prints it.
        device: where to run, such as ``"cpu"`` or ``"cuda"``.
        dtypes: some of float64, float32, bfloat16, float16; None means all of them.
        levels: ``contract`` is what every implementation must satisfy; ``robust`` adds what a careful one also does.
        only: names of properties, or clauses; properties named here run whatever their level.
        skip: names of properties, or clauses, to leave out; the report says so.
        compile: whether to judge the layer compiled and exported, too; the report says where not.
        expected_failures: property to the reason why it may fail; one that then passes fails the run.
        budget: seconds after which no further case is begun.
        fail_fast: stop after the first case on which a property fails.
        shrink: look for the smallest case of every failure.
        regressions: folder of records: those in it are replayed first, and one is written for every failure.
        scope_margin: how much to raise each bound of the small scope, whose shapes are all checked.
        scope_sample: check one of so many of these shapes, which follow from the seed, instead of all.
        strength: how many levels of the parameter space to lead the run to together: 2 reaches every possible pair, 3
            every triple, 0 only what is drawn.
        domain: what the layer is for, where that is not everything: what is outside is not judged, and the report says
            so. An implementation may also declare it itself, as its attribute ``domain``; then this narrows it.
        data_dims: judge layers of these numbers of axes alone, as such a domain would.
        laws: one's own, beside those of the contract: functions under ``@law``, or modules that hold some.
        laws_version: judge by the laws of this version of the harness, such as ``"0.1"``, whatever stricter ones came
            later; None means by all that there are. The report says which are left out.
        jobs: processes to judge in, so that a layer that ends one has failed; None means one for each core, and 0 that
            this process judges, as it does where no other one can import the implementation. The report says so.
        case_timeout: seconds after which such a process counts as hanging.

    Returns:
        The report. ``report.passed`` is the verdict; ``report.raise_if_failed()`` raises with the evidence.

    Raises:
        CannotRun: where the arguments do not fit, the implementation cannot be imported, or the device is absent.
        OracleError: where the oracles are wrong on this machine.
    """
    check_arguments(locals())
    folder = None if regressions is None else Path(regressions)
    check_outputs(regressions=folder)
    plan = make_plan(
        implementation,
        cases=cases,
        seed=seed,
        device=device,
        dtypes=dtypes,
        levels=levels,
        only=only,
        skip=skip,
        compile=compile,
        expected_failures=expected_failures,
        scope_margin=scope_margin,
        scope_sample=scope_sample,
        strength=strength,
        domain=domain,
        data_dims=data_dims,
        laws=laws,
        laws_version=laws_version,
        regressions=folder,
    )
    if seed is None:
        print(f"run seed {plan.seed}")
    return run(
        plan,
        budget=budget,
        fail_fast=fail_fast,
        shrink=shrink,
        regressions=folder,
        jobs=jobs,
        case_timeout=case_timeout,
    )


def run(
    plan: Plan,
    *,
    budget: float | None = None,
    fail_fast: bool = False,
    shrink: bool = True,
    regressions: Path | None = None,
    jobs: int | None = None,
    case_timeout: float = DEFAULT_CASE_TIMEOUT,
) -> Report:
    """Carry out a plan in a folder that is gone afterwards; ``verify`` says what the arguments mean."""
    with TemporaryDirectory(prefix="patchify-run-") as folder:
        journal = Journal(Path(folder))
        why = _not_isolated(plan, jobs)
        if why:
            workers: Workers = ThisProcess(journal, plan, why)
        else:
            journal.start(plan)
            workers = LocalWorkers(journal, jobs or cores(), case_timeout)
        with watched(plan.shards) as on_case:
            report = carry_out(
                workers, budget=budget, fail_fast=fail_fast, shrink=shrink, regressions=regressions, on_case=on_case
            )
    if report.stopped == "interrupted":
        raise KeyboardInterrupt
    return report


def _not_isolated(plan: Plan, jobs: int | None) -> str:
    """Why no other process can judge the layer, or is to."""
    if jobs == 0:
        return "jobs is 0"
    if multiprocessing.current_process().daemon:
        return "it may have no processes of its own"
    return "" if plan.importable else f"no other process can import {plan.name}"
