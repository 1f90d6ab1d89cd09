"""The cause of a failure in one sentence: found by probing the implementation, and said only where it fits.

First the failing case is made larger, for little can be read off one pixel. Then what the layer does is measured, and
hypotheses are tried from the most specific to the least: one is said only where it predicts every value of the probe.
Last the features of the case are changed one at a time, to see which of them the failure takes.
"""

from contextlib import suppress

from properties.cases.case import Case
from properties.diagnosis.cause import Cause
from properties.diagnosis.context import by_property, context, judging, only
from properties.diagnosis.growth import grow
from properties.diagnosis.measurements import AS_SMALL_AS_IT_IS, cause_of
from properties.diagnosis.probe import Spent, Subject
from properties.laws.law import Law
from properties.trials.implementation import Implementation
from properties.trials.settings import undisturbed
from properties.trials.trial import Raised, Unusable, blaming
from properties.trials.verdict import Failed

__all__ = ["UNEXPLAINED", "UNSTEADY", "explain"]

UNEXPLAINED = "not found: no hypothesis predicts what the probes gave"
UNSTEADY = "not found: the case does not fail every time"


def explain(prop: Law, case: Case, verdict: Failed, implementation: Implementation, device: str = "cpu") -> str:
    """The cause of a failure in one sentence, such as "the bias is added twice" or "wrong only in bfloat16".

    Args:
        prop: the property that fails.
        case: on which it fails, best the smallest that was found.
        verdict: what it says of the case.
        implementation: what fails.
        device: on which.

    Returns:
        The cause; nothing where the case has a history, which says it itself; ``UNEXPLAINED`` or
        ``UNSTEADY`` where it was not found. Nothing that the layer does is raised.
    """
    if case.history:
        return ""  # the smallest history is the explanation
    subject = Subject(prop, implementation, device)
    cause, found = None, []
    # Whatever a layer does to a probe, its failure is reported all the same.
    with undisturbed(device), suppress(Raised, Unusable, Spent), blaming("a probe"):
        # Compiling costs too much to grow by: a compiled layer is measured on a case of its own.
        steady = prop.on == "compiled" or subject.fails(case)
        small = not steady or prop.on == "compiled" or prop.name in AS_SMALL_AS_IT_IS
        grown = case if small else grow(case, subject.fails)
        again = verdict if grown == case else subject.verdict(grown)
        with suppress(Raised, Unusable):
            cause = cause_of(subject, grown, again if isinstance(again, Failed) else verdict)
        if cause is None and (not steady or prop.on == "compiled"):
            return UNEXPLAINED if steady else UNSTEADY
        fails = judging(by_property(subject))
        if cause and cause.fails and cause.fails(grown):
            fails = judging(cause.fails)
        if cause is None or cause.features != ():
            found = context(grown, case, fails, cause.words if cause else "", cause.features if cause else None)
    return _sentence(cause, only(found))


def _sentence(cause: Cause | None, when: str) -> str:
    if cause is None:
        return f"wrong {when}" if when else UNEXPLAINED
    return f"{cause.words}, {when}" if when else cause.words
