"""Takes from Hypothesis what it draws, and nothing that depends on the machine.

Two habits of Hypothesis are kept out by drawing everything through ``pick``. It mixes constants that it finds in the
source of local modules into larger ranges of integers: then the same seed would draw other cases on another machine.
And it copies one draw over another of the same kind: then six of seven cases would be near-copies of one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

from properties.cases.case import Case, Fill

_T = TypeVar("_T")


def pick(draw: st.DrawFn, what: str, options: Sequence[_T]) -> _T:
    """One of the options, which have a hash; ``what`` tells this draw from every other draw of the case."""
    return draw(st.sampled_from([(what, option) for option in options]))[1]


def first_cases(strategy: st.SearchStrategy[Case], seed: str, count: int) -> list[Case]:
    """The first ``count`` cases of a strategy's sequence that belongs to a seed."""
    drawn: list[Case] = []
    if count == 0:
        return drawn

    @hypothesis_seed(seed)
    @settings(
        max_examples=count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        derandomize=False,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        backend="hypothesis",
    )
    @given(strategy)
    def collect(case: Case) -> None:
        # Two cases that are alike otherwise still get different data.
        digest = hashlib.sha256(f"{seed}/{len(drawn)}".encode()).digest()
        drawn.append(replace(case, fill=Fill(case.fill.name, int.from_bytes(digest[:4], "little"))))

    collect()
    return drawn
