"""The part of a run that one worker does, and what comes of it: plain data."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from properties.case import Case
from properties.coverage import cells
from properties.plan import Plan
from properties.property import Property
from properties.settings import undisturbed
from properties.shrink import complexity
from properties.trial import Trial
from properties.verdict import Failed, Inapplicable, Passed

AfterCase = Callable[[str, int, int], None]


@dataclass
class Tally:
    """The verdicts of one property, counted."""

    passed: int = 0
    failed: int = 0
    inapplicable: dict[str, int] = field(default_factory=dict)
    slack: float | None = None
    smallest_failure: dict[str, Any] | None = None

    @property
    def checks(self) -> int:
        """Trials on which the property said yes or no."""
        return self.passed + self.failed

    def merged(self, other: Self) -> "Tally":
        """Both, as if they had been counted together."""
        slacks = [slack for slack in (self.slack, other.slack) if slack is not None]
        failures = [case for case in (self.smallest_failure, other.smallest_failure) if case is not None]
        return Tally(
            self.passed + other.passed,
            self.failed + other.failed,
            dict(Counter(self.inapplicable) + Counter(other.inapplicable)),
            max(slacks, default=None),
            min(failures, key=lambda case: complexity(Case.from_json(case)), default=None),
        )


@dataclass
class ShardResult:
    """What one shard found: tallies by property, cases run, cells reached.

    ``shapes`` counts the unlike patch sizes, strides and sizes. ``misses`` gives, for each exact property, the
    probability with which a wrong bilinear map would have passed on the shape where that is largest.
    """

    shard: str
    cases: int = 0
    landmarks: list[str] = field(default_factory=list)
    cells: dict[str, dict[str, int]] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    shapes: int = 0
    misses: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From plain data."""
        tallies = {name: Tally(**tally) for name, tally in data["tallies"].items()}
        return cls(**{**data, "tallies": tallies})

    def count(self, prop: Property, case: Case, verdict: Passed | Failed | Inapplicable) -> None:
        """Add one verdict."""
        one = Tally()
        match verdict:
            case Passed(slack=slack):
                one.passed, one.slack = 1, slack
            case Failed():
                one.failed, one.smallest_failure = 1, case.to_json()
            case Inapplicable(reason):
                one.inapplicable = {reason: 1}
        self.tallies[prop.name] = self.tallies.get(prop.name, Tally()).merged(one)


def run_shard(
    plan: Plan,
    shard: str,
    *,
    until: float | None = None,
    stop_at: Callable[[str], bool] = lambda name: False,
    after_case: AfterCase = lambda shard, done, of: None,
) -> ShardResult:
    """Run all properties of a plan on all cases of a shard.

    Args:
        plan: the run.
        shard: a name from ``plan.shards``.
        until: ``time.monotonic()`` after which no further case is begun.
        stop_at: whether to stop after a case on which the named property has failed.
        after_case: called after every case with the shard, the cases done and their number.
    """
    result = ShardResult(shard)
    misses: dict[tuple[object, ...], dict[str, float]] = {}
    properties = plan.properties_of(shard)
    cases = plan.cases_of(shard)
    for name, case in cases.items():
        if until is not None and time.monotonic() >= until:
            break
        shape = misses.setdefault((case.spec.data_dim, case.spec.patch_size, case.spec.step, case.input.sizes), {})
        failed = run_case(plan, properties, case, result, shape)
        result.cases += 1
        if shard == "landmarks":
            result.landmarks.append(name)
        for axis, cell in cells(case).items():
            along = result.cells.setdefault(axis, {})
            along[cell] = along.get(cell, 0) + 1
        after_case(shard, result.cases, len(cases))
        if any(stop_at(prop) for prop in failed):
            break
    result.shapes = len(misses)
    for name in sorted({name for shape in misses.values() for name, miss in shape.items() if miss < 1}):
        result.misses[name] = max(shape[name] for shape in misses.values() if name in shape)
    return result


def run_case(
    plan: Plan, properties: tuple[Property, ...], case: Case, result: ShardResult, shape: dict[str, float]
) -> list[str]:
    """Count the verdict of every property on one trial.

    Args:
        plan: the run.
        properties: what to judge by.
        case: what to judge on.
        result: where to count.
        shape: for each property that held on this shape, the probability that it held for a wrong map.

    Returns:
        The names of the properties that failed.
    """
    failed = []
    with undisturbed(plan.device, tf32=case.tf32):
        trial = Trial(case, plan.implementation, plan.device)
        for prop in properties:
            verdict = prop(trial)
            result.count(prop, case, verdict)
            if isinstance(verdict, Passed):
                shape[prop.name] = shape.get(prop.name, 1.0) * (1.0 if verdict.miss is None else verdict.miss)
            if isinstance(verdict, Failed):
                failed.append(prop.name)
    return failed
