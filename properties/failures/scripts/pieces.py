"""The layer, the expectation with its bound, and comparisons, as source."""

import torch

from oracles.precision import PRECISIONS, TF32
from properties.cases.case import Case
from properties.failures.scripts.subject import WIDTH, Block, Subject, indented
from properties.failures.scripts.tensors import lay_out
from properties.trials.tensors import TORCH_DTYPES

# What the layer is given first should not matter, but it may.
BEFORE = "layer(x)  # whatever it was given before"
_FORMATS = {2: "torch.channels_last", 3: "torch.channels_last_3d"}


def construction(subject: Subject) -> str:
    """The call that builds the layer."""
    spec = subject.case.spec
    return (
        f"Layer(in_features={spec.in_features}, out_features={spec.out_features}, "
        f"data_dim={spec.data_dim}, patch_size={spec.patch_size}, stride={spec.stride}, bias={spec.bias})"
    )


def layer_blocks(subject: Subject) -> list[Block]:
    """The layer, or a function that makes it where its weight varies."""
    inside = ["def make_layer(weight):", *indented(making(subject)), "    return layer"]
    return [Block("make_layer", tuple(inside)), Block("layer", tuple(making(subject)))]


def making(subject: Subject) -> list[str]:
    """Build the layer and give it the case's parameters."""
    case, call = subject.case, construction(subject)
    place = subject.dtype if subject.device == "cpu" else f'"{subject.device}", {subject.dtype}'
    lines = [f"layer = {call}.to({place})"]
    if len(lines[0]) > WIDTH - 4:
        lines = [f"layer = {call}", f"layer = layer.to({place})"]
    if case.weight_layout == "channels_last":
        lines.append(f"layer = layer.to(memory_format={_FORMATS[case.spec.data_dim]})")
    return [*lines, *setting(subject)]


def setting(subject: Subject) -> list[str]:
    """Give the layer the case's parameters."""
    wanted = subject.case.backward.requires_grad
    lines = ["with torch.no_grad():"]
    for name in subject.parameters:
        lines.append(f"    layer.conv.{name}.copy_({name}).requires_grad_({'' if name in wanted else 'False'})")
    return lines


# What is right.


def windows(subject: Subject, x: str = "x") -> str:
    """Every window of an input as a vector, in float64."""
    spec = subject.case.spec
    unfolds = "".join(f".unfold({axis}, {spec.patch_size}, {spec.step})" for axis in range(1, spec.data_dim + 1))
    return f"{x}.double(){unfolds}.flatten({spec.data_dim + 1})"


def code_blocks(subject: Subject) -> list[Block]:
    """Functions that a body may call."""
    operands, bias = ", ".join(subject.operands), " + bias.double()" if subject.case.spec.bias else ""
    embed = (
        f"def embed({operands}):  # unfold and matmul in float64",
        f"    windows = {windows(subject)}",
        f"    return windows @ weight.double().flatten(1).T{bias}",
    )
    gradients = (
        f"def gradients({operands}, cotangent):  # of {operands}",
        f"    inputs = [tensor.detach().double().requires_grad_() for tensor in ({operands})]",
        "    return torch.autograd.grad(embed(*inputs), inputs, cotangent.double())",
    )
    check = (
        "def check(what, found, expected, bound=0):",
        "    wrong = ~((found.double() - expected).abs() <= bound)",
        f'    assert not wrong.any(), f"{{what}}: {_both(subject, "found", "expected")}"',
    )
    blocks = [Block("embed", embed), Block("gradients", gradients), Block("check", check)]
    if subject.case.input.layout not in ("contiguous", "expanded"):
        expression = lay_out(subject, "pixels", subject.case.input.layout)
        blocks.append(Block("lay_out", ("def lay_out(pixels):", f"    return {expression}")))
    return blocks


def _both(subject: Subject, found: str, expected: str) -> str:
    some = "" if subject.small else "[:5]"
    return f"observed {{{found}[wrong]{some}.tolist()}}, expected {{{expected}[wrong]{some}.tolist()}}"


def embedded(subject: Subject, absolute: bool = False) -> str:
    """A call of ``embed``, or one for the sum of the magnitudes of the terms."""
    return f"embed({', '.join(_operands(subject.operands, absolute))})"


def differentiated(subject: Subject, absolute: bool = False) -> str:
    """A call of ``gradients``, or one for the sums of the magnitudes of the terms."""
    return f"gradients({', '.join(_operands([*subject.operands, 'cotangent'], absolute))})"


def _operands(names: list[str], absolute: bool) -> list[str]:
    return [f"{name}.abs()" for name in names] if absolute else names


def expected_tokens(subject: Subject, factor: int = 1) -> list[str]:
    """Make ``expected`` and, where a correct evaluation may round, ``bound``."""
    if subject.exact("output"):
        bias = " + bias.double()" if subject.case.spec.bias else ""
        return [f"windows = {windows(subject)}", f"expected = windows @ weight.double().flatten(1).T{bias}"]
    return [f"expected = {embedded(subject)}", *bound(subject, "output", embedded(subject, True), factor)]


def expected_gradient(subject: Subject, name: str) -> list[str]:
    """Make ``expected``, a gradient, and, where a correct evaluation may round, ``bound``."""
    which = subject.operands.index("x" if name == "input" else name)
    if not subject.exact(name):
        magnitude = f"{differentiated(subject, True)}[{which}]"
        return [f"expected = {differentiated(subject)}[{which}]", *bound(subject, name, magnitude)]
    operand = "x" if name == "input" else name
    x = "x64" if name == "input" else "x"
    weight = "weight64" if name == "weight" else "weight.double()"
    bias = " + bias64" if name == "bias" else ""
    return [
        f"{operand}64 = {operand}.detach().double().requires_grad_()",
        f"windows = {windows(subject, x).replace('x64.double()', 'x64')}",
        f"tokens = windows @ {weight}.flatten(1).T{bias}",
        f"(expected,) = torch.autograd.grad(tokens, {operand}64, cotangent.double())",
    ]


def bound(
    subject: Subject, tensor: str, magnitude: str, factor: int = 1, terms: str = "", name: str = "bound"
) -> list[str]:
    """Make ``bound`` as ``oracles/rounding.py`` does, a number of times; no lines where nothing rounds.

    Args:
        subject: what the script is about.
        tensor: the output or whose gradient.
        magnitude: the sums of the magnitudes of the terms, as an expression.
        factor: how many times.
        terms: how many terms, as an expression; empty where it is the case's number.
        name: what to call it.
    """
    if subject.exact(tensor):
        return []
    expectation, case = subject.expectations[tensor], subject.case
    assert isinstance(expectation.terms, int)
    tf32 = case.tf32 and subject.device.startswith("cuda")
    times = factor * expectation.terms
    number = (f"{factor} * {terms} * " if factor > 1 else f"{terms} * ") if terms else f"{times} * " * (times > 1)
    one_more = f"{factor} * ({terms} + 1)" if terms else f"{times + factor}"
    relative = f"{number}{_relative(case, expectation.terms, tf32)}"
    limit, most = PRECISIONS[case.input.dtype].exact_limit, torch.finfo(TORCH_DTYPES[case.input.dtype]).max
    # Only in float16 are the values of a fill so small that a product may underflow.
    smallest = f" + {one_more} * 2**-24" if case.input.dtype == "float16" else ""
    masked = f" * (magnitude > {limit:.0f})" if case.fill.integral else ""
    overflows = bool(expectation.bound.isinf().any())
    infinite = f".masked_fill(magnitude > {most:.0f}, torch.inf)" if overflows else ""
    sums = f"a sum of {expectation.terms} products" if expectation.terms > 1 and not terms else "a sum of products"
    lines = [f"# What rounding can do to {sums}, in any order."]
    if not masked and not infinite:
        return [*lines, f"{name} = {relative} * {magnitude}{smallest}"]
    scaled = f"({relative} * magnitude{smallest}){masked}"
    return [*lines, f"magnitude = {magnitude}", f"{name} = ({scaled}){infinite}" if infinite else f"{name} = {scaled}"]


def _relative(case: Case, terms: int, tf32: bool) -> str:
    """The bound for one term of magnitude 1: its own rounding, and that of the expectation."""
    bits = PRECISIONS[case.input.dtype].significant_bits
    if tf32:
        unit, rounded = PRECISIONS[case.input.dtype].unit_roundoff, TF32.unit_roundoff
        relative = unit + (2 * rounded + rounded**2) * (1 / terms + unit) + 2.0**-52
        return repr(relative)
    return f"(2**-{bits} + 2**-52)"


def compare(subject: Subject, found: str, expected: str, *, exact: bool, finite: bool = True) -> list[str]:
    """Assert that each value is the expected one, or no further from it than ``bound``.

    ``finite`` says that what is expected is; where it is another output, both may be infinite, which is as wrong.
    """
    unequal = f"{found} != {expected}" if finite else f"{found} - {expected} != 0"
    wrong = unequal if exact else f"~(({found}.double() - {expected}).abs() <= bound)"
    return [f"wrong = {wrong}", f'assert not wrong.any(), f"{_both(subject, found, expected)}"']


def checking(what: str, found: str, expected: str, limit: str = "") -> str:
    """A call of ``check``, which is ``compare`` as a function."""
    return f"check({what}, {found}, {expected}{', ' if limit else ''}{limit})"


def rounding_bound(subject: Subject, factor: int) -> list[str]:
    """Make ``bound`` for outputs that are compared with each other; no lines where nothing rounds."""
    return bound(subject, "output", embedded(subject, absolute=True), factor)


def like_first(subject: Subject, found: str, factor: int = 2) -> list[str]:
    """Assert that another output of the same data is the first one, ``tokens``; all may have rounded."""
    exact = subject.exact("output")
    return [*rounding_bound(subject, factor), *compare(subject, found, "tokens", exact=exact, finite=False)]


def same_form(subject: Subject, tokens: str = "tokens", shape: str = "") -> list[str]:
    """Assert dtype and shape of a later output, where that is what is wrong: numbers alone would broadcast."""
    if not subject.form_changes:
        return []
    return [
        f"observed, form = ({tokens}.dtype, {tokens}.shape), ({subject.dtype}, {shape or subject.case.output_shape})",
        'assert observed == form, f"observed {observed}, expected {form}"',
    ]


def mirrored(subject: Subject, tokens: str) -> str:
    """What the opposite input gives: the opposite output, the bias apart."""
    return f"2 * bias.double() - {tokens}.double()" if subject.case.spec.bias else f"-{tokens}.double()"


def laid_out(subject: Subject, name: str) -> str:
    """Values in the case's layout; where that is contiguous they already are."""
    if subject.case.input.layout == "expanded":
        return lay_out(subject, name if name.isidentifier() else f"({name})", "expanded")
    return name if subject.case.input.layout == "contiguous" else f"lay_out({name})"
