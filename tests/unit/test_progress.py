"""What is told of how much of a run is left: nothing before it is known, and never more than before."""

from collections.abc import Iterable

import pytest
from rich.console import Console

from properties.runs.progress import Estimate, shown

SHARDS = ("random0", "random1", "landmarks")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told(cases: Iterable[tuple[str, float]], of: int = 10) -> list[float | None]:
    """What the estimate is after each case, given its shard and the seconds that it took."""
    clock = Clock()
    estimate = Estimate(SHARDS, clock)
    done = dict.fromkeys(SHARDS, 0)
    found = []
    for shard, seconds in cases:
        clock.now += seconds
        done[shard] += 1
        estimate.add(shard, done[shard], of)
        found.append(estimate.left())
    assert (estimate.cases, estimate.finished) == (sum(done.values()), sum(n == of for n in done.values()))
    return found


def test_nothing_is_told_before_every_kind_was_timed() -> None:
    assert told([("random0", 1.0)] * 10 + [("random1", 1.0)] * 5) == [None] * 15


def test_it_is_right_where_all_cases_of_a_kind_take_as_long() -> None:
    found = told([("landmarks", 3.0)] * 10 + [("random0", 1.0)] * 10 + [("random1", 1.0)] * 10)
    assert found[:11] == [None] * 11
    assert found[11:] == [18.0 - n for n in range(19)]


def test_it_never_grows() -> None:
    slower = [("landmarks", 1.0)] * 10 + [("random0", 1.0)] * 10 + [("random1", 30.0)] * 10
    found = [left for left in told(slower) if left is not None]
    assert found == sorted(found, reverse=True)
    # While it was far too low, it was not told.
    assert None in told(slower)[12:]
    assert found[-1] == 0


def test_the_first_statement_is_about_the_first_small_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    for failed, statement in (([], "nothing has failed on the first 3 cases, small scope, 1D\n"), (["grid_shape"], "")):
        with shown(Console(stderr=True), ["small1D-0", "random0"]) as on_case:
            on_case("small1D-0", 1, 2, failed)
            on_case("random0", 1, 2, [])
            assert "nothing" not in capsys.readouterr().err
            on_case("small1D-0", 2, 2, [])
            on_case("small1D-1", 2, 2, [])
        assert capsys.readouterr().err == statement
