"""What a property says of a trial: passed, failed or inapplicable."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Passed:
    """The property holds.

    ``slack`` is the largest error over its bound, where there is a bound that is not zero. ``miss`` is the probability
    with which a wrong bilinear map would have passed too, where that is known.
    """

    slack: float | None = None
    miss: float | None = None


@dataclass(frozen=True)
class Failed:
    """The property does not hold: what is wrong in a sentence, then where, and the two values that differ."""

    what: str
    where: str = ""
    observed: str = ""
    expected: str = ""
    bound: str = ""


@dataclass(frozen=True)
class Inapplicable:
    """The property says nothing about this trial, for the given reason."""

    reason: str


Verdict = Passed | Failed | Inapplicable
