"""What is wrong with a layer only when it is compiled, and from which size on."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from oracles.precision import PRECISIONS
from properties.cases.case import Case, Fill
from properties.cases.error import CaseError
from properties.diagnosis.context import context, judging, only
from properties.diagnosis.features import Judge
from properties.diagnosis.forward import cause_of_output
from properties.diagnosis.gradients import cause_of_gradient, gradients_fail
from properties.diagnosis.probe import SEEDS, Seen, Subject, given_of, plainly
from properties.trials.compilation import best_backend, fresh_call, traced_calls
from properties.trials.settings import undisturbed
from properties.trials.trial import Raised, Unusable, blaming
from properties.trials.verdict import Failed

# Each compiles the layer once or twice.
_MOST_PROBES = 60
# What changes cheaply and what compilers take notice of.
_FEATURES = ("dtype", "data_dim", "layout", "stride", "sizes", "patch")
_DATA_DEPENDENT = ("data-dependent", "data dependent", "Could not guard", "torch._check", "Data-dependent")


def compiled_words(subject: Subject, case: Case, verdict: Failed) -> str | None:
    """The cause of a failure that shows under torch.compile or torch.export."""
    with _quiet():
        if subject.prop.name == "no_recompilation":
            return _recompiled(subject, case)
        if subject.prop.name == "compiled_strides":
            return f"when compiled the output has the strides {verdict.observed}, in eager mode {verdict.expected}"
        if verdict.what.endswith(" raised an exception"):
            words = _wrong_output(subject, case)
            return words or _stopped(subject, case, verdict)
        return _wrong_output(subject, case)


@contextmanager
def _quiet() -> Iterator[None]:
    """What goes wrong in the compiler is raised as well as logged, over many screens."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        torch._dynamo.reset()


def _wrong_output(subject: Subject, case: Case) -> str | None:
    """Where the compiled output or gradient is wrong: at the first size, or at later ones only."""
    for when, first in (("when compiled", False), ("when compiled, from the second size on", True)):
        measured = replace_subject(subject, _compiled(first))
        # Two compilations for each look at a later size: fewer looks.
        features = _FEATURES[:2] if first else _FEATURES
        for candidate in _cases(case):
            with suppress(Raised, Unusable):
                words = cause_of_output(candidate, plainly(measured, candidate))
                if words:
                    return (
                        f"{when}, {words}{_when(measured, candidate, case, words, _output_judge(measured), features)}"
                    )
                if candidate.backward.requires_grad:
                    words = cause_of_gradient(measured, candidate)
                    if words:
                        judge = gradients_fail(measured, candidate)
                        return f"{when}, {words}{_when(measured, candidate, case, words, judge, features)}"
    return None


def replace_subject(subject: Subject, wrap: Callable[[Any], Any]) -> Subject:
    """The same implementation, compiled before it is called, and with fewer probes."""
    return replace(subject, left=_MOST_PROBES, wrap=wrap)


def _compiled(first: bool) -> Callable[[Any], Any]:
    """Compiles a layer; where asked, it is first called at another size, as sizes are dynamic from the second on."""

    def wrap(layer: Any) -> Callable[[Tensor], object]:
        torch._dynamo.reset()
        compiled = torch.compile(fresh_call(layer), fullgraph=True, backend="aot_eager")

        def call(x: Tensor) -> object:
            if first:
                patch_size = layer.conv.weight.shape[-1]
                compiled((x[:, :patch_size] if x.shape[1] > patch_size else torch.cat([x, x], 1)).detach())
            return compiled(x)

        return call

    return wrap


def _cases(case: Case) -> list[Case]:
    """A larger case to measure on, then the case itself."""
    spec = replace(case.spec, in_features=max(2, case.spec.in_features), out_features=max(3, case.spec.out_features))
    step = spec.step
    sizes = tuple(size + step * (2 if len(set(case.input.sizes)) == 1 else 1) for size in case.input.sizes)
    try:
        larger = replace(
            case, spec=spec, input=replace(case.input, batch=max(2, case.input.batch), sizes=sizes),
            fill=Fill("exact", SEEDS[0]),
        )  # fmt: skip
    except CaseError:
        return [case]
    return [larger, case]


def _output_judge(subject: Subject) -> Judge:
    def fails(case: Case) -> bool | None:
        try:
            given = given_of(case, SEEDS[0])
            return not Seen(given, plainly(subject, case)(given), PRECISIONS[case.input.dtype].unit_roundoff).is_right
        except Raised:
            return None

    return fails


def _when(subject: Subject, case: Case, smallest: Case, cause: str, fails: Judge, features: tuple[str, ...]) -> str:
    """The features that it takes besides, as far as the probes reach."""
    subject.left = _MOST_PROBES * 2
    found = context(case, smallest, judging(fails), cause, features)
    return f", {only(found)}" if found else ""


def _recompiled(subject: Subject, case: Case) -> str | None:
    """Which sizes are compiled anew each time: of the batch, or of a spatial axis."""
    step = case.spec.step
    changes: dict[str, Callable[[int], Case]] = {
        "batch size": lambda n: replace(case, input=replace(case.input, batch=case.input.batch + n)),
    }
    for axis in range(case.spec.data_dim):

        def longer(n: int, axis: int = axis) -> Case:
            sizes = tuple(size + step * (3 + n if other == axis else 3) for other, size in enumerate(case.input.sizes))
            return replace(case, input=replace(case.input, batch=5, sizes=sizes))

        changes[f"size of axis {axis}"] = longer
    found = [name for name, change in changes.items() if _graphs(subject, [change(n) for n in (2, 3, 5, 6)]) > 2]
    return f"when compiled, every new {' and every new '.join(found)} is compiled anew" if found else None


def _graphs(subject: Subject, cases: list[Case]) -> int:
    """Graphs that are made for calls of one layer at several sizes."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    subject.spend()
    with undisturbed(subject.device), blaming("a probe"):
        compiled = torch.compile(fresh_call(subject.trial(cases[0]).make_layer()), fullgraph=True, backend="aot_eager")
        for case in cases:
            compiled(subject.trial(case).make_input())
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def _stopped(subject: Subject, case: Case, verdict: Failed) -> str:
    """Why tracing, compiling or a compiled call stops, as far as the exception says it."""
    doing = verdict.what.removesuffix(" raised an exception").rstrip(",")
    if doing.startswith("compiled call 1,"):
        where = "torch.compile stops"
    elif doing.startswith("compiled call"):
        where = "torch.compile stops at a second size"
    else:
        where = f"{doing} stops"
    text = _whole_text(subject, case)
    if any(part in text + verdict.observed for part in _DATA_DEPENDENT):
        return f"{where}: forward branches on a value of its input, which no graph can"
    explanation = re.search(r"Explanation: (.+)", text)
    words = explanation[1].strip().rstrip(".") if explanation else verdict.observed
    if not text and best_backend() != "aot_eager":
        words = f"{words}; it does not with the backend aot_eager"
    dtype = re.match(r"TypeError: the output is (\S+), not a tensor of (\S+) as before", verdict.observed)
    if dtype:
        return f"when compiled the output is {dtype[1].rstrip(',')} instead of {dtype[2]}"
    return f"{where}: {words}"


def _whole_text(subject: Subject, case: Case) -> str:
    """The whole message of the first exception, where it comes without a compiler behind the tracing as well."""
    subject.spend()
    with undisturbed(subject.device), suppress(Raised, Unusable):
        for call in traced_calls(subject.trial(case)):
            if call.raised:
                return str(call.raised.error)
    return ""
