"""The report on a run whose parts were carried out one by one, as by N jobs of a scheduler."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from reprlib import Repr

from properties.failures.record import Record
from properties.runs.journal import Journal
from properties.runs.plan import Plan
from properties.runs.report import Report, conclude
from properties.runs.result import Found
from properties.trials.implementation import CannotRun

# What is told of a plan: a seed whole, of a list of cases the first.
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def merge(folders: Sequence[Path], *, regressions: Path | None = None) -> Report:
    """Put the parts of a run together.

    Args:
        folders: where the parts were run, each once, in any order.
        regressions: folder to write records to.

    Returns:
        The report that the whole run would have given.

    Raises:
        CannotRun: where the folders are not the parts of one run, all of them, each once and ended.
    """
    journals = {folder: Journal(folder) for folder in folders}
    plans = {folder: journal.plan() for folder, journal in journals.items()}
    problems = [f"{folder} is named twice" for folder in plans if folders.count(folder) > 1]
    problems += [*_foreign(plans), *_overlapping(plans)]
    if not problems:
        problems = [*_missing(plans), *_unended(journals, plans)]
    if problems:
        raise CannotRun("\n  ".join(["these folders are not the parts of one run, each once:", *problems]))
    whole = replace(plans[folders[0]], part=(1, 1))
    results = {result.shard: result for folder, plan in plans.items() for result in journals[folder].results(plan)}
    ends = [end for journal in journals.values() if (end := journal.ended())]
    examined = [record for _, records in ends for record in records.values()]

    def known(found: Mapping[str, Found]) -> dict[str, Record]:
        """Each part has examined the smallest failure that it found; the smallest of all is one of them."""
        return {name: _of_the_smallest(name, one, examined) for name, one in found.items()}

    stopped = next((stopped for stopped, _ in ends if stopped), None)
    in_order = [results[shard] for shard in whole.shards if shard in results]
    return conclude(whole, in_order, known, stopped=stopped, regressions=regressions)


def _of_the_smallest(name: str, found: Found, examined: list[Record]) -> Record:
    return next(record for record in examined if record.prop.name == name and record.shard == found.shard)


def _foreign(plans: Mapping[Path, Plan]) -> list[str]:
    first, *others = plans
    ours, problems = plans[first].to_json(), []
    for folder in others:
        theirs = plans[folder].to_json()
        unlike = [name for name in ours if name != "part" and ours[name] != theirs[name]]
        if unlike:
            told = "; ".join(f"{name} is {_SHORT.repr(theirs[name])}, not {_SHORT.repr(ours[name])}" for name in unlike)
            problems.append(f"{folder} belongs to another run than {first}: {told}")
        elif plans[folder].part[1] != plans[first].part[1]:
            problems.append(f"{folder} is {_part(plans[folder])}, but {first} is {_part(plans[first])}")
    return problems


def _overlapping(plans: Mapping[Path, Plan]) -> list[str]:
    seen: dict[tuple[int, int], Path] = {}
    problems = []
    for folder, plan in plans.items():
        if plan.part in seen:
            problems.append(f"{folder} and {seen[plan.part]} both are {_part(plan)}")
        seen.setdefault(plan.part, folder)
    return problems


def _missing(plans: Mapping[Path, Plan]) -> list[str]:
    parts = next(iter(plans.values())).part[1]
    there = {plan.part[0] for plan in plans.values()}
    return [f"part {number} of {parts} is missing" for number in range(1, parts + 1) if number not in there]


def _unended(journals: Mapping[Path, Journal], plans: Mapping[Path, Plan]) -> list[str]:
    problems = []
    for folder, journal in journals.items():
        end = journal.ended()
        if end is None or end[0] == "interrupted":
            problems.append(f"{folder}, {_part(plans[folder])}, has not ended: patchify-verify run --resume {folder}")
        elif end[0] is None and (gone := journal.left(plans[folder])):
            problems.append(f"{folder}, {_part(plans[folder])}, has ended, but what came of {', '.join(gone)} is gone")
    return problems


def _part(plan: Plan) -> str:
    return f"part {plan.part[0]} of {plan.part[1]}"
