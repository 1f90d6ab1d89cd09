"""All verdicts of a run, counted."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from properties.cases import small_scope
from properties.cases.case import AUTOCAST
from properties.cases.domain import NEEDS, WHOLE
from properties.cases.factors import LEVELS, NUMBER, Bools, marked, named, together
from properties.cases.outside import excluded
from properties.cases.space import possible
from properties.failures.record import Record
from properties.laws.law import Law
from properties.runs.failure import Failure, failure_from
from properties.runs.plan import Plan
from properties.runs.result import EXCLUDED, NOT_RUN, Found, ShardResult, Tally
from properties.runs.shard_names import SMALL, kind_of
from properties.runs.sharding import shapes_of

# What came of a law in a run: it failed, as was expected or not; held; said nothing of any case; was not judged on some
# since time was up; or was not reached before the run ended.
Outcome = Literal["failed", "failed as expected", "passed", "no check", "not judged", "not reached"]
# Properties that ran on a smaller part of the cases that were meant for them are told, so many of them by name.
_THIN, _SHOWN = 0.5, 3
# What a case is judged with once more, and counts as on that factor alone.
_AGAIN = {"batch": ("0",), "autocast": AUTOCAST[1:]}


class VerificationFailed(AssertionError):  # noqa: N818 - it reads as what happened
    """The implementation does not satisfy the contract."""


@dataclass(frozen=True, repr=False)
class Report:
    """What was verified, how often, and what failed; printed, the verdict in a few lines.

    ``not_isolated`` says why the layer was judged in the process of the caller, which it may end; it is empty where
    it was judged in others.
    """

    plan: Plan
    results: tuple[ShardResult, ...]
    failures: tuple[Failure, ...] = ()
    expected_failures: tuple[Failure, ...] = ()
    stopped: str | None = None
    not_isolated: str = ""
    tallies: dict[str, Tally] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tallies", _tallied(self.plan, self.results))

    def __repr__(self) -> str:
        """The verdict, why it is not better, and what was not judged."""
        return "\n".join([self.verdict_line, *self.problems, *self.by_declaration])

    @property
    def properties(self) -> tuple[Law, ...]:
        """The laws of the report: those of the run, and those that failed though others were asked for."""
        return tuple(prop for prop in self.plan.owners if prop.name in self.tallies) + self.plan.properties

    @property
    def seed(self) -> int:
        """The run seed: the same seed gives the same cases."""
        return self.plan.seed

    @property
    def cases(self) -> int:
        """Cases that ran, landmarks among them."""
        return sum(result.cases for result in self.results)

    @property
    def landmarks(self) -> tuple[str, ...]:
        """Landmark cases that some property judged."""
        return tuple(name for result in self.results for name in result.landmarks)

    @property
    def checks(self) -> dict[str, int]:
        """Law to the number of trials on which it said yes or no."""
        return {name: tally.checks for name, tally in self.tallies.items()}

    @property
    def rates_below(self) -> dict[str, float]:
        """Law to the upper limit, with 95 % confidence, of the rate at which it fails on drawn cases.

        Where none of n cases failed, that is 3/n, the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983). Cases
        that were chosen, not drawn, are no random sample and do not count; nor do those it says nothing about.
        """
        drawn = _tallied(self.plan, (result for result in self.results if self.plan.draws(result.shard)))
        return {
            name: min(1.0, 3 / tally.passed)
            for name, tally in drawn.items()
            if tally.passed and not self.tallies[name].failed
        }

    @property
    def coverage(self) -> dict[str, dict[str, int]]:
        """For every factor of the parameter space, the number of cases in each of its levels, zeros included.

        Only cases count on which some property said yes or no. Those that were judged with an empty batch, or under
        autocast, too, count once more along that factor alone.
        """
        found = {factor: dict.fromkeys(along, 0) for factor, along in LEVELS.items()}
        for row, count in self._rows.items():
            reached = dict(zip(LEVELS, (int(digit) for digit in row), strict=True))
            again = [factor for factor, once_more in _AGAIN.items() if LEVELS[factor][reached[factor]] in once_more]
            for factor in again or LEVELS:
                found[factor][LEVELS[factor][reached[factor]]] += count
        return found

    def reached(self, strength: int) -> tuple[int, int]:
        """How many combinations of so many levels of the parameter space were reached, and how many are possible.

        Args:
            strength: 1 for single levels, 2 for pairs, 3 for triples.
        """
        every = possible(self.plan.space, strength)
        return int((every & self._together[strength]).sum()), int(every.sum())

    def missing(self, strength: int) -> list[tuple[str, ...]]:
        """The combinations of so many levels that are possible and were not reached, by name."""
        return named(possible(self.plan.space, strength) & ~self._together[strength])

    @property
    def factor_pairs(self) -> dict[tuple[str, str], tuple[int, int]]:
        """For every two factors, how many pairs of their levels were reached, and how many are possible."""
        every = possible(self.plan.space, 2)
        reached = every & self._together[2]
        numbers = {factor: [NUMBER[factor, level] for level in along] for factor, along in LEVELS.items()}
        blocks = {pair: np.ix_(numbers[pair[0]], numbers[pair[1]]) for pair in combinations(LEVELS, 2)}
        return {pair: (int(reached[block].sum()), int(every[block].sum())) for pair, block in blocks.items()}

    @property
    def small_scope(self) -> dict[int, str]:
        """By data_dim, a letter for every shape up to the bounds of the small scope, in its order."""
        found: dict[int, str] = {}
        for data_dim, kind in SMALL.items():
            results = [result for result in self.results if kind_of(result.shard) == kind]
            if results:
                every = small_scope.shapes(data_dim, *small_scope.bounds(data_dim, self.plan.scope_margin))
                letters = [NOT_RUN if self.plan.domain.takes_shape(*shape) else EXCLUDED for shape in every]
                inside = [place for place, letter in enumerate(letters) if letter == NOT_RUN]
                for result in results:
                    for place, letter in zip(shapes_of(self.plan.asked, result.shard), result.scope, strict=False):
                        letters[inside[place]] = letter
                found[data_dim] = "".join(letters)
        return found

    @cached_property
    def _rows(self) -> Counter[str]:
        """Cases by their levels."""
        rows: Counter[str] = Counter()
        for result in self.results:
            rows.update(result.rows)
        return rows

    @cached_property
    def _together(self) -> dict[int, Bools]:
        """Which single levels, pairs and triples were reached."""
        table = marked(self._rows)
        return {strength: together(table, strength) for strength in (1, 2, 3)}

    def outcome_of(self, name: str) -> Outcome:
        """What came of a law that the run asked for."""
        tally = self.tallies[name]
        if tally.failed:
            return "failed as expected" if name in self.plan.expected_failures else "failed"
        if tally.not_judged:
            return "not judged"
        if tally.checks:
            return "passed"
        return "no check" if self._whole or self._idle else "not reached"

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the run did not pass, a line for each reason."""
        lines = [failure.message.splitlines()[0] for failure in self.failures]
        idle: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for name, tally in self.tallies.items():
            if name in self.outside:
                continue
            if tally.checks == 0 and not tally.not_judged and (self._whole or self._idle):
                idle[tuple(sorted(tally.inapplicable))].append(name)
            elif name in self.plan.expected_failures and tally.failed == 0 and self._whole:
                reason = self.plan.expected_failures[name]
                lines.append(f"{name} was expected to fail ({reason}), but passed {tally.passed} checks")
        for reasons, names in idle.items():
            told = (f"{reason} ({self._inapplicable(names, reason)})" for reason in reasons)
            lines.append(f"{_few(names)} ran no check: {'; '.join(told) or 'no case was run'}")
        for name in sorted(self.plan.expected_failures.keys() - self.tallies.keys()):
            lines.append(f"{name} was expected to fail, but was not run")
        return (*lines, *self.not_judged)

    def _inapplicable(self, names: Sequence[str], reason: str) -> int:
        """On how many cases laws said nothing for a reason."""
        return sum(self.tallies[name].inapplicable[reason] for name in names)

    @cached_property
    def outside(self) -> dict[str, str]:
        """Properties that say nothing of any case of a domain that is not everything, and why."""
        if self.plan.domain == WHOLE or self._idle:
            return {}
        return {
            name: "; ".join(tally.inapplicable)
            for name, tally in self.tallies.items()
            if tally.inapplicable and not (tally.checks or tally.not_judged or tally.broken or tally.lost)
        }

    @property
    def by_declaration(self) -> tuple[str, ...]:
        """What is not judged since the domain says so, a line each: neither passed nor failed."""
        what = "; ".join(excluded(self.plan.domain))
        lines = [f"not judged, by declaration: {what}"] if what else []
        accepted = [name for result in self.results for name in result.accepted]
        if accepted:
            lines.append(f"accepted, though declared unsupported: {', '.join(accepted)}")
        by_need: dict[str, list[str]] = {}
        for prop, lacking in self.plan.undeclared.items():
            by_need.setdefault(lacking[0], []).append(prop.name)
        lines += [f"not judged, since {NEEDS[need]}: {', '.join(names)}" for need, names in by_need.items()]
        lines += [f"not judged on this domain: {name} ({reason})" for name, reason in self.outside.items()]
        return tuple(lines)

    @property
    def not_judged(self) -> tuple[str, ...]:
        """What was to be checked and was not, since a process did not answer in time or ended too often.

        Nor was what a law could not judge of a layer that is broken, where nothing has failed for that.
        """
        nothing_failed = not any(tally.failed for tally in self.tallies.values())
        return (
            *(
                f"{name} was not judged on {tally.broken} cases, of a layer that is broken there, though nothing failed"
                for name, tally in self.tallies.items()
                if tally.broken and nothing_failed and self._whole
            ),
            *(
                f"{name} was not judged on {count} cases: {how}"
                for name, tally in self.tallies.items()
                for how, count in tally.not_judged.items()
            ),
            *(
                f"shard {result.shard} was given up after {result.deaths} deaths of its process: "
                f"{result.left_out} of {result.cases + result.left_out} cases were not run"
                for result in self.results
                if result.left_out
            ),
        )

    @property
    def passed(self) -> bool:
        """Whether every property that was asked for ran and held, those apart that were expected to fail and did."""
        return not self.problems

    @property
    def incomplete(self) -> bool:
        """Whether nothing speaks against the implementation but that some of it was not judged."""
        return bool(self.not_judged) and self.problems == self.not_judged

    @property
    def _whole(self) -> bool:
        """Whether this is all that the run is to do: one that was stopped, or a part of it, says how far it got."""
        return self.stopped is None and self.plan.part == (1, 1)

    @property
    def _idle(self) -> bool:
        """Whether nothing at all was checked, although there was something to check: that shows nothing."""
        return bool(self.plan.shards) and not any(self.checks.values())

    def raise_if_failed(self) -> None:
        """Do nothing where the run passed.

        Raises:
            VerificationFailed: with every failure, and how to see it again.
        """
        if self.passed:
            return
        messages = [failure.message for failure in self.failures]
        others = [line for line in self.problems if not any(message.startswith(line) for message in messages)]
        raise VerificationFailed("\n\n".join([self.verdict_line, *messages, *others]))

    @property
    def _thin(self) -> list[tuple[str, Tally]]:
        """The properties that ran on a small part of the cases that were meant for them."""
        return [(name, tally) for name, tally in self.tallies.items() if 0 < tally.checks < _THIN * tally.meant]

    @property
    def verdict_line(self) -> str:
        """The verdict in one line."""
        judged = {name: tally for name, tally in self.tallies.items() if name not in self.outside}
        held = sum(tally.checks > 0 and tally.failed == 0 and not tally.not_judged for tally in judged.values())
        counts = f"{held} of {len(judged)} properties held in {sum(self.checks.values())} checks on {self.cases} cases"
        lost: Counter[str] = Counter()
        for tally in self.tallies.values():
            lost.update(tally.lost)
        told = "; ".join(f"{reason} ({count})" for reason, count in sorted(lost.items()))
        few = "".join(
            f"; {name} ran on only {tally.checks} of {tally.meant} cases" for name, tally in self._thin[:_SHOWN]
        )
        few += f"; so did {len(self._thin) - _SHOWN} more properties" if len(self._thin) > _SHOWN else ""
        faults = f"; {lost.total()} checks lost to faults of torch: {told}" if lost else ""
        expected = f"; {len(self.expected_failures)} failed as expected" if self.expected_failures else ""
        shards = len(self.plan.shards)
        number, parts = self.plan.part
        part = f"; part {number} of {parts}" if parts > 1 else ""
        early = {
            "budget": f"; stopped by its budget after {self.cases} cases, in {len(self.results)} of {shards} shards",
            "fail_fast": "; stopped at the first failure",
            "interrupted": "; interrupted",
        }
        verdict = "PASSED" if self.passed else "INCOMPLETE" if self.incomplete else "FAILED"
        return (
            f"{verdict}: {self.plan.name}: {counts}{few}{faults}{expected}{part}"
            f"{early[self.stopped] if self.stopped else ''} (run seed {self.seed})"
        )


def _few(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _tallied(plan: Plan, results: Iterable[ShardResult]) -> dict[str, Tally]:
    tallies = {prop.name: Tally() for prop in plan.properties}
    told = {prop.name for prop in plan.told}
    for result in results:
        for name, tally in result.tallies.items():
            if name in told:
                continue
            tallies[name] = tallies.get(name, Tally()).merged(tally)
    return tallies


def conclude(
    plan: Plan,
    results: Iterable[ShardResult],
    examine: Callable[[Mapping[str, Found]], Mapping[str, Record]],
    *,
    stopped: str | None = None,
    regressions: Path | None = None,
) -> Report:
    """The report on what the shards of a run found.

    Args:
        plan: the run.
        results: of its shards.
        examine: finds out more about failures, the smallest that was found of each property.
        stopped: why the run ended early, if it did.
        regressions: folder to write records to.
    """
    report = Report(plan, tuple(results), stopped=stopped)
    found = {name: tally.smallest_failure for name, tally in report.tallies.items() if tally.smallest_failure}
    records = examine(found)
    failures = [failure_from(plan, records[name], regressions) for name in found]
    return replace(
        report,
        failures=tuple(failure for failure in failures if failure.property not in plan.expected_failures),
        expected_failures=tuple(failure for failure in failures if failure.property in plan.expected_failures),
    )
