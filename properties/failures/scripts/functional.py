"""What scripts on torch's transformations do: torch.func, export, meta tensors, autocast; and the empty batch."""

from properties.failures.scripts.pieces import (
    BEFORE,
    checking,
    compare,
    embedded,
    expected_gradient,
    like_first,
    mirrored,
    rounding_bound,
    same_form,
)
from properties.failures.scripts.subject import Body, Subject
from properties.failures.scripts.tensors import lay_out


def _vmap(s: Subject) -> list[str]:
    shape = (2, *s.case.output_shape)
    twice, thrice = ("", "") if s.exact("output") else ("2 * bound", "3 * bound")
    return [
        "tokens = layer(x)",
        "with torch.no_grad():",
        f"    found = torch.vmap(layer)(torch.stack(({s.pixels}, -{s.pixels})))",
        f'assert found.shape == {shape}, f"observed {{list(found.shape)}}, expected {list(shape)}"',
        *rounding_bound(s, 1),
        checking('"first batch"', "found[0]", "tokens", twice),
        checking('"second batch"', "found[1]", mirrored(s, "tokens"), thrice),
    ]


def _functional_call(s: Subject) -> list[str]:
    limit = "" if s.exact("output") else "bound"
    return [
        "tokens = layer(x)",
        "parameters = {name: -value.detach() for name, value in layer.named_parameters()}",
        "with torch.no_grad():",
        "    found = torch.func.functional_call(layer, parameters, (x,))",
        'assert found.shape == tokens.shape, f"observed {list(found.shape)}, expected {list(tokens.shape)}"',
        "after = layer(x)",
        *same_form(s, "after"),
        *rounding_bound(s, 2),
        checking('"with opposite parameters"', "-found", "tokens", limit),
        checking('"with its own parameters again"', "after", "tokens", limit),
    ]


def _jacrev(s: Subject) -> list[str]:
    shape = (*s.case.output_shape, *s.case.input_shape)
    return [
        *expected_gradient(s, "input"),
        "",
        BEFORE,
        f"jacobian = torch.func.jacrev(layer)({s.pixels}.clone())",
        f"shape = {shape}",
        'assert jacobian.shape == shape, f"observed {list(jacobian.shape)}, expected {list(shape)}"',
        f"found = torch.tensordot(cotangent.double(), jacobian.double(), dims={len(s.case.output_shape)})",
        *compare(s, "found", "expected", exact=s.exact("input")),
    ]


def _meta(s: Subject) -> list[str]:
    return [
        f'tokens = layer.to("meta")(torch.empty({s.case.input_shape}, dtype={s.dtype}, device="meta"))',
        "observed = (tokens.shape, tokens.dtype, tokens.device.type)",
        f'expected = ({s.case.output_shape}, {s.dtype}, "meta")',
        'assert observed == expected, f"observed {observed}, expected {expected}"',
    ]


def _autocast(s: Subject) -> list[str]:
    terms = s.expectations["output"].terms
    dtypes = ", ".join(dict.fromkeys(("torch.bfloat16", "torch.float32", s.dtype)))
    kind, unit = s.device.partition(":")[0], 2.0**-8
    # As in oracles/rounding.py, with both factors rounded to bfloat16 and partial sums kept in it.
    relative = terms * unit + (2 * unit + unit**2) * (1 + terms * unit) + 2 * terms * 2.0**-53
    return [
        f"expected = {embedded(s)}",
        "# What rounding can do where both factors and every partial sum are bfloat16.",
        f"bound = {relative!r} * {embedded(s, absolute=True)}",
        "",
        BEFORE,
        f'with torch.autocast("{kind}", dtype=torch.bfloat16):',
        "    tokens = layer(x)",
        f"dtypes = ({dtypes})",
        'assert tokens.dtype in dtypes, f"observed {tokens.dtype}, expected one of {dtypes}"',
        *compare(s, "tokens", "expected", exact=False),
    ]


def _exports(s: Subject) -> list[str]:
    contiguous = s.pixels if s.case.input.layout == "contiguous" else lay_out(s, s.pixels, "contiguous")
    return [
        "tokens = layer(x)",
        f"given = {contiguous}",
        "with torch.no_grad():",
        "    found = torch.export.export(layer, (given,)).module()(given)",
        'assert found.shape == tokens.shape, f"observed {list(found.shape)}, expected {list(tokens.shape)}"',
        *like_first(s, "found"),
    ]


def _empty_batch(s: Subject) -> list[str]:
    shape, wanted = (0, *s.case.output_shape[1:]), s.case.backward.requires_grad
    lines = [
        f"given = x.detach()[:0]{'.requires_grad_()' if 'input' in wanted else ''}",
        "tokens = layer(given)",
        f'assert tokens.shape == {shape}, f"observed {{list(tokens.shape)}}, expected {list(shape)}"',
    ]
    if wanted:
        tensors = ", ".join("given" if name == "input" else f"layer.conv.{name}" for name in wanted)
        lines += [
            f"for gradient in torch.autograd.grad(tokens, [{tensors}], cotangent[:0]):",
            '    assert (gradient == 0).all(), f"observed {gradient.tolist()}, expected zeros"',
        ]
    return lines


BODIES: dict[str, Body] = {
    "vmap_agrees": _vmap,
    "functional_call_agrees": _functional_call,
    "jacrev_agrees": _jacrev,
    "runs_on_meta": _meta,
    "runs_under_autocast": _autocast,
    "exports": _exports,
    "empty_batch": _empty_batch,
}
