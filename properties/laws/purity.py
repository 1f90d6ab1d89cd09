"""A pure function of input and parameters: no memory, no mode, no layout shows, and nothing is changed (C14).

These properties compare a layer with itself, so that one that is merely wrong is not reported here as well.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from properties.cases.case import LAYOUTS, Case, CaseError
from properties.laws.law import checks
from properties.trials.comparison import compare_all
from properties.trials.layout import lay_out
from properties.trials.trial import Expectation, Trial
from properties.trials.verdict import Failed, Passed, Verdict


def same_tokens(trial: Trial, tokens: Tensor, what: str) -> Verdict:
    """Compare another run on the same data with the first: both may round, so they may be two bounds apart.

    Args:
        trial: what both runs are of.
        tokens: the output of the other run.
        what: what the values do where they differ, such as "change on a later call".
    """
    first = Expectation(trial.tokens.detach().double(), 2 * trial.expected_tokens.bound)
    return compare_all(f"output values {what}", tokens, first, "output")


def _same_gradients(trial: Trial, gradients: dict[str, Tensor | None], when: str) -> Verdict:
    """Compare the gradients of another run, such as one "in eval mode", with those of the first."""
    verdict: Verdict = Passed()
    for name, gradient in gradients.items():
        first = Expectation(trial.gradient(name).double(), 2 * trial.expected_gradient(name).bound)
        if gradient is None:
            return Failed(f"no gradient reaches the {name} {when}", observed="None", expected="a gradient")
        verdict = compare_all(f"values of the {name} gradient change {when}", gradient, first, name)
        if isinstance(verdict, Failed):
            return verdict
    return verdict


@checks("C14")
def same_on_second_call(trial: Trial) -> Verdict:
    """Other data of the same shape, given in between, change neither the first output nor what the first input gives.

    Catches results that are cached by shape, buffers that are reused, and layers that keep state.
    """
    before = trial.tokens.detach().clone()
    other = lay_out(-trial.values.x.to(trial.device), trial.case.input.layout)
    between = trial.embed(trial.layer, other, "the second call")
    if not torch.equal(trial.tokens.nan_to_num(), before.nan_to_num()):
        return Failed("the second call changes the output of the first", observed="changed", expected="unchanged")
    verdict = same_tokens(
        trial, trial.embed(trial.layer, trial.make_input(), "the third call"), "change on a later call"
    )
    if isinstance(verdict, Failed):
        return verdict
    bias = trial.values.bias
    twice_bias = 0.0 if bias is None else 2 * bias.to(trial.device).double()
    # f(-x) = 2b - f(x): a result that was cached by shape, or that ignores its input, does not follow.
    mirrored = Expectation(twice_bias - trial.tokens.detach().double(), 3 * trial.expected_tokens.bound)
    return compare_all("output values do not follow when the input changes sign", between, mirrored, "output")


@checks("C14", on="drawn")
def same_at_other_sizes(trial: Trial) -> Verdict:
    """A layer gives at every size what a new one gives, forward and backward, whatever sizes it has seen before.

    Catches indices, grids and sizes that are kept from one forward pass for the next, or for the backward passes, which
    come after all of them.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer, calls = trial.make_layer(), []
    for call in [trial, *other_trials(trial), trial]:
        x = call.make_input()
        calls.append((call, x, call.embed(layer, x, f"forward of {list(x.shape)} after other sizes")))
    for call, x, tokens in calls:
        when = f"on {list(x.shape)} where a layer has seen other sizes"
        verdict: Verdict = Passed()
        # To compare bit for bit takes no expectation, which takes long.
        if not torch.equal(tokens, call.tokens):
            verdict = same_tokens(call, tokens, f"change {when}")
        if isinstance(verdict, Passed) and call.case.backward.requires_grad:
            gradients = call.differentiate(layer, x, tokens, call.make_cotangent())
            if any(found is None or not torch.equal(found, call.gradient(name)) for name, found in gradients.items()):
                verdict = _same_gradients(call, gradients, when)
        if isinstance(verdict, Failed):
            # A place at other sizes is none in the case.
            return verdict if call is trial else replace(verdict, where=str(verdict.where))
    return Passed()


def other_trials(trial: Trial) -> list[Trial]:
    """Trials of new layers with the same parameters, at sizes that have something in common with those of the trial.

    The same grid, but other pixels left over; as many pixels in another shape; the same sizes, but another batch.
    """
    found = []
    for case in other_cases(trial.case):
        other = Trial(case, trial.implementation, trial.device)
        # A fill may give them other parameters.
        other.values = replace(other.values, weight=trial.values.weight, bias=trial.values.bias)
        found.append(other)
    return found


def other_cases(case: Case) -> list[Case]:
    """The cases of ``other_trials``, as far as there are such cases."""
    sizes, step = case.input.sizes, case.spec.step
    others = [tuple(reversed(sizes))]
    if others == [sizes]:
        others = [(sizes[0] + step, *sizes[1:]), (*sizes[:-1], sizes[-1] + step)]
    if step > 1:
        left_over = (sizes[-1] - case.spec.patch_size) % step
        others.append((*sizes[:-1], sizes[-1] + (1 if left_over + 1 < step else -1)))
    changes: list[dict[str, Any]] = [{"sizes": other} for other in dict.fromkeys(others)]
    found = []
    for change in [{"batch": case.input.batch + 1}, *changes]:
        with suppress(CaseError):
            found.append(replace(case, input=replace(case.input, **change)))
    return found


@checks("C14", on="drawn")
def same_in_eval_mode(trial: Trial) -> Verdict:
    """Train and eval mode give the same output and gradients, and forward leaves the mode as it is.

    Catches dropout, batch statistics, and weights that are folded once for inference.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer = trial.make_layer()
    verdict: Verdict = Passed()
    for training in (False, True):
        layer.train(training)
        mode = "train" if training else "eval"
        x = trial.make_input()
        tokens = trial.embed(layer, x, f"forward in {mode} mode")
        verdict = same_tokens(trial, tokens, f"change in {mode} mode")
        if isinstance(verdict, Passed) and trial.case.backward.requires_grad:
            gradients = trial.differentiate(layer, x, tokens, trial.make_cotangent())
            verdict = _same_gradients(trial, gradients, f"in {mode} mode")
        if isinstance(verdict, Failed):
            return verdict
        if layer.training != training:
            return Failed("forward changes the mode of the layer", observed=f"left {mode} mode", expected="unchanged")
    return verdict


@checks("C14", on="drawn")
def same_without_grad(trial: Trial) -> Verdict:
    """``no_grad`` and ``inference_mode`` give the output of gradient mode, and a first call there harms none after it.

    Catches separate inference paths, and what is kept from a first call in inference mode, which autograd refuses.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    verdict: Verdict = Passed()
    for name, mode in (("no_grad", torch.no_grad), ("inference_mode", torch.inference_mode)):
        with mode():
            tokens = trial.embed(trial.layer, trial.make_input(), f"forward under {name}")
        verdict = same_tokens(trial, tokens, f"change under {name}")
        if isinstance(verdict, Failed):
            return verdict
    layer, x, after = trial.make_layer(), trial.make_input(), "after a first call in inference mode"
    with torch.inference_mode():
        trial.embed(layer, trial.make_input(), "forward under inference_mode")
    tokens = trial.embed(layer, x, f"forward {after}")
    verdict = same_tokens(trial, tokens, f"change {after}")
    if isinstance(verdict, Passed) and trial.case.backward.requires_grad:
        gradients = trial.differentiate(layer, x, tokens, trial.make_cotangent())
        verdict = _same_gradients(trial, gradients, after)
    return verdict


@checks("C14", on="drawn")
def same_in_every_layout(trial: Trial) -> Verdict:
    """However the same values are stored, contiguous, sliced, transposed or with odd strides, they embed alike.

    Catches layers that read memory in order and take no notice of strides or offsets.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    verdict: Verdict = Passed()
    for layout in LAYOUTS:
        if layout == "expanded" and trial.case.input.layout != "expanded":
            continue  # An expanded batch repeats one sample: other values.
        tokens = trial.embed(trial.layer, trial.make_input(layout), f"forward of a {layout} input")
        verdict = same_tokens(trial, tokens, f"change when the input is {layout}")
        if isinstance(verdict, Failed):
            return verdict
    return verdict


@checks("C14", on="drawn")
def arguments_unchanged(trial: Trial) -> Verdict:
    """Forward and backward change neither the input nor the parameters nor the cotangent.

    Catches in-place preparation of the input, and weights that are normalised or rearranged where they lie.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer, x, cotangent = trial.make_layer(), trial.make_input(), trial.make_cotangent()
    watched = {"the input": x, "conv.weight": layer.conv.weight, "the cotangent": cotangent}
    if trial.case.spec.bias:
        watched["conv.bias"] = layer.conv.bias
    before = {name: (tensor.detach().clone(), tensor.requires_grad) for name, tensor in watched.items()}
    trial.exercise(layer, x, cotangent)
    for name, (values, requires_grad) in before.items():
        now = watched[name]
        if not torch.equal(now.nan_to_num(), values.nan_to_num()):
            return Failed(f"{name} is changed in place", observed="other values", expected="the values it had")
        if now.requires_grad != requires_grad:
            return Failed(
                f"requires_grad of {name} is changed", observed=str(now.requires_grad), expected=str(requires_grad)
            )
    return Passed()
