"""What scripts on ``torch.compile`` do: the layer compiled once, at its first size and at later ones."""

import math
import warnings

import torch

from properties.cases import fill
from properties.cases.case import Case
from properties.failures.scripts.pieces import (
    bound,
    checking,
    compare,
    differentiated,
    expected_tokens,
    same_form,
)
from properties.failures.scripts.subject import Body, Subject, indented, listed, looping
from properties.failures.scripts.tensors import drawn_cotangent, drawn_input
from properties.trials.compilation import best_backend, later_cases
from properties.trials.implementation import CannotRun
from properties.trials.tensors import tensors


def _compiled(s: Subject, backend: str = "") -> str:
    """Compile the layer as the harness does."""
    dynamic = ", dynamic=False" if s.case.compiled == "static" and not backend else ""
    with warnings.catch_warnings():
        # Where the caller has made warnings errors, those of the compiler would count against it.
        warnings.simplefilter("ignore")
        name = backend or best_backend()
    named = "" if name == "inductor" else f', backend="{name}"'
    return f"compiled = torch.compile(layer, fullgraph=True{dynamic}{named})"


def _compiles(s: Subject) -> list[str]:
    backward = f"torch.autograd.grad(tokens, {listed(s.wanted)}, cotangent, allow_unused=True)" if s.wanted else ""
    return [
        _compiled(s),
        "tokens = compiled(x)" if s.wanted or s.form_changes else "compiled(x)",
        *same_form(s),
        *([backward] if backward else []),
    ]


def _values(s: Subject) -> list[str]:
    return [
        *expected_tokens(s),
        "",
        _compiled(s),
        "tokens = compiled(x)",
        *compare(s, "tokens", "expected", exact=s.exact("output")),
    ]


def _gradients(s: Subject) -> list[str]:
    return [
        _compiled(s),
        f"found = torch.autograd.grad(compiled(x), {listed(s.wanted)}, cotangent)",
        *_check_gradients(s),
    ]


def _check_gradients(s: Subject, tokens: str = "") -> list[str]:
    """Compare ``found``, the gradients that the case asks for, with the adjoint.

    Args:
        s: what the script is about.
        tokens: how many tokens there are, as an expression; empty where it is the case's number.
    """
    wanted = s.case.backward.requires_grad
    lines = [f"right = {differentiated(s)}"]
    if not s.exact(*wanted):
        lines.append(f"total = {differentiated(s, absolute=True)}")
    for position, name in enumerate(wanted):
        index = s.operands.index("x" if name == "input" else name)
        limits = bound(s, name, f"total[{index}]", terms="" if name == "input" else tokens)
        limit = "bound" if limits else ""
        lines += [*limits, checking(f'"{name} gradient"', f"found[{position}]", f"right[{index}]", limit)]
    return lines


def _strides(s: Subject) -> list[str]:
    return [
        _compiled(s),
        "tokens, eager = compiled(x), layer(x)",
        "pairs = zip(eager.shape, tokens.stride(), eager.stride())",
        "same = all(size == 1 or one == other for size, one, other in pairs)",
        'assert same, f"strides: observed {tokens.stride()}, expected {eager.stride()}"',
    ]


def _later_sizes(s: Subject) -> list[str]:
    later = later_cases(s.case)[: 1 if s.case.compiled == "static" else None]
    cases = [s.case, *later, s.case]
    _same_parameters(cases)
    # A size at which something rounds speaks for all.
    rounding = next((found for found in map(s.of, cases) if not found.exact("output")), s)
    tokens = expected_tokens(rounding)
    call = ["tokens = compiled(x)", *same_form(s, shape="expected.shape")]
    check = compare(s, "tokens", "expected", exact=rounding.exact("output"))
    columns, rows = "shape", [f"{case.input_shape}" for case in cases]
    if s.wanted and any(word in s.verdict.what for word in ("gradient", "backward")):
        columns, rows, cotangent = _cotangents(s, cases)
        rounding = next((found for found in map(s.of, cases) if not found.exact("input", *s.parameters)), s)
        check += [
            *cotangent,
            f"found = torch.autograd.grad(tokens, {listed(s.wanted)}, cotangent)",
            *_check_gradients(rounding, "tokens[..., 0].numel()"),
        ]
    inside = [*drawn_input(s, "shape"), *tokens, *call, *check]
    return [_compiled(s), *looping(columns, rows), *indented(inside)]


def _cotangents(s: Subject, cases: list[Case]) -> tuple[str, list[str], list[str]]:
    """What to loop over, where the range of the cotangent differs among sizes, and how to draw it there."""
    limits = [fill.amplitudes(case) for case in cases]
    sizes = [math.prod(case.output_shape) for case in cases]
    thinned = s.case.fill.integral and any(one.cotangents < size for one, size in zip(limits, sizes, strict=True))
    ranged = s.case.fill.integral and len({one.cotangent for one in limits}) > 1
    columns = ["shape", *(["most"] if ranged else []), *(["chosen"] if thinned else [])]
    rows = []
    for case, one in zip(cases, limits, strict=True):
        row = [f"{case.input_shape}", *([f"{one.cotangent}"] if ranged else [])]
        row += [f"{one.cotangents}"] if thinned else []
        rows.append(f"({', '.join(row)})" if len(row) > 1 else row[0])
    drawn = drawn_cotangent(s, "tokens.shape", "most" if ranged else "", "chosen" if thinned else "")
    return ", ".join(columns), rows, drawn


def _recompilations(s: Subject) -> list[str]:
    cases = [s.case, *later_cases(s.case)]
    _same_parameters(cases)
    return [
        _compiled(s, "aot_eager"),
        "graphs = []",
        *looping("shape", [f"{case.input_shape}" for case in cases]),
        *indented(drawn_input(s, "shape")),
        "    compiled(x)",
        '    graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])',
        'assert graphs[2] <= graphs[1], f"graphs after each call: observed {graphs}, expected none for the third size"',
    ]


def _same_parameters(cases: list[Case]) -> None:
    """Check that all cases give the layer the same parameters, as all fills but one in float16 do.

    Raises:
        CannotRun: where they do not.
    """
    first, *others = (tensors(case) for case in cases)
    for other in others:
        same = torch.equal(other.weight, first.weight)
        if first.bias is not None and other.bias is not None:
            same = same and torch.equal(other.bias, first.bias)
        if not same:
            raise CannotRun(
                "the fill of this case gives the layer other parameters at each size, which no script shows"
            )


BODIES: dict[str, Body] = {
    "compiles_without_graph_break": _compiles,
    "compiled_values": _values,
    "compiled_gradients": _gradients,
    "compiled_later_sizes": _later_sizes,
    "compiler_does_not_fail": _later_sizes,
    "compiled_strides": _strides,
    "no_recompilation": _recompilations,
}
