"""The cause of a failure in one sentence: found by probing the implementation, and said only where it fits.

First the failing case is made larger, for little can be read off one pixel. Then what the layer does is measured, and
hypotheses are tried from the most specific to the least: one is said only where it predicts every value of the probe.
Last the features of the case are changed one at a time, to see which of them the failure takes.
"""

from contextlib import suppress

from properties.case import Case
from properties.explanation.causes import Cause, cause_of
from properties.explanation.context import context, judging, only
from properties.explanation.growth import grow
from properties.explanation.probe import Spent, Subject
from properties.implementation import Implementation
from properties.property import Property
from properties.trial import Raised, Unusable, blaming
from properties.verdict import Failed

__all__ = ["UNEXPLAINED", "explain"]

UNEXPLAINED = "the cause was not found"


def explain(prop: Property, case: Case, verdict: Failed, implementation: Implementation, device: str = "cpu") -> str:
    """The cause of a failure in one sentence, such as "the bias is added twice" or "wrong only in bfloat16".

    Args:
        prop: the property that fails.
        case: on which it fails, best the smallest that was found.
        verdict: what it says of the case.
        implementation: what fails.
        device: on which.

    Returns:
        The cause; where it was not found, ``UNEXPLAINED``. Nothing that the implementation does is raised.
    """
    subject = Subject(prop, implementation, device)
    cause, found = None, []
    # Whatever a layer does to a probe, its failure is reported all the same.
    with suppress(Raised, Unusable, Spent), blaming("a probe"):
        grown = case if prop.on == "compiled" else grow(case, subject.fails)
        with suppress(Raised, Unusable):
            cause = cause_of(subject, grown, verdict if grown == case else subject.verdict(grown))
        if prop.on != "compiled":
            found = context(grown, case, judging(subject), cause.implied if cause else ())
    return _sentence(cause, only(found))


def _sentence(cause: Cause | None, when: str) -> str:
    if cause is None:
        return f"wrong {when}" if when else UNEXPLAINED
    return f"{cause.words}, {when}" if when else cause.words
