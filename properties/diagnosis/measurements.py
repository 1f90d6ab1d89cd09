"""Which measurements a failure calls for, and where else the same is to be looked for."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from properties.cases.case import LAYOUTS, Case
from properties.diagnosis import construction, effects, refusal
from properties.diagnosis.cause import Cause
from properties.diagnosis.compiled import compiled_words
from properties.diagnosis.derivatives import cause_of_second_derivative
from properties.diagnosis.features import Judge
from properties.diagnosis.forward import cause_of_output
from properties.diagnosis.gradients import cause_of_gradient, cause_of_gradient_rounding, gradients_fail
from properties.diagnosis.nonfinite import cause_of_nonfinite, cause_of_uncovered, nan_spreads
from properties.diagnosis.precision import cause_of_rounding
from properties.diagnosis.probe import Look, Subject, observe, plainly
from properties.diagnosis.samples import cause_of_huge_batch
from properties.diagnosis.ways import WAYS, cause_by_way, way_fails
from properties.diagnosis.words import first_sentence, listed
from properties.trials.trial import Raised, Unusable, blaming
from properties.trials.verdict import Failed


def cause_of(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """The cause of a failure, None where no hypothesis fits."""
    name = subject.prop.name
    if subject.prop.on == "compiled":
        return _of_compiled(subject, case, verdict)
    for measure in (_BY_PROPERTY.get(name), _of_ways, _of_output, _of_gradient):
        with suppress(Raised, Unusable), blaming("a probe"):
            cause = measure and measure(subject, case, verdict)
            if cause:
                return cause
    if verdict.expected == "no exception" and verdict.what.endswith(" raised an exception"):
        doing = verdict.what.removesuffix(" raised an exception").rstrip(",")
        return Cause(f"{doing} raises {first_sentence(verdict.observed)}")
    words = cause_of_rounding(case, plainly(subject, case))
    if words is None and case.backward.requires_grad:
        words = cause_of_gradient_rounding(subject, case)
    return Cause(words, features=("dtype",)) if words else None


Measure = Callable[[Subject, Case, Failed], Cause | None]


def _of_output(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    words = cause_of_output(case, plainly(subject, case))
    return Cause(words, output_fails(subject)) if words else None


def output_fails(subject: Subject) -> Judge:
    """Whether the plain output is wrong on a case, None where there is none."""

    def fails(case: Case) -> bool | None:
        try:
            return not all(one.is_right for one in observe(case, plainly(subject, case)))
        except Raised:
            return None

    return fails


def _of_gradient(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    if not case.backward.requires_grad:
        return None
    words = cause_of_gradient(subject, case)
    return Cause(words, gradients_fail(subject, case)) if words else None


def _of_ways(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    found = cause_by_way(subject, case, WAYS.get(subject.prop.name, ()))
    if not found:
        return None
    words, way = found
    # Noise shows in one dtype and is lost in another.
    return Cause(words, way_fails(subject, way), () if "random" in words else None)


def _of_layouts(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """The layouts in which the output is wrong, and how."""
    wrong: dict[str, str | None] = {}
    for layout in LAYOUTS:
        other = replace(case, input=replace(case.input, layout=layout))
        if layout == "expanded":
            continue
        try:
            words = cause_of_output(other, plainly(subject, other))
            if words or output_fails(subject)(other):
                wrong[layout] = words
        except Raised as raised:
            wrong[layout] = f"forward raises {raised.observed}"
    if not wrong:
        return None
    if {"contiguous", "odd_strides"}.isdisjoint(wrong) and len(wrong) == 4:
        kinds = "that are not contiguous"
    else:
        kinds = f"that are stored {listed([layout.replace('_', ' ') for layout in wrong])}"
    words = next((words for words in wrong.values() if words), None)
    return Cause(f"{words}, only for inputs {kinds}" if words else f"wrong only for inputs {kinds}", features=())


def _of_compiled(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    words = compiled_words(subject, case, verdict)
    return Cause(words, features=()) if words else None


def _of_words(measure: Callable[[Subject, Case], str | None], features: tuple[str, ...] | None = None) -> Measure:
    def cause(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
        words = measure(subject, case)
        return Cause(words, features=features) if words else None

    return cause


def _looking(measure: Callable[[Case, Look], str | None]) -> Measure:
    def cause(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
        words = measure(case, plainly(subject, case))
        return Cause(words) if words else None

    return cause


def _returned(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    return Cause(f"forward returns {verdict.observed} instead of {verdict.expected}")


def _outlives(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    return Cause(f"{verdict.what}: something else still holds it", features=())


def _spreading(case: Case, look: Look) -> str | None:
    return nan_spreads(case, look) or cause_of_nonfinite(case, look)


# Of what outlives a layer a larger case shows no more, and each takes a collection of all garbage.
AS_SMALL_AS_IT_IS = ("keeps_nothing",)
_BY_PROPERTY: dict[str, Measure] = {
    "constructs": construction.constructs,
    "holds_conv": construction.holds_conv,
    "default_initialisation": construction.initialisation,
    "documented_examples": construction.defaults,
    "rejects_data_dim": refusal.data_dim,
    "rejects_bad_arguments": refusal.arguments,
    "rejects_wrong_rank": refusal.inputs,
    "rejects_wrong_channels": refusal.inputs,
    "rejects_small_sizes": refusal.inputs,
    "returns_tensor": _returned,
    "same_in_every_layout": _of_layouts,
    "global_state_unchanged": _of_words(effects.cause_of_setting),
    "draws_no_random_numbers": _of_words(effects.cause_of_random),
    "keeps_nothing": _outlives,
    "second_derivative": _of_words(cause_of_second_derivative),
    "second_derivative_numerically": _of_words(cause_of_second_derivative),
    "uncovered_pixels_ignored": _looking(cause_of_uncovered),
    "nonfinite_reaches_its_tokens": _looking(_spreading),
    "huge_batch": _looking(cause_of_huge_batch),
    "empty_batch": refusal.empty_batch,
}
