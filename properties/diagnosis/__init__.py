"""Why a layer fails: probes measure what it does, one table of hypotheses is held against that, words come last.

The failing case is made larger first, for little can be read off one pixel. A hypothesis is believed where it predicts
every value of every probe, on the larger case and on the one that is shown.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from oracles.windows import covered
from properties.cases.case import LAYOUTS, Case
from properties.diagnosis.evidence import OUTPUT, Evidence, View
from properties.diagnosis.features import COMPILED, features
from properties.diagnosis.growth import affordable, changed, grow
from properties.diagnosis.hypotheses import HYPOTHESES, Predict
from properties.diagnosis.probe import FILLS, Measured, Seen, Spent, Subject
from properties.diagnosis.words import sentence
from properties.laws.law import Law
from properties.trials.declaration import domain_of
from properties.trials.ending import Raised, Unusable
from properties.trials.implementation import Implementation
from properties.trials.settings import undisturbed
from properties.trials.tensors import TORCH_DTYPES
from properties.trials.verdict import Failed, Passed

__all__ = ["Evidence", "diagnose", "explain", "sentence"]

# Samples of a batch that is larger than 16 bits can number.
_HUGE = 2**16 + 4
# What laws about how a layer is built are about, by their first clause: their verdicts say the rest.
_BUILDING = {"C1": "arguments", "C2": "", "C3": "start", "H1": "", "H2": "refusal", "H3": "refusal", "H10": ""}


def explain(prop: Law, case: Case, verdict: Failed, implementation: Implementation, device: str = "cpu") -> str:
    """The cause of a failure in a sentence, such as "the bias is added twice, only in bfloat16".

    Nothing where the verdict, or a history, says by itself what is wrong.
    """
    evidence = diagnose(prop, case, verdict, implementation, device)
    return "" if evidence is None else sentence(evidence, case)


def diagnose(
    prop: Law, case: Case, verdict: Failed, implementation: Implementation, device: str = "cpu"
) -> Evidence | None:
    """What was measured about a failing layer; None where nothing but the verdict shows it.

    Args:
        prop: the law that fails.
        case: on which it fails, best the smallest that was found.
        verdict: what it says of the case.
        implementation: what fails.
        device: on which.

    Returns:
        The evidence. Nothing that the layer does is raised.
    """
    if case.history:
        return None  # the smallest history is the explanation
    subject = Subject(prop, implementation, device)
    with undisturbed(device), suppress(Spent):
        return _diagnosed(subject, case, verdict)
    return Evidence("unknown", {}, case)


def _diagnosed(subject: Subject, case: Case, verdict: Failed) -> Evidence | None:
    compiled = subject.law.on == "compiled"
    # Compiling costs too much to ask twice.
    if not compiled and _fails(subject, case) is not True:
        return Evidence("unsteady", {}, case)
    about = _BUILDING.get(subject.law.clauses[0])
    if about in ("arguments", "start") and not domain_of(subject.implementation).interface:
        about = ""  # An adapter's constructor says nothing of the layer's.
    larger = grow(replace(case, fill=FILLS[0]), lambda other: True) if about == "refusal" else case
    found = next(_explanations(Measured(subject, View(about), larger)), None) if about else None
    if found is not None:
        return found[0]
    if verdict.expected == "no exception":
        raised = Evidence("raises", {"error": verdict.observed}, case)
        return raised if compiled else _when(raised, case, lambda other: _fails(subject, other))
    return next(_of_passes(subject, case), None) if about is None else None


def _fails(subject: Subject, case: Case) -> bool | None:
    """What the law says of a case."""
    subject.spend()
    verdict = subject.law.judge_case(case, subject.implementation, subject.device)
    return isinstance(verdict, Failed) if isinstance(verdict, Failed | Passed) else None


def _of_passes(subject: Subject, case: Case) -> Iterator[Evidence]:
    """What is wrong with the output or a gradient: of the case, or of cases beside it that the law looks at too."""
    law, compiled = subject.law, subject.law.on == "compiled"
    wanted, times = (OUTPUT, *case.backward.requires_grad), (False, True) if compiled else (False,)
    views = [View(of, law.autocast, compiled, later) for later in times for of in wanted]
    for view in views:
        yield from _of_pass(subject, view, case, case)
    others = [replace(case, input=replace(case.input, layout=layout)) for layout in LAYOUTS if "C14" in law.clauses]
    others += [grow(replace(case, fill=FILLS[0]), lambda other: True)]
    huge = changed(case, batch=_HUGE) if "C15" in law.clauses and affordable(case) else None
    for other in () if compiled else (*others, *([] if huge is None else [huge])):
        yield from _of_pass(subject, views[0], other, case)
    for view in views if "C18" in law.clauses else ():
        with suppress(Raised, Unusable):
            seen = tuple(sorted(_extremes(subject, view, case), key=lambda one: one.is_right))
            if not seen[0].is_right:
                yield from (found for found, _ in _explanations(Measured(subject, view, case, seen), extreme=True))


def _of_pass(subject: Subject, view: View, case: Case, shown: Case) -> Iterator[Evidence]:
    """What is wrong with one result, with the features that the failure takes."""
    case = replace(case, fill=FILLS[0]) if case.fill.name == "address" else case
    with suppress(Raised, Unusable):
        seen = subject.observe(view, case)
        if all(one.is_right for one in seen):
            return
        fill, predict = seen[0].fill, None

        def look(other: Case) -> Seen | None:
            with suppress(Raised, Unusable):
                return subject.look(view, other, fill)
            return None

        def fails(other: Case) -> bool | None:
            one = look(other)
            if one is None or (one.is_right and predict is not None and _foreseen(predict, one)):
                return None
            return not one.is_right

        larger = _larger_at_once(case) if view.compiled else None
        grown = grow(case, fails) if not view.compiled else larger if larger and fails(larger) else case
        measured = Measured(subject, view, grown, seen if grown == case else subject.observe(view, grown))
        also = () if grown == shown else subject.observe(view, shown)
        found, predict = next(_explanations(measured, also), (Evidence("unknown", {}, grown, view=view), None))
        # Where nothing is predicted, and the values decide, other cases with other values say nothing.
        yield found if predict is None and fill not in FILLS[:2] else _when(found, shown, fails)


def _larger_at_once(case: Case) -> Case | None:
    """A larger case in one step, where each costs a compilation."""
    sizes = tuple(
        size + case.spec.effective_stride * (2 if len(set(case.input.sizes)) == 1 else 1) for size in case.input.sizes
    )
    into, out, batch = max(2, case.spec.in_features), max(3, case.spec.out_features), max(2, case.input.batch)
    return changed(case, in_features=into, out_features=out, batch=batch, sizes=sizes)


def _explanations(
    measured: Measured, also: tuple[Seen, ...] = (), *, extreme: bool = False
) -> Iterator[tuple[Evidence, Predict | None]]:
    """Every hypothesis, with its parameters, that predicts all that was seen: the one loop."""
    for hypothesis in HYPOTHESES:
        if measured.view.of not in hypothesis.of or (extreme and not hypothesis.extreme):
            continue
        # A layer need not take what it is asked here; the next hypothesis asks something else.
        with suppress(Raised, Unusable):
            for parameters, predict in hypothesis.predict(measured):
                if predict is None or all(_explains(predict, one) for one in (*measured.seen, *also)):
                    yield Evidence(hypothesis.id, parameters, measured.case, view=measured.view), predict


def _predicted(predict: Predict, seen: Seen) -> Tensor | None:
    """What is predicted; None where a hypothesis about some axes says nothing about others."""
    try:
        return predict(seen)
    except (RuntimeError, IndexError):
        return None


def _explains(predict: Predict, seen: Seen) -> bool:
    predicted = _predicted(predict, seen)
    return predicted is not None and seen.explained_by(predicted)


def _foreseen(predict: Predict, seen: Seen) -> bool:
    """Whether a hypothesis gives the right result too, or none."""
    predicted = _predicted(predict, seen)
    return predicted is None or seen.is_rightly(predicted)


def _when(evidence: Evidence, shown: Case, fails: Callable[[Case], bool | None]) -> Evidence:
    """The evidence with the features that the failure takes, as far as the probes reach."""
    found = []
    with suppress(Spent):
        for only in features(evidence.measured_on, shown, fails, COMPILED if evidence.view.compiled else None):
            found.append(only)
    return replace(evidence, only_when=tuple(found))


def _extremes(subject: Subject, view: View, case: Case) -> Iterator[Seen]:
    """What comes out where one number is not finite, and where all are huge or tiny; other numbers are a half."""
    given, info = subject.look(view, case).given, torch.finfo(TORCH_DTYPES[case.input.dtype])
    parts = {name: getattr(given, name) for name in ("x", "weight", "bias", "cotangent")}
    halves = {name: t.sign().masked_fill(t == 0, 1) / 2 for name, t in parts.items() if t is not None}
    pixel = (
        torch.from_numpy(covered(case.input.sizes, case.spec.patch_size, case.spec.effective_stride))
        .nonzero()[-1]
        .tolist()
    )
    for name, tensor in halves.items():
        for value in (math.nan, math.inf):
            other = tensor.clone()
            other[(0, *pixel, -1) if name == "x" else (-1,) * tensor.ndim] = value
            yield subject.run(view, given.having(**{**halves, name: other}))
    for scale in (info.max / 2**12 / case.spec.terms, info.smallest_normal * info.eps * 8):
        scaled = halves["x"].abs() * 2.0 ** math.floor(math.log2(scale))
        yield subject.run(view, given.having(**{**halves, "x": scaled, "weight": halves["weight"].sign()}))
