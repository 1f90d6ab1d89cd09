"""What a law says of a trial: passed, failed, inapplicable, or nothing since time was up."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """One element of the ``output``, or of the ``input``, ``weight`` or ``bias`` or its gradient."""

    tensor: str
    index: tuple[int, ...]

    def __str__(self) -> str:
        """The element in words."""
        first, *inner = self.index
        if self.tensor in ("output", "input"):
            inside = "token" if self.tensor == "output" else "pixel"
            return f"sample {first}, {inside} {_tuple(inner[:-1])}, channel {inner[-1]}"
        if self.tensor == "weight":
            return f"output channel {first}, input channel {inner[0]}, tap {_tuple(inner[1:])}"
        return f"channel {first}"


def _tuple(index: Sequence[int]) -> str:
    return f"({', '.join(map(str, index))})"


# What is expected where infinity or NaN must come through.
NOT_FINITE = "a value that is not finite"


@dataclass(frozen=True)
class Passed:
    """The law holds.

    ``error_over_bound`` is the largest error over its bound, where there is a bound that is not zero. ``false_pass`` is
    the probability with which a wrong bilinear map would have passed too, where that is known.
    """

    error_over_bound: float | None = None
    false_pass: float | None = None


@dataclass(frozen=True)
class Failed:
    """The law does not hold: what is wrong in a sentence, then where, and the two values that differ."""

    what: str
    where: Place | str = ""
    observed: str = ""
    expected: str = ""
    bound: str = ""

    def __str__(self) -> str:
        """All of it on one line."""
        where = f" at {self.where}" if str(self.where) else ""
        values = f": observed {self.observed}, expected {self.expected}" if self.observed else ""
        return f"{self.what}{where}{values}"


@dataclass(frozen=True)
class Inapplicable:
    """The law says nothing about this trial, for the given reason.

    ``torch_fault`` says whether that is a fault of torch: then a check that was due was lost. So it was where what the
    law needs was ``broken``, for which another law has failed.
    """

    reason: str
    torch_fault: bool = False
    broken: bool = False


@dataclass(frozen=True)
class NotJudged:
    """The process that was to judge did not answer in time: slow or hanging, which is neither right nor wrong."""

    how: str


Verdict = Passed | Failed | Inapplicable | NotJudged


class Violation(AssertionError):  # noqa: N818 - it reads as what happened
    """A law does not hold: what is wrong, where, and what was expected."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(str(failed))
        self.failed = failed
