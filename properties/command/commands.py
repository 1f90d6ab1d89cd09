"""What each command of ``patchify-verify`` does."""

import argparse
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.text import Text

from oracles.agreement import OracleError
from properties.command.exit_codes import COULD_NOT_RUN, FAILED, INCOMPLETE, INTERRUPTED, PASSED
from properties.failures.picture import paint
from properties.failures.record import RecordError, printable, read_record, record_files
from properties.failures.replay import Outcome, replay
from properties.failures.scripts import standalone_script
from properties.reports.clauses import print_clauses
from properties.reports.compare import comparison_page, print_comparison
from properties.reports.json import read_report, report_json, write_file, write_report
from properties.reports.page import page_of
from properties.reports.power import print_power
from properties.reports.text import WIDTH, headline, print_line, print_report
from properties.runs import progress
from properties.runs.configuration import words_on
from properties.runs.cores import cores
from properties.runs.dask import dask_executor
from properties.runs.engine import Workers
from properties.runs.engine import carry_out as run
from properties.runs.executor_workers import ExecutorWorkers
from properties.runs.journal import Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.merge import merge
from properties.runs.options import OPTIONS
from properties.runs.outputs import check_outputs
from properties.runs.plan import plan_from_options
from properties.runs.report import Report
from properties.runs.shard import OnCase
from properties.trials.faults import available
from properties.trials.implementation import CannotRun


def carry_out(given: argparse.Namespace) -> int:
    """Carry out the command of parsed arguments, and return its exit code."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.width = min(console.width, WIDTH)
    try:
        return _COMMANDS[given.command](console, given)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (CannotRun, OracleError, RecordError) as error:
        print(f"patchify-verify: could not run: {error}", file=sys.stderr)
    except Exception as error:
        # Python would exit with 1, which means that a property failed.
        traceback.print_exc()
        print(f"patchify-verify: could not run: the harness itself failed: {type(error).__name__}", file=sys.stderr)
    return COULD_NOT_RUN


def _clauses(console: Console, given: argparse.Namespace) -> int:
    print_clauses(console)
    return PASSED


def _power(console: Console, given: argparse.Namespace) -> int:
    return PASSED if print_power(console, seeds=given.seeds, only=given.only) else FAILED


def _replay(console: Console, given: argparse.Namespace) -> int:
    counts: Counter[Outcome] = Counter()
    for record in record_files(given.records):
        replayed = replay(record, implementation=given.implementation, device=given.device, timeout=given.case_timeout)
        console.print(paint(str(replayed)), soft_wrap=True)
        counts[replayed.outcome] += 1
    if not counts:
        raise CannotRun(f"no records in {', '.join(map(str, given.records))}: no file there ends in .json")
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    console.print(Text(f"{counts.total()} {'record' if counts.total() == 1 else 'records'}: {told}"))
    return max(outcome.exit_code for outcome in counts)


def _explain(console: Console, given: argparse.Namespace) -> int:
    replayed = replay(
        given.record,
        implementation=given.implementation,
        device=given.device,
        anew=True,
        timeout=given.case_timeout,
    )
    console.print(paint(str(replayed)), soft_wrap=True)
    return replayed.outcome.exit_code


def _script(console: Console, given: argparse.Namespace) -> int:
    try:
        record = read_record(given.record)
    except RecordError as error:
        raise CannotRun(f"{printable(given.record)} {error}") from error
    name, device = given.implementation or record.implementation, given.device or record.device
    print(standalone_script(record.prop, name, device, record.case, record.verdict), end="")
    return PASSED


def _run(console: Console, given: argparse.Namespace) -> int:
    check_outputs(json=given.json, html=given.html, regressions=given.regressions)
    with _journal(given) as journal:
        plan = journal.plan()
        # What cannot be read is told before anything is run, not after it.
        journal.check(plan)
        if given.dask is None:
            available(plan.device)
        print_line(console, headline(plan))
        if given.configured:
            print_line(console, words_on(given.configured))
        with progress.shown(console, journal.left(plan)) as on_case:
            report = _run_plan(journal, given, on_case)
    return _conclude(console, report, given)


def _merge(console: Console, given: argparse.Namespace) -> int:
    check_outputs(json=given.json, html=given.html, regressions=given.regressions)
    report = merge(given.folders, regressions=given.regressions)
    print_line(console, headline(report.plan))
    return _conclude(console, report, given)


def _page(console: Console, given: argparse.Namespace) -> int:
    source: Path = given.source
    file = given.html or (source / "report.html" if source.is_dir() else source.with_suffix(".html"))
    check_outputs(html=file)
    write_file(page_of(_read(source)), file)
    console.print(Text(f"the page is {file}"), soft_wrap=True)
    return PASSED


def _compare(console: Console, given: argparse.Namespace) -> int:
    check_outputs(html=given.html)
    before, after = _read(given.before), _read(given.after)
    if given.html:
        write_file(comparison_page(before, after), given.html)
    return PASSED if print_comparison(console, before, after) else FAILED


def _read(source: Path) -> dict[str, Any]:
    """The report in a file, or on the run in a folder, as plain data."""
    return report_json(merge([source])) if source.is_dir() else read_report(source)


def _conclude(console: Console, report: Report, given: argparse.Namespace) -> int:
    print_report(report, console, verbose=given.verbose)
    write_report(report, json_file=given.json, html_file=given.html)
    if report.stopped == "interrupted":
        return INTERRUPTED
    return PASSED if report.passed else INCOMPLETE if report.incomplete else FAILED


@contextmanager
def _journal(given: argparse.Namespace) -> Iterator[Journal]:
    """The folder of the run: one that is there, a new one, or a temporary one."""
    if given.resume:
        planned = [option.flag for option in OPTIONS if option.planned and getattr(given, option.member) is not None]
        if planned:
            names = ", ".join(f"--{flag}" for flag in planned)
            raise CannotRun(f"--resume goes on with the plan in {given.resume}: leave out {names}")
        yield Journal(given.resume)
        return
    if given.shard and (given.seed is None or given.run_dir is None):
        raise CannotRun("--shard needs --seed, the same for all parts, and --run-dir, which merge takes")
    plan = plan_from_options(lambda flag: getattr(given, flag.replace("-", "_")))
    with TemporaryDirectory(prefix="patchify-run-") as temporary:
        journal = Journal(given.run_dir or Path(temporary))
        plan = replace(plan, part=given.shard) if given.shard else plan
        if not plan.shards:
            number, parts = plan.part
            which = f"part {number} of {parts} of this run" if parts > 1 else "this run"
            raise CannotRun(f"{which} holds no cases, so that it could show nothing")
        journal.start(plan)
        yield journal


def _run_plan(journal: Journal, given: argparse.Namespace, on_case: OnCase) -> Report:
    with _workers(journal, given) as workers:
        return run(
            workers,
            budget=given.budget,
            fail_fast=given.fail_fast,
            shrink=not given.no_shrink,
            regressions=given.regressions,
            on_case=on_case,
        )


@contextmanager
def _workers(journal: Journal, given: argparse.Namespace) -> Iterator[Workers]:
    if given.dask is None:
        yield LocalWorkers(journal, given.jobs or cores(), given.case_timeout)
        return
    with dask_executor(given.dask) as (executor, jobs):
        yield ExecutorWorkers(journal, executor, given.jobs or jobs, given.case_timeout)


_COMMANDS: dict[str, Callable[[Console, argparse.Namespace], int]] = {
    "run": _run,
    "merge": _merge,
    "replay": _replay,
    "explain": _explain,
    "script": _script,
    "page": _page,
    "compare": _compare,
    "clauses": _clauses,
    "power": _power,
}
