"""Two reports side by side: what is worse in the second one, what is better, and what it did not reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from properties.reports.page import rendered
from properties.reports.text import print_line
from properties.runs.result import FAILED

# What came of a law, the worst first.
_ORDER = ("failed", "failed as expected", "not judged", "no check", "not reached", "passed")
# An error over its bound that is larger by this factor is worth a line.
_LARGER = 2.0
_NAMED = 20


@dataclass(frozen=True)
class Difference:
    """One thing that the reports do not share: its name, and what each of them says."""

    name: str
    before: str
    after: str


@dataclass
class Comparison:
    """What is unlike in two reports: what they are about, what is worse, better, and newly not reached."""

    about: list[Difference] = field(default_factory=list)
    worse: list[Difference] = field(default_factory=list)
    better: list[Difference] = field(default_factory=list)
    unreached: list[Difference] = field(default_factory=list)

    @property
    def sections(self) -> dict[str, list[Difference]]:
        """The differences by what they are."""
        return {
            "about": self.about,
            "worse": self.worse,
            "better": self.better,
            "newly not reached": self.unreached,
        }


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """What is unlike in two reports, as ``report_json`` gives them."""
    found = Comparison()
    for name in ("implementation", "origin", "device", "levels", "dtypes", "run_seed", "cases"):
        _differ(found.about, name, *(_told(report[name]) for report in (before, after)))
    versions = before["versions"] | after["versions"]
    for name in versions:
        _differ(found.about, name, *(report["versions"].get(name, "none") for report in (before, after)))
    _compare_laws(found, before, after)
    _compare_shapes(found, before, after)
    _compare_coverage(found, before, after)
    return found


def _compare_laws(found: Comparison, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    laws = [{law["name"]: law for law in report["properties"]} for report in (before, after)]
    for name in dict.fromkeys(name for report in laws for name in report):
        one, other = (report.get(name) for report in laws)
        if one is None or other is None:
            where = found.unreached if other is None else found.about
            where.append(Difference(name, *("judged" if law else "not judged" for law in (one, other))))
            continue
        outcomes = one["outcome"], other["outcome"]
        if outcomes[0] != outcomes[1]:
            where = found.worse if _ORDER.index(outcomes[1]) < _ORDER.index(outcomes[0]) else found.better
            where = found.unreached if outcomes[1] in ("not reached", "no check") else where
            where.append(Difference(name, *outcomes))
        slack = one["worst_slack"], other["worst_slack"]
        if None not in slack and max(slack) > _LARGER * min(slack) and max(slack) > 0.01:
            where = found.worse if slack[1] > slack[0] else found.better
            where.append(Difference(f"{name}, error over bound", *(f"{each:.3f}" for each in slack)))


def _compare_shapes(found: Comparison, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """The small scope, where both have the same shapes of it."""
    scopes = [{scope["data_dim"]: scope["verdicts"] for scope in report["small_scope"]} for report in (before, after)]
    for data_dim in sorted(scopes[0].keys() | scopes[1].keys()):
        one, other = (report.get(data_dim, "") for report in scopes)
        if one and other and len(one) != len(other):
            continue
        name, of = f"small scope, {data_dim}D", len(one or other)
        failed = [letters.count(FAILED) for letters in (one, other)]
        run = [len(letters) - letters.count(" ") for letters in (one, other)]
        if one and other and failed[0] != failed[1]:
            where = found.worse if failed[1] > failed[0] else found.better
            where.append(Difference(name, *(f"{count} of {of} shapes failed" for count in failed)))
        if run[0] != run[1]:
            where = found.unreached if run[1] < run[0] else found.better
            where.append(Difference(name, *(f"{count} of {of} shapes run" for count in run)))


def _compare_coverage(found: Comparison, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for kind, name in (("singles", "levels"), ("pairs", "pairs of levels")):
        missing = [{tuple(levels) for levels in report["coverage"][kind]["missing"]} for report in (before, after)]
        newly = sorted(" with ".join(levels) for levels in missing[1] - missing[0])
        if newly:
            others = "; ..." if len(newly) > _NAMED else ""
            told = f"{len(newly):,} {name}: {'; '.join(newly[:_NAMED])}{others}"
            found.unreached.append(Difference(told, "reached, or not possible", "not reached"))
        again = len(missing[0] - missing[1])
        if again:
            found.better.append(Difference(f"{again:,} {name}", "not reached", "reached, or not possible"))


def _differ(where: list[Difference], name: str, before: str, after: str) -> None:
    if before != after:
        where.append(Difference(name, before, after))


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def print_comparison(console: Console, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Print what is unlike, and return whether nothing is worse."""
    found = compare(before, after)
    print_line(console, f"A: {before['verdict']}")
    print_line(console, f"B: {after['verdict']}")
    for name, differences in found.sections.items():
        for one in differences:
            print_line(console, f"{name}: {one.name}: {one.before or 'nothing'} -> {one.after}")
    counts = ", ".join(f"{len(found.sections[name])} {name}" for name in ("worse", "better", "newly not reached"))
    print_line(console, f"from A to B: {counts}", "bold red" if found.worse else "green")
    return not found.worse


def comparison_page(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The page of two reports."""
    return rendered("compare.html.jinja", before=before, after=after, sections=compare(before, after).sections)
