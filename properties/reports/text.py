"""The report as a person reads it."""

from collections import defaultdict
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from properties.cases.small_scope import bounds
from properties.cases.small_scope import count as count_shapes
from properties.failures.picture import paint
from properties.failures.replay import replay_command
from properties.runs.plan import Plan
from properties.runs.report import Report
from properties.runs.result import ShardResult
from properties.runs.shard_names import LANDMARKS, data_dim_of, is_compiled, is_small, kind_of
from properties.trials.compilation import best_backend

# Wider than any table.
_ANY_WIDTH = 1000
# What comes together, and how many of each that were not reached are named at most: all single levels.
_TUPLES = {"singles": 100, "pairs": 60, "triples": 6}


def headline(plan: Plan) -> str:
    """What is about to run, the run seed first."""
    return (
        f"run seed {plan.seed}: {plan.name} on {plan.device}, {', '.join(plan.dtypes)}, "
        f"level {' and '.join(plan.levels)}, {plan.cases} random cases and the landmarks; from {plan.origin}"
    )


def print_report(report: Report, console: Console, *, messages: bool = True) -> None:
    """Print the whole report; the verdict is its last line.

    Args:
        report: what to print.
        console: where to.
        messages: whether to print the failures too, or only the counts and the verdict.
    """
    table = _table(report)
    # As wide as it is: a narrower one would leave digits out.
    width = console.width
    console.width = max(width, console.measure(table, options=console.options.update(width=_ANY_WIDTH)).maximum)
    console.print(table, crop=False)
    console.width = width
    _print_inapplicable(report, console)
    for line in report.by_declaration:
        console.print(Text(line), soft_wrap=True)
    _print_levels(report, console)
    _print_statements(report, console)
    console.print(Text(f"{report.plan.name} comes from {report.plan.origin}"), soft_wrap=True)
    if report.not_isolated:
        console.print(Text(f"judged in this process, which a layer may end: {report.not_isolated}"), soft_wrap=True)
    of = len(report.plan.cases_of(LANDMARKS)) if LANDMARKS in report.plan.shards else 0
    console.print(f"landmark cases judged: {len(report.landmarks)} of {of}", soft_wrap=True, highlight=False)
    for shape, cases in groupby(report.landmarks, lambda name: name.rsplit(", ", 2)[0]):
        told = "; ".join(name.removeprefix(f"{shape}, ") for name in cases)
        console.print(f"  {shape}: {told}", soft_wrap=True, highlight=False)
    for failure in (*report.failures, *report.expected_failures) if messages else ():
        console.print()
        if failure in report.expected_failures:
            console.print(f"expected, since {report.plan.expected_failures[failure.property]}:", markup=False)
        # A message is for copying from: no wrapping, no markup.
        console.print(paint(failure.message), soft_wrap=True)
    for failure in () if messages else report.failures:
        if failure.record is not None:
            console.print(Text(f"{failure.property}: {replay_command(failure.record)}"), soft_wrap=True)
    if report.plan.left_out:
        names = ", ".join(f"{name} ({reason})" for name, reason in report.plan.left_out.items())
        console.print(Text(f"not judged: {names}"), soft_wrap=True)
    firsts = {failure.message.splitlines()[0] for failure in report.failures}
    for line in report.problems:
        if line not in firsts:
            console.print(Text(line), soft_wrap=True)
    console.print(Text(report.verdict_line, style="green" if report.passed else "bold red"), soft_wrap=True)


def _table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("property", "clause", "level"):
        table.add_column(heading, no_wrap=True)
    for heading in ("checks", "inapplicable", "error/bound", "fails below"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    rates = report.rates_below
    failed = {failure.property for failure in report.failures}
    expected = {failure.property for failure in report.expected_failures}
    for prop in (prop for prop in report.properties if prop.name not in report.outside):
        tally = report.tallies[prop.name]
        if prop.name in failed:
            verdict = Text(f"FAILED {tally.failed} of {tally.checks}", style="bold red")
        elif prop.name in expected:
            verdict = Text("failed as expected", style="yellow")
        else:
            verdict = Text("passed", style="green") if tally.checks else Text("NO CHECK", style="bold red")
            if tally.not_judged:
                verdict = Text(f"NOT JUDGED on {sum(tally.not_judged.values())}", style="bold red")
        table.add_row(
            prop.name,
            " ".join(prop.clauses),
            prop.level,
            str(tally.checks),
            str(sum(tally.inapplicable.values())),
            "" if tally.error_over_bound is None else f"{tally.error_over_bound:.3f}",
            f"{rates[prop.name]:.1e}" if prop.name in rates else "",
            verdict,
        )
    return table


def _print_inapplicable(report: Report, console: Console) -> None:
    by_reason: dict[str, dict[str, int]] = defaultdict(dict)
    for name, tally in report.tallies.items():
        for reason, count in tally.inapplicable.items():
            by_reason[reason][name] = count
    if by_reason:
        console.print("inapplicable, by reason:")
    for reason, counts in sorted(by_reason.items()):
        most = max(counts.values())
        where = next(iter(counts)) if len(counts) == 1 else f"{len(counts)} properties"
        console.print(Text(f"  {reason}: {where}, {most} cases"), soft_wrap=True)


def _print_statements(report: Report, console: Console) -> None:
    """What was checked for every shape of a kind, and how likely a wrong layer was to pass."""
    if any(is_compiled(result.shard) and result.cases for result in report.results):
        console.print(f"compiled with the backend {best_backend()}", highlight=False)
    if report.plan.regressions:
        replayed = report.plan.replayed
        line = f"records replayed first: {len(replayed)} of {len(report.plan.regressions)}"
        others = ", ".join(sorted(report.plan.regressions.keys() - replayed.keys()))
        note = f"; of a property or dtype that this run does not ask for: {others}" if others else ""
        console.print(Text(line + note), soft_wrap=True)
    by_kind: dict[str, list[ShardResult]] = defaultdict(list)
    for result in report.results:
        if result.cases:
            by_kind[kind_of(result.shard)].append(result)
    for kind, results in by_kind.items():
        shapes = sum(result.shapes for result in results)
        if is_small(kind):
            data_dim = data_dim_of(kind)
            patch, stride, size = bounds(data_dim, report.plan.scope_margin)
            every, of = report.plan.scope_sample, count_shapes(data_dim, report.plan.scope_margin, report.plan.domain)
            which = "all" if shapes == of else f"a sample of {of}" if every > 1 else f"not all of {of}"
            limits = f"patch_size <= {patch}, stride <= {stride}, sizes <= {size}"
            line = f"small scope, {data_dim}D: {shapes} shapes, {which} with {limits}"
        elif kind == LANDMARKS:
            line = f"landmarks: {shapes} shapes"
        else:
            continue
        largest: dict[str, float] = {}
        for name, false_pass in (found for result in results for found in result.false_passes.items()):
            largest[name] = max(false_pass, largest.get(name, 0.0))
        false_passes = ", ".join(f"{name} {false_pass:.1e}" for name, false_pass in sorted(largest.items()))
        note = (
            f"; a wrong bilinear map passes on a shape with probability at most: {false_passes}" if false_passes else ""
        )
        console.print(Text(line + note), soft_wrap=True)


def _print_levels(report: Report, console: Console) -> None:
    """How much of the parameter space was reached, and what was not, by name."""
    counts = []
    for strength, name in enumerate(_TUPLES, start=1):
        reached, of = report.reached(strength)
        counts.append(f"{reached:,} of {of:,} {name}")
    console.print(Text(f"levels of the parameter space: {', '.join(counts)} reached"), soft_wrap=True)
    for strength, (name, most) in enumerate(_TUPLES.items(), start=1):
        missing = report.missing(strength)
        if missing:
            shown = "; ".join(" with ".join(levels) for levels in missing[:most])
            others = f"; and {len(missing) - most:,} more" if len(missing) > most else ""
            console.print(Text(f"{name} not reached: {shown}{others}"), soft_wrap=True)
