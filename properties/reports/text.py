"""The report as a person reads it in a terminal: what failed, a table of families, what was covered, the verdict.

No line is longer than ``WIDTH`` but those to copy from, as JSON and commands are, and a table whose numbers need more.
"""

import textwrap
from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from properties.cases.small_scope import bounds
from properties.cases.small_scope import count as count_shapes
from properties.failures.message import COPIED
from properties.failures.picture import FIRST_LINE, paint
from properties.failures.replay import replay_command
from properties.laws.law import Law
from properties.reports.parts import PartOfRun, parts_of
from properties.runs.plan import Plan
from properties.runs.report import Outcome, Report
from properties.runs.result import Tally
from properties.runs.shard_names import LANDMARKS, data_dim_of, is_compiled, is_small
from properties.trials.compilation import best_backend

WIDTH = 80
# Wider than any table.
_ANY_WIDTH = 1000
# What comes together, and how many of each that were not reached are named, and are where all is told.
_TUPLES = {"singles": (3, 100), "pairs": (3, 60), "triples": (1, 6)}
_STYLES: dict[Outcome, str] = {"passed": "green", "failed as expected": "yellow", "not reached": "dim"}
# Of a family as of a law, what is worst is told first.
_WORST_FIRST: tuple[Outcome, ...] = ("failed", "not judged", "no check", "not reached", "failed as expected", "passed")
_LABEL = 12


def headline(plan: Plan) -> str:
    """What is about to run, the run seed first."""
    return (
        f"run seed {plan.seed}: {plan.name} on {plan.device}, {', '.join(plan.dtypes)}, "
        f"level {' and '.join(plan.levels)}, {plan.cases} random cases and the landmarks; from {plan.origin}"
    )


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print a line, folded at the width of the console; what it goes on with is indented."""
    console.print(Text(_folded(line, console.width), style=style), soft_wrap=True)


def print_report(
    report: Report, console: Console | None = None, *, messages: bool = True, verbose: bool = False
) -> None:
    """Print the whole report; the verdict is its end.

    Args:
        report: what to print.
        console: where to; None means standard output.
        messages: whether to print the failures too, or only how to replay them.
        verbose: whether to print a row for each law, and every list to its end.
    """
    console = console or Console(width=WIDTH)
    for failure in (*report.failures, *report.expected_failures) if messages else ():
        if failure in report.expected_failures:
            print_line(console, f"expected, since {report.plan.expected_failures[failure.property]}:")
        console.print(paint(folded_message(failure.message, console.width)), soft_wrap=True)
        console.print()
    _print_table(report, console, verbose=verbose)
    _print_inapplicable(report, console, verbose=verbose)
    for line in report.by_declaration:
        print_line(console, line)
    _print_levels(report, console, verbose=verbose)
    _print_statements(report, console, verbose=verbose)
    print_line(console, f"{report.plan.name} comes from {report.plan.origin}")
    if report.not_isolated:
        print_line(console, f"judged in this process, which a layer may end: {report.not_isolated}")
    for failure in report.failures if not messages else ():
        if failure.record is not None:
            console.print(Text(f"{failure.property}: {replay_command(failure.record)}"), soft_wrap=True)
    if report.plan.left_out:
        names = ", ".join(f"{name} ({reason})" for name, reason in report.plan.left_out.items())
        print_line(console, f"not judged: {names}")
    firsts = {failure.message.splitlines()[0] for failure in report.failures}
    for line in report.problems:
        if line not in firsts:
            print_line(console, line)
    print_line(console, report.verdict_line, "green" if report.passed else "bold red")


def folded_message(message: str, width: int) -> str:
    """The message of a failure with its long lines folded, but those to copy from, and its picture."""
    lines, picture_begins = [], False
    for line in message.splitlines():
        picture_begins = picture_begins or line.startswith(FIRST_LINE)
        drawn = picture_begins and not line.startswith(FIRST_LINE)
        copied = line[2:].startswith(COPIED)
        lines.append(line if drawn or copied else _folded(line, width, _LABEL if line.startswith("  ") else 4))
    return "\n".join(lines)


def _folded(line: str, width: int, indent: int = 4) -> str:
    """A line on as many as it takes; words that are longer than a line stay whole."""
    if len(line) <= width:
        return line
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )


def _print_table(report: Report, console: Console, *, verbose: bool) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("law" if verbose else "laws", no_wrap=True)
    for heading in ("checks", "inapplicable", "error/bound", "fails below"):
        # A heading may take two lines, a number may not.
        table.add_column(heading.replace(" ", "\n").replace("/", "/\n"), justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    families: dict[str, list[Law]] = defaultdict(list)
    for prop in (prop for prop in report.properties if prop.name not in report.outside):
        families[prop.family].append(prop)
    for family, laws in families.items():
        table.add_row(*_row(report, family, laws), style="bold" if verbose else "")
        for prop in laws if verbose else ():
            table.add_row(*_row(report, f"  {prop.name}", [prop]))
    # As wide as it is: a narrower one would leave digits out.
    width = console.width
    console.width = max(width, console.measure(table, options=console.options.update(width=_ANY_WIDTH)).maximum)
    console.print(table, crop=False)
    console.width = width


def _row(report: Report, name: str, laws: Sequence[Law]) -> tuple[str | Text, ...]:
    """What came of some laws together: of all their checks, their largest error, and the rate that holds for each."""
    tally = Tally()
    for prop in laws:
        tally = tally.merged(report.tallies[prop.name])
    outcomes = [report.outcome_of(prop.name) for prop in laws]
    rates = [report.rates_below[prop.name] for prop in laws if prop.name in report.rates_below]
    return (
        name if name.startswith(" ") else f"{name} ({len(laws)})",
        str(tally.checks),
        str(sum(tally.inapplicable.values())),
        "" if tally.error_over_bound is None else f"{tally.error_over_bound:.3f}",
        f"{max(rates):.1e}" if len(rates) == len(laws) else "",
        _verdict(outcomes),
    )


def _verdict(outcomes: Sequence[Outcome]) -> Text:
    worst = min(outcomes, key=_WORST_FIRST.index)
    among = outcomes.count(worst)
    told = worst.upper() if worst in ("failed", "no check", "not judged") else worst
    return Text(
        told if among == len(outcomes) else f"{told} {among} of {len(outcomes)}", _STYLES.get(worst, "bold red")
    )


def _print_inapplicable(report: Report, console: Console, *, verbose: bool) -> None:
    by_reason: dict[str, dict[str, int]] = defaultdict(dict)
    for name, tally in report.tallies.items():
        for reason, count in tally.inapplicable.items():
            by_reason[reason][name] = count
    if not by_reason:
        return
    total = sum(count for counts in by_reason.values() for count in counts.values())
    many = f"{len(by_reason)} reasons" if len(by_reason) > 1 else "one reason"
    print_line(console, f"inapplicable: {total:,} checks, for {many}{'' if verbose else ' (--verbose names them)'}")
    for reason, counts in sorted(by_reason.items()) if verbose else ():
        where = next(iter(counts)) if len(counts) == 1 else f"{len(counts)} laws"
        print_line(console, f"  {reason}: {where}, {max(counts.values())} cases")


def _print_levels(report: Report, console: Console, *, verbose: bool) -> None:
    """How much of the parameter space was reached, and what was not, by name."""
    counts = []
    for strength, name in enumerate(_TUPLES, start=1):
        reached, of = report.reached(strength)
        counts.append(f"{reached:,} of {of:,} {name}")
    print_line(console, f"levels of the parameter space: {', '.join(counts)} reached")
    for strength, (name, most) in enumerate(_TUPLES.items(), start=1):
        missing = report.missing(strength)
        if missing:
            shown = "; ".join(" with ".join(levels) for levels in missing[: most[verbose]])
            others = f"; and {len(missing) - most[verbose]:,} more" if len(missing) > most[verbose] else ""
            print_line(console, f"{name} not reached: {shown}{others}")


def _print_statements(report: Report, console: Console, *, verbose: bool) -> None:
    """What was checked for every shape of a kind, and how likely a wrong layer was to pass."""
    if any(is_compiled(result.shard) and result.cases for result in report.results):
        print_line(console, f"compiled with the backend {best_backend()}")
    if report.plan.regressions:
        replayed = report.plan.replayed
        line = f"records replayed first: {len(replayed)} of {len(report.plan.regressions)}"
        others = ", ".join(sorted(report.plan.regressions.keys() - replayed.keys()))
        note = f"; of a property or dtype that this run does not ask for: {others}" if others else ""
        print_line(console, line + note)
    parts = [part for part in parts_of(report.results) if part.kind == LANDMARKS or is_small(part.kind)]
    for part in parts:
        false_pass = max(part.false_passes.values(), default=None)
        note = "" if false_pass is None else f", false pass {false_pass:.1e}"
        print_line(console, f"{_extent(report, part)}{note}")
        for name in report.landmarks if verbose and part.kind == LANDMARKS else ():
            print_line(console, f"  {name}")
    if any(part.false_passes for part in parts):
        print_line(console, "  (false pass: how likely a wrong bilinear map is to pass on a shape, at most)")


def _extent(report: Report, part: PartOfRun) -> str:
    """How much there is of a part of a run that is the same in every run, and how much was run."""
    plan = report.plan
    if part.kind == LANDMARKS:
        return f"landmarks: {len(report.landmarks)} of {len(plan.cases_of(LANDMARKS))} cases, {part.shapes} shapes"
    data_dim = data_dim_of(part.kind)
    patch, stride, size = bounds(data_dim, plan.scope_margin)
    of = count_shapes(data_dim, plan.scope_margin, plan.domain)
    return f"small scope {data_dim}D: {part.shapes} of {of} (P <= {patch}, S <= {stride}, sizes <= {size})"
