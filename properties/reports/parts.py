"""The parts of a run as a person knows them, shards of one kind together."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from properties.runs.result import ShardResult
from properties.runs.shard_names import NAMES, kind_of


@dataclass(frozen=True)
class PartOfRun:
    """The shards of one kind, as far as they were run.

    ``false_passes`` gives, by law, the probability with which a wrong bilinear map would have passed on the shape where
    that is largest; ``seconds`` is what judging took, summed over all processes.
    """

    kind: str
    shards: int
    cases: int
    shapes: int
    seconds: float
    false_passes: dict[str, float]

    @property
    def name(self) -> str:
        """What a person calls it."""
        return NAMES.get(self.kind, self.kind)


def parts_of(results: Iterable[ShardResult]) -> list[PartOfRun]:
    """The parts of a run that judged some case, in the order in which they began."""
    by_kind: dict[str, list[ShardResult]] = defaultdict(list)
    for result in results:
        if result.cases:
            by_kind[kind_of(result.shard)].append(result)
    return [_part(kind, results) for kind, results in by_kind.items()]


def _part(kind: str, results: list[ShardResult]) -> PartOfRun:
    largest: dict[str, float] = {}
    for name, false_pass in (found for result in results for found in result.false_passes.items()):
        largest[name] = max(false_pass, largest.get(name, 0.0))
    cases, shapes, seconds = (
        sum(getattr(result, counted) for result in results) for counted in ("cases", "shapes", "seconds")
    )
    return PartOfRun(kind, len(results), cases, shapes, seconds, dict(sorted(largest.items())))
