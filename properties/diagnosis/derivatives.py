"""What is wrong with a second derivative, where the gradients themselves are right."""

from dataclasses import replace

import torch
from torch import Tensor

from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill
from properties.diagnosis.probe import SEEDS, Subject
from properties.diagnosis.words import scaled
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial


def cause_of_second_derivative(subject: Subject, case: Case) -> str | None:
    """Which gradient has a wrong derivative, by what, and how; None where all are right.

    The layer is bilinear: the input gradient along the input has the weight gradient as its derivative by the weight,
    and so on; ``properties.laws.gradients.second_derivative`` derives them all.
    """
    wanted = PARAMETERS_AND_INPUT if case.spec.bias else PARAMETERS_AND_INPUT[:2]
    case = replace(case, backward=Backward((), "random"), fill=Fill("exact", SEEDS[0])).wanting(*wanted)
    subject.spend()
    trial = subject.trial(case)
    with undisturbed(subject.device, tf32=case.tf32):
        layer, x = trial.make_layer(), trial.make_input()
        cotangent = trial.make_cotangent().requires_grad_()
        parameters = [getattr(layer.conv, name) for name in wanted if name != "input"]
        tokens = trial.embed(layer, x, "forward")
        gradients = torch.autograd.grad(tokens, [x, *parameters], cotangent, create_graph=True)
        along = [x.detach().clone(), *(parameter.detach().clone() for parameter in parameters)]
        by = {"weight": parameters[0], "input": x, "cotangent": cotangent}
        wrong: list[tuple[str, str, str]] = []
        detached = []
        asked = 0
        for name, gradient, direction in zip(wanted, gradients, along, strict=True):
            if not gradient.requires_grad:
                detached.append(name)
                continue
            for other, tensor in by.items():
                expected = _expected(trial.values.bias, name, other, trial, tokens)
                if expected is None:
                    continue
                asked += 1
                (found,) = torch.autograd.grad(gradient, tensor, direction, retain_graph=True, allow_unused=True)
                words = _difference(found, expected)
                if words:
                    wrong.append((name, other, words))
    if detached:
        return f"the gradient of the {' and the '.join(detached)} cannot be differentiated again: it is detached"
    if not wrong:
        return None
    missing = [words for _, _, words in wrong if words.startswith("is missing")]
    if len(missing) == asked:
        return "the gradients cannot be differentiated again"
    name, other, words = wrong[0]
    return f"the derivative of the gradient of the {name} by the {other} is wrong: it {words}"


def _expected(bias: Tensor | None, name: str, other: str, trial: Trial, tokens: Tensor) -> Tensor | None:
    """The derivative of one gradient, contracted with its own tensor, by another tensor; None where it is not asked."""
    none = torch.zeros(()) if bias is None else bias.double()
    match name, other:
        case "input", "weight":
            return trial.expected_gradient("weight").values
        case "weight", "input":
            return trial.expected_gradient("input").values
        case ("input", "cotangent") | ("weight", "cotangent"):
            return trial.expected_tokens.values - none
        case "bias", "cotangent":
            return none.expand(tokens.shape)
    return None


def _difference(found: Tensor | None, expected: Tensor) -> str | None:
    if found is None:
        return "is missing, as if the one did not depend on the other"
    values = found.detach().cpu().double()
    largest = max(1e-30, float(expected.abs().max()))
    if values.shape == expected.shape and float((values - expected).abs().max()) <= 1e-6 * largest:
        return None
    ratios = (values / expected)[expected != 0]
    if ratios.numel() and torch.allclose(ratios, ratios[0].expand_as(ratios), rtol=1e-5, atol=0):
        return scaled(float(ratios[0]))
    return "has other values"
