"""What a standalone script does with the layer under ``torch.compile``, at a first size and at later ones."""

import math

import torch

from properties import fill
from properties.case import Case
from properties.compilation import best_backend, later_cases
from properties.implementation import CannotRun
from properties.script_source import (
    Subject,
    bound,
    compare,
    differentiated,
    drawn_cotangent,
    drawn_input,
    embedded,
    expected_tokens,
)


def _compiled(s: Subject, backend: str = "") -> str:
    """Compile the layer as the harness does."""
    dynamic = ", dynamic=False" if s.case.compiled == "static" and not backend else ""
    name = backend or best_backend()
    named = "" if name == "inductor" else f', backend="{name}"'
    return f"compiled = torch.compile(layer, fullgraph=True{dynamic}{named})"


def _same_form(s: Subject, shape: str) -> list[str]:
    if not s.form_changes:
        return []
    return [
        f"observed, expected_form = (tokens.dtype, tokens.shape), ({s.dtype}, {shape})",
        'assert observed == expected_form, f"observed {observed}, expected {expected_form}"',
    ]


def compiles(s: Subject) -> list[str]:
    """Compiles as one graph and runs, forward and backward."""
    backward = [f"torch.autograd.grad(tokens, [{', '.join(s.wanted)}], cotangent, allow_unused=True)"]
    return [
        _compiled(s),
        "tokens = compiled(x)" if s.wanted or s.form_changes else "compiled(x)",
        *_same_form(s, f"{s.case.output_shape}"),
        *(backward if s.wanted else []),
    ]


def values(s: Subject) -> list[str]:
    """The output at the size that it was compiled for."""
    return [
        *expected_tokens(s),
        "",
        _compiled(s),
        "tokens = compiled(x)",
        *compare("tokens", "expected", exact=s.exact("output")),
    ]


def gradients(s: Subject) -> list[str]:
    """The gradients at the size that it was compiled for."""
    return [
        _compiled(s),
        f"found = torch.autograd.grad(compiled(x), [{', '.join(s.wanted)}], cotangent)",
        f"expected = {differentiated(s)}",
        *([] if s.exact(*s.case.backward.requires_grad) else [f"total = {differentiated(s, absolute=True)}"]),
        *_check_gradients(s),
    ]


def _check_gradients(s: Subject, tokens: str = "") -> list[str]:
    """Compare ``found`` with ``expected``, gradient by gradient.

    Args:
        s: what the script is about.
        tokens: how many tokens there are, as an expression; empty where it is the case's number.
    """
    lines = []
    for position, name in enumerate(s.case.backward.requires_grad):
        index = s.operands.index("x" if name == "input" else name)
        limits = bound(s, name, f"total[{index}]", terms="" if name == "input" else tokens)
        check, limit = ("check_bounded", ", bound") if limits else ("check", "")
        lines += [*limits, f'{check}("{name} gradient", found[{position}], expected[{index}]{limit})']
    return lines


def strides(s: Subject) -> list[str]:
    """The memory layout of the output, compiled and eager."""
    return [
        _compiled(s),
        "tokens, eager = compiled(x), layer(x)",
        "pairs = zip(eager.shape, tokens.stride(), eager.stride())",
        "same = all(size == 1 or one == other for size, one, other in pairs)",
        'assert same, f"strides: observed {tokens.stride()}, expected {eager.stride()}"',
    ]


def later_sizes(s: Subject) -> list[str]:
    """The outputs, and gradients where one is wrong, at the first size, at later ones and at the first again."""
    later = later_cases(s.case)[: 1 if s.case.compiled == "static" else None]
    cases = [s.case, *later, s.case]
    _same_parameters(cases)
    differentiate = s.wanted and any(word in s.verdict.what for word in ("gradient", "backward"))
    exact = all(s.of(case).exact("output") for case in cases)
    wide = s if exact else s.of(next(case for case in cases if not s.of(case).exact("output")))
    names = ("input", *s.parameters)
    inside = [
        *drawn_input(s, "shape"),
        f"expected = {embedded(s)}",
        *bound(wide, "output", embedded(s, absolute=True)),
        "tokens = compiled(x)",
        *_same_form(s, "expected.shape"),
        f"check{'' if exact else '_bounded'}(list(shape), tokens, expected{'' if exact else ', bound'})",
    ]
    columns, shapes = "shape", [f"{case.input_shape}" for case in cases]
    if differentiate:
        wide = s.of(next((case for case in cases if not s.of(case).exact(*names)), s.case))
        columns, shapes, cotangent = _cotangents(s, cases)
        inside += [
            *cotangent,
            f"found = torch.autograd.grad(tokens, [{', '.join(s.wanted)}], cotangent)",
            f"expected = {differentiated(s)}",
            *([] if wide.exact(*s.case.backward.requires_grad) else [f"total = {differentiated(s, absolute=True)}"]),
            *_check_gradients(wide, "tokens[..., 0].numel()"),
        ]
    return [
        _compiled(s),
        f"for {columns} in [{', '.join(shapes)}]:",
        *(f"    {line}" for line in inside),
    ]


def _cotangents(s: Subject, cases: list[Case]) -> tuple[str, list[str], list[str]]:
    """What to loop over, where the ranges of the cotangent differ among sizes, and how to draw it there."""
    limits = [fill._amplitudes(case) for case in cases]
    thinned = any(
        case.fill.integral and limit.cotangents < math.prod(case.output_shape)
        for case, limit in zip(cases, limits, strict=True)
    )
    ranged = s.case.fill.integral and len({limit.cotangent for limit in limits}) > 1
    rows = [
        [
            f"{case.input_shape}",
            *([str(limit.cotangent)] if ranged else []),
            *([str(limit.cotangents)] if thinned else []),
        ]
        for case, limit in zip(cases, limits, strict=True)
    ]
    columns = ["shape", *(["most"] if ranged else []), *(["chosen"] if thinned else [])]
    items = [f"({', '.join(row)})" if len(row) > 1 else row[0] for row in rows]
    drawn = drawn_cotangent(s, "tokens.shape", "most" if ranged else "", "chosen" if thinned else "")
    return ", ".join(columns), items, drawn


def recompilations(s: Subject) -> list[str]:
    """The number of graphs after a first, a second and a third size."""
    cases = [s.case, *later_cases(s.case)]
    _same_parameters(cases)
    return [
        _compiled(s, "aot_eager"),
        "graphs = []",
        f"for shape in [{', '.join(f'{case.input_shape}' for case in cases)}]:",
        *(f"    {line}" for line in drawn_input(s, "shape")),
        "    compiled(x)",
        '    graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])',
        'assert graphs[2] <= graphs[1], f"graphs after each call: observed {graphs}, expected none for the third"',
    ]


def _same_parameters(cases: list[Case]) -> None:
    first, *others = (fill.values(case) for case in cases)
    for other in others:
        same = torch.equal(other.weight, first.weight)
        if not same or (first.bias is not None and not torch.equal(first.bias, other.bias)):  # type: ignore[arg-type]
            raise CannotRun(
                "this case's fill gives the layer other parameters at other sizes: its script would be long"
            )
