"""What came of cases and shards: plain data, JSON both ways, so that it can be written down and sent anywhere."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from properties.cases.case import DTYPES, Case
from properties.cases.factors import emptied, is_row, levels, row
from properties.cases.shrinking import complexity
from properties.laws import LAWS
from properties.runs.shard_names import LANDMARKS, OUTSIDE, is_small
from properties.trials.verdict import Failed, Inapplicable, NotJudged, Passed, Verdict

_COMPILED = {prop.name for prop in LAWS if prop.on == "compiled"}
_AUTOCASTING = {prop.name for prop in LAWS if prop.autocast}
_EMPTYING = {prop.name for prop in LAWS if prop.empty_batch}
# The last bin of errors over bounds takes whatever is smaller, zero too.
MOST_DOUBLINGS = 16
_ERROR_BIN = rf"({'|'.join(DTYPES)}) ([0-9]|1[0-{MOST_DOUBLINGS - 10}])"
# What came of a shape of the small scope.
HELD, FAILED, SILENT = "+", "-", "?"
# What stands in a report for shapes that were not run, and for those outside the domain.
NOT_RUN, EXCLUDED = " ", "x"
_KINDS = {kind.__name__.lower(): kind for kind in (Passed, Failed, Inapplicable, NotJudged)}


def error_bin(dtype: str, error_over_bound: float) -> str:
    """What an error over its bound is counted by: ``"float32 3"`` where it can be doubled three times within it."""
    doublings = math.floor(-math.log2(error_over_bound)) if error_over_bound > 0 else MOST_DOUBLINGS
    return f"{dtype} {min(max(doublings, 0), MOST_DOUBLINGS)}"


@dataclass(frozen=True)
class CaseResult:
    """The verdict of every property that was judged on one case of a shard.

    ``died`` says how the process ended on the case, where it did, and under which property. ``seconds`` is what judging
    it took.
    """

    name: str
    case: Case
    verdicts: dict[str, Verdict]
    died: dict[str, str] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)

    @property
    def failed(self) -> list[str]:
        """The properties that failed."""
        return [name for name, verdict in self.verdicts.items() if isinstance(verdict, Failed)]

    def to_json(self) -> dict[str, Any]:
        """As plain data, without the case, which the plan draws again."""
        verdicts = {}
        for name, verdict in self.verdicts.items():
            told = {"what": verdict.what} if isinstance(verdict, Failed) else asdict(verdict)
            told = {member: value for member, value in told.items() if value is not None}
            verdicts[name] = {type(verdict).__name__.lower(): told}
        return {"name": self.name, "verdicts": verdicts, "died": self.died, "seconds": round(self.seconds, 6)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], cases: Mapping[str, Case]) -> Self:
        """From plain data, and the cases of the shard."""
        verdicts: dict[str, Verdict] = {}
        for name, told in data["verdicts"].items():
            ((kind, members),) = told.items()
            verdicts[name] = _KINDS[kind](**members)
        return cls(data["name"], cases[data["name"]], verdicts, data["died"], float(data["seconds"]))


@dataclass(frozen=True)
class Found:
    """A case on which a property failed, in which shard, and how the process died of it, where it did."""

    case: dict[str, Any]
    shard: str
    died: str | None = None


@dataclass
class Tally:
    """The verdicts of one property, counted.

    ``inapplicable`` counts by reason; ``lost`` are those among them whose reason is a fault of torch, and ``broken`` is
    how many could not be judged since the layer is broken, for which another property has failed. ``not_judged`` counts
    the checks for which time was up, by how that was noticed. ``errors`` counts the checks that passed within a bound,
    by dtype and by how often the largest error can be doubled within it (see ``error_bin``).
    """

    passed: int = 0
    failed: int = 0
    inapplicable: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    not_judged: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    error_over_bound: float | None = None
    errors: dict[str, int] = field(default_factory=dict)
    smallest_failure: Found | None = None

    @classmethod
    def of(cls, case: Case, verdict: Verdict, shard: str, died: str | None = None) -> Self:
        """One verdict, counted."""
        match verdict:
            case Passed(error_over_bound=error_over_bound):
                errors = {} if error_over_bound is None else {error_bin(case.input.dtype, error_over_bound): 1}
                return cls(passed=1, error_over_bound=error_over_bound, errors=errors)
            case Failed():
                return cls(failed=1, smallest_failure=Found(case.to_json(), shard, died))
            case Inapplicable(reason, torch_fault, broken):
                return cls(inapplicable={reason: 1}, lost={reason: 1} if torch_fault else {}, broken=int(broken))
            case NotJudged(how):
                return cls(not_judged={how: 1})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From plain data."""
        found = None if data["smallest_failure"] is None else Found(**data["smallest_failure"])
        if found is not None:
            Case.from_json(found.case)
            if not isinstance(found.shard, str) or not isinstance(found.died, str | None):
                raise ValueError("a failure has no shard, or died of nothing")
        result = cls(**{**data, "smallest_failure": found})
        if not isinstance(result.error_over_bound, float | None):
            raise ValueError(f"error_over_bound is {result.error_over_bound!r}")
        if not all(re.fullmatch(_ERROR_BIN, name) for name in result.errors):
            raise ValueError("what errors are counted by is none")
        return result

    @property
    def meant(self) -> int:
        """Trials on which the property would have said yes or no, had nothing come before."""
        return self.checks + self.broken + sum(self.lost.values()) + sum(self.not_judged.values())

    @property
    def checks(self) -> int:
        """Trials on which the property said yes or no."""
        return self.passed + self.failed

    def merged(self, other: Self) -> "Tally":
        """Both, as if they had been counted together."""
        errors = [
            error_over_bound
            for error_over_bound in (self.error_over_bound, other.error_over_bound)
            if error_over_bound is not None
        ]
        failures = [found for found in (self.smallest_failure, other.smallest_failure) if found is not None]
        return Tally(
            self.passed + other.passed,
            self.failed + other.failed,
            dict(Counter(self.inapplicable) + Counter(other.inapplicable)),
            dict(Counter(self.lost) + Counter(other.lost)),
            dict(Counter(self.not_judged) + Counter(other.not_judged)),
            self.broken + other.broken,
            max(errors, default=None),
            dict(Counter(self.errors) + Counter(other.errors)),
            min(failures, key=lambda found: complexity(Case.from_json(found.case)), default=None),
        )


@dataclass
class ShardResult:
    """What one shard found: tallies by property, cases run, levels reached.

    ``rows`` counts the cases that some property judged, by the levels that they fall into (see ``factors.row``); a case
    that was judged with an empty batch, or under autocast, falls into the levels of that one, too. ``shapes`` counts
    the unlike patch sizes, strides and sizes. ``false_passes`` gives, for each exact property, the probability with
    which a wrong bilinear map would have passed on the shape where that is largest. ``deaths`` counts the checks that a
    process did not survive, ``left_out`` the cases that were given up after too many of them. ``accepted`` are the
    names of cases outside the domain that the layer takes all the same. ``scope`` is a letter for each case of a shard
    of the small scope, in their order. ``seconds`` is what judging took, which no two runs share.
    """

    shard: str
    cases: int = 0
    landmarks: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    shapes: int = 0
    false_passes: dict[str, float] = field(default_factory=dict)
    deaths: int = 0
    left_out: int = 0
    scope: str = ""
    seconds: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From plain data."""
        tallies = {name: Tally.from_json(tally) for name, tally in data["tallies"].items()}
        result = cls(**{**data, "tallies": tallies})
        numbers = [result.cases, result.shapes, result.deaths, result.left_out, *result.rows.values()]
        for tally in tallies.values():
            counts = (tally.inapplicable, tally.lost, tally.not_judged, tally.errors)
            numbers += [
                tally.passed,
                tally.failed,
                tally.broken,
                *(count for found in counts for count in found.values()),
            ]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("a number of cases or checks is none")
        if not all(map(is_row, result.rows)):
            raise ValueError("the levels of a case are none")
        if not all(isinstance(name, str) for name in (*result.landmarks, *result.accepted)):
            raise ValueError("a landmark is none")
        if not all(isinstance(each, float) and 0 <= each <= 1 for each in result.false_passes.values()):
            raise ValueError("a probability is none")
        if not set(result.scope) <= {HELD, FAILED, SILENT} or len(result.scope) > result.cases:
            raise ValueError("what came of the small scope is none")
        if not isinstance(result.seconds, float | int) or not 0 <= result.seconds < math.inf:
            raise ValueError(f"seconds is {result.seconds!r}")
        return result


def gather(shard: str, results: Iterable[CaseResult]) -> ShardResult:
    """The results of the cases of a shard, counted."""
    found = ShardResult(shard)
    false_passes: dict[tuple[object, ...], dict[str, float]] = {}
    for result in results:
        case = result.case
        shape: dict[str, float] = {}
        if judged(result):
            numbers = case.spec.data_dim, case.spec.patch_size, case.spec.effective_stride, case.input.sizes
            shape = false_passes.setdefault(numbers, shape)
        for name, verdict in result.verdicts.items():
            one = Tally.of(case, verdict, shard, result.died.get(name))
            found.tallies[name] = found.tallies.get(name, Tally()).merged(one)
            if isinstance(verdict, Passed):
                shape[name] = shape.get(name, 1.0) * (1.0 if verdict.false_pass is None else verdict.false_pass)
        found.cases += 1
        if shard == LANDMARKS and judged(result):
            found.landmarks.append(result.name)
        if shard == OUTSIDE and result.failed:
            found.accepted.append(result.name)
        for reached in _reached(result):
            found.rows[row(reached)] = found.rows.get(row(reached), 0) + 1
        found.seconds += result.seconds
        if is_small(shard):
            found.scope += FAILED if result.failed else HELD if judged(result) else SILENT
    found.shapes = len(false_passes)
    for name in sorted(
        {name for shape in false_passes.values() for name, false_pass in shape.items() if false_pass < 1}
    ):
        found.false_passes[name] = max(shape[name] for shape in false_passes.values() if name in shape)
    return found


def judged(result: CaseResult) -> set[str]:
    """The properties that said yes or no of a case."""
    return {name for name, verdict in result.verdicts.items() if not isinstance(verdict, Inapplicable | NotJudged)}


def _reached(result: CaseResult) -> Iterator[dict[str, str]]:
    """The levels in which some property said yes or no."""
    names = judged(result)
    compiled = bool(names & _COMPILED)
    if names:
        yield levels(result.case, compiled=compiled)
    if names & _AUTOCASTING:
        yield levels(result.case, compiled=compiled, autocast=True)
    if names & _EMPTYING:
        yield emptied(levels(result.case))
