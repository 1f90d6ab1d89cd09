"""What scripts on gradients do."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from oracles.precision import PRECISIONS
from properties.cases.case import Backward, Fill
from properties.failures.scripts.pieces import bound, compare, differentiated, expected_gradient
from properties.failures.scripts.subject import Block, Body, Subject, by_name, listed
from properties.failures.scripts.tensors import uncovered_pixels


def _gradient(s: Subject, name: str) -> str:
    """The layer's gradient, as an expression."""
    wanted = s.case.backward.requires_grad
    unused = ", allow_unused=True" if len(wanted) > 1 else ""
    return f"torch.autograd.grad(layer(x), {listed(s.wanted)}, cotangent{unused})[{wanted.index(name)}]"


def _backward(s: Subject) -> list[str]:
    return [
        f"wanted = {by_name(s.wanted)}",
        "tokens = layer(x)",
        'assert tokens.requires_grad, "the output: observed requires_grad False, expected True"',
        "found = torch.autograd.grad(tokens, list(wanted.values()), cotangent, allow_unused=True)",
        "for (name, tensor), gradient in zip(wanted.items(), found):",
        '    assert gradient is not None, f"observed no gradient of {name}, expected one"',
        "    observed, expected = (gradient.shape, gradient.dtype), (tensor.shape, tensor.dtype)",
        '    assert observed == expected, f"{name}: observed {observed}, expected {expected}"',
    ]


def _values(name: str, s: Subject) -> list[str]:
    return [
        *expected_gradient(s, name),
        "",
        f"found = {_gradient(s, name)}",
        *compare(s, "found", "expected", exact=s.exact(name)),
    ]


def _uncovered(s: Subject) -> list[str]:
    lines = [f"gradient = {_gradient(s, 'input')}"]
    for pixels in uncovered_pixels(s.case, "gradient"):
        lines += [
            f"uncovered = {pixels}",
            'assert (uncovered == 0).all(), f"observed {uncovered.flatten().tolist()}, expected zeros"',
        ]
    return lines


def _accumulates(s: Subject) -> list[str]:
    name = s.case.backward.requires_grad[0]
    index = s.operands.index("x" if name == "input" else name)
    tensor = "x" if name == "input" else f"layer.conv.{name}"
    return [
        "for _ in range(2):",
        "    layer(x).backward(cotangent)",
        f"found = {tensor}.grad",
        f"expected = 2 * {_gradient(s, name)}",
        *bound(s, name, f"{differentiated(s, absolute=True)}[{index}]", 5),
        *compare(s, "found", "expected", exact=s.exact(name), finite=False),
    ]


def _second_derivative(s: Subject) -> Sequence[str | Block]:
    operands, bias = ", ".join(s.operands), s.case.spec.bias
    second = (
        "def second(tokens, inputs, cotangent):  # derivatives of the gradients, each along a tensor of its shape",
        "    firsts = torch.autograd.grad(tokens, inputs, cotangent, create_graph=True)",
        "    along = [tensor.detach().nan_to_num() for tensor in inputs]",
        "    found = torch.autograd.grad(firsts[0], [inputs[1], cotangent], along[0], retain_graph=True)",
        f"    found += torch.autograd.grad(firsts[1], [inputs[0]], along[1]{', retain_graph=True' if bias else ''})",
        *(("    found += torch.autograd.grad(firsts[2], [cotangent], along[2])",) if bias else ()),
        "    return found",
    )
    layer = ", ".join(["x", *(f"layer.conv.{name}" for name in s.parameters)])
    names = '("weight", "output", "input", "bias")' if bias else '("weight", "output", "input")'
    found = f"found = second(layer(x), [{layer}], cotangent.requires_grad_())"
    if s.exact("output", "input", "weight"):
        return [
            Block("second", second),
            found,
            f"*exact, t = [tensor.detach().double().requires_grad_() for tensor in ({operands}, cotangent)]",
            f"for what, one, other in zip({names}, found, second(embed(*exact), exact, t)):",
            "    check(what, one, other)",
        ]
    of_embed = (
        "def second_of_embed(*tensors):",
        "    *inputs, cotangent = [tensor.detach().double().requires_grad_() for tensor in tensors]",
        "    return second(embed(*inputs), inputs, cotangent)",
    )
    terms = (*(s.expectations[name].terms for name in ("weight", "output", "input")), *((0,) if bias else ()))
    precision = PRECISIONS[s.case.input.dtype]
    smallest = " + (n + 1) * 2**-24" if s.case.input.dtype == "float16" else ""
    limit = f"n * (2**-{precision.significant_bits} + 2**-52) * total{smallest}"
    if s.case.fill.integral:
        limit = f"({limit}) * (total > {precision.exact_limit:.0f})"
    magnitudes = ", ".join(f"{name}.abs()" for name in (*s.operands, "cotangent"))
    return [
        Block("second", second),
        Block("second_of_embed", of_embed),
        found,
        f"expected = second_of_embed({operands}, cotangent)",
        f"totals = second_of_embed({magnitudes})",
        "# What rounding can do to sums of n products, in any order.",
        f"for what, one, other, total, n in zip({names}, found, expected, totals, {terms}):",
        f"    check(what, one, other, {limit})",
    ]


def _numerically(s: Subject) -> list[str]:
    inputs = ["x", *(f"layer.conv.{name}" for name in s.parameters)]
    return [
        f"inputs = [{', '.join(inputs)}]",
        "# Compares the derivatives of the gradients with difference quotients.",
        "options = dict(check_undefined_grad=False, nondet_tol=1e-10)",
        "torch.autograd.gradgradcheck(lambda x, *_: layer(x), inputs, cotangent.requires_grad_(), **options)",
    ]


def _wanting_every_gradient(s: Subject) -> Subject:
    """The same, with a gradient for the input and for every parameter."""
    wanted = ("input", *s.parameters)
    return s.of(replace(s.case, backward=replace(s.case.backward, requires_grad=wanted)))


def _in_real_numbers(s: Subject) -> Subject:
    case = replace(s.case, fill=Fill("real", s.case.fill.seed), backward=Backward((), "random"))
    return _wanting_every_gradient(s.of(replace(case, input=replace(case.input, layout="contiguous"))))


BODIES: dict[str, Body] = {
    "uncovered_gradient_zero": _uncovered,
    "runs_backward": _backward,
    "input_gradient_exact": partial(_values, "input"),
    "input_gradient_bounded": partial(_values, "input"),
    "weight_gradient_exact": partial(_values, "weight"),
    "weight_gradient_bounded": partial(_values, "weight"),
    "bias_gradient_exact": partial(_values, "bias"),
    "bias_gradient_bounded": partial(_values, "bias"),
    "gradient_accumulates": _accumulates,
    "second_derivative": _second_derivative,
    "second_derivative_numerically": _numerically,
}
# Properties whose layer and tensors are not quite those of the case.
ADAPTED = {"second_derivative": _wanting_every_gradient, "second_derivative_numerically": _in_real_numbers}
