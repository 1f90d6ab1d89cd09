"""Which measurements a failure calls for."""

from dataclasses import dataclass

from properties.case import Case
from properties.explanation.forward import cause_of_output
from properties.explanation.gradients import cause_of_gradient
from properties.explanation.precision import cause_of_rounding
from properties.explanation.probe import Subject, plainly
from properties.explanation.ways import WAYS, cause_by_way
from properties.trial import Raised
from properties.verdict import Failed, Verdict


@dataclass(frozen=True)
class Cause:
    """A cause in words, and the features of a case that go without saying then."""

    words: str
    implied: tuple[str, ...] = ()


# What a wrong order or number of pixels takes: several windows, several taps, several axes.
_SHAPES = ("remainder", "patch", "in_features", "out_features", "batch", "sizes")


def cause_of(subject: Subject, case: Case, verdict: Verdict) -> Cause | None:
    """The cause of a failure, None where no hypothesis fits."""
    assert isinstance(verdict, Failed)
    name = subject.prop.name
    if verdict.expected == "no exception" and verdict.what.endswith(" raised an exception"):
        doing = verdict.what.removesuffix(" raised an exception").rstrip(",")
        return Cause(f"{doing} raises {verdict.observed}")
    if name in WAYS:
        words = cause_by_way(subject, case, WAYS[name])
        if words:
            return Cause(words)
    try:
        words = cause_of_output(case, plainly(subject, case))
    except Raised:
        words = None
    if words:
        return Cause(words)
    if case.backward.requires_grad:
        words = cause_of_gradient(subject, case)
        if words:
            return Cause(words)
    words = cause_of_rounding(case, plainly(subject, case))
    return Cause(words) if words else None
