"""What standalone scripts are made of, as Python source: the case's tensors, the layer, the expectation, comparisons.

A script holds what its last lines use, and what that uses in turn, and nothing else: every definition is a ``Block``
with a name, and ``assemble`` takes those whose names occur.
"""

import ast
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from oracles import rounding
from oracles.rounding import PRECISIONS
from properties import fill, generator
from properties.case import Case
from properties.compilation import Control
from properties.options import DEFAULT_IMPLEMENTATION
from properties.property import Property
from properties.trial import Expectation, Trial
from properties.verdict import Failed

WIDTH = 120
# A script with more numbers, or more lines of them, contains the generator instead.
_MOST_NUMBERS = 60
_MOST_LINES_OF_NUMBERS = 14
_CONVOLUTIONS = {1: "Conv1d", 2: "Conv2d", 3: "Conv3d"}
_FORMATS = {2: "torch.channels_last", 3: "torch.channels_last_3d"}
_FRESH = "clone(memory_format=torch.contiguous_format)"


@dataclass(frozen=True)
class Subject:
    """What a script is about: one failure.

    ``inline`` says that the layer is the shipped one and is written out, so that the script needs torch alone.
    """

    prop: Property
    implementation: str
    device: str
    case: Case
    verdict: Failed
    inline: bool = False

    def of(self, case: Case) -> "Subject":
        """The same with another case."""
        return replace(self, case=case)

    @property
    def dtype(self) -> str:
        """``torch.float64`` and so on."""
        return str(self.case.torch_dtype)

    @property
    def on_device(self) -> str:
        """The argument of a function that makes a tensor, where there is one to give."""
        return "" if self.device == "cpu" else f', device="{self.device}"'

    @property
    def pixels(self) -> str:
        """The input's values without layout or gradient, as an expression."""
        if self.case.input.layout not in ("contiguous", "expanded"):
            return "pixels"
        return "x.detach()" if "input" in self.case.backward.requires_grad else "x"

    @property
    def parameters(self) -> list[str]:
        """The names of the layer's parameters."""
        return ["weight", "bias"] if self.case.spec.bias else ["weight"]

    @property
    def operands(self) -> list[str]:
        """The arguments of the linear map."""
        return ["x", *self.parameters]

    @property
    def wanted(self) -> list[str]:
        """The tensors whose gradient the case asks for, as expressions."""
        return ["x" if name == "input" else f"layer.conv.{name}" for name in self.case.backward.requires_grad]

    @cached_property
    def expectations(self) -> dict[str, Expectation]:
        """What the output and each gradient should be, for what their bounds say of rounding."""
        trial = Trial(self.case, Control)
        names = ("input", *self.parameters)
        return {"output": trial.expected_tokens} | {name: trial.expected_gradient(name) for name in names}

    def exact(self, *tensors: str) -> bool:
        """Whether no correct evaluation of the output or a gradient rounds anywhere."""
        return not any(bool(self.expectations[tensor].bound.any()) for tensor in tensors)

    @property
    def form_changes(self) -> bool:
        """Whether what is wrong is that a later output has another dtype or shape than the first."""
        return self.verdict.observed.startswith("TypeError: the output ") and self.verdict.observed.endswith("before")


@dataclass(frozen=True)
class Block:
    """Lines of a script that define a name."""

    name: str
    lines: tuple[str, ...]

    @property
    def is_code(self) -> bool:
        """Whether this is a function or a class, which stands by itself."""
        return self.lines[0].startswith(("def ", "class "))


def names_in(lines: Iterable[str]) -> set[str]:
    """The names that some source reads."""
    tree = ast.parse("\n".join(lines))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def needed(blocks: Sequence[Block], body: Sequence[str]) -> list[Block]:
    """The blocks that a body uses, and those that these use."""
    found: list[Block] = []
    names = names_in(body)
    for block in reversed(blocks):
        if block.name in names:
            found.insert(0, block)
            names |= names_in(block.lines)
    return found


def chosen_blocks(subject: Subject, body: Sequence[str]) -> list[Block]:
    """The blocks for a body, with numbers in full where they are few, else with the generator."""
    if "draw" not in names_in(body):
        blocks = needed([*_code_blocks(subject), *_literal_blocks(subject), *_layer_blocks(subject)], body)
        literals = [block for block in blocks if block.name in ("pixels", "x", "weight", "bias", "cotangent")]
        values = subject_values(subject)
        numbers = sum(values[block.name].numel() for block in literals if block.name in values)
        if numbers <= _MOST_NUMBERS and sum(len(block.lines) for block in literals) <= _MOST_LINES_OF_NUMBERS:
            return blocks
    blocks = [*_code_blocks(subject), *generator_blocks(subject), *_drawn_blocks(subject), *_layer_blocks(subject)]
    return needed(blocks, body)


# Tensors.


def subject_values(subject: Subject) -> dict[str, Tensor]:
    """The case's tensors by their names in a script; of one that is expanded, what is repeated."""
    case, values = subject.case, fill.values(subject.case)
    x, cotangent = values.x, values.cotangent
    if case.input.layout == "expanded":
        x = x[:1]
    if case.backward.cotangent == "expanded":
        cotangent = cotangent[(slice(0, 1),) * (case.spec.data_dim + 1)]
    found = {"x" if case.input.layout in ("contiguous", "expanded") else "pixels": x, "weight": values.weight}
    if values.bias is not None:
        found["bias"] = values.bias
    return found | {"cotangent": cotangent}


def _literal_blocks(subject: Subject) -> list[Block]:
    case, blocks = subject.case, []
    for name, tensor in subject_values(subject).items():
        shape = {"x": case.input_shape, "cotangent": case.output_shape}.get(name, tuple(tensor.shape))
        if name == "cotangent" and case.backward.cotangent in ("ones", "zero"):
            lines = [cotangent_source(subject, f"{shape}")]
        else:
            repeated = "" if tuple(tensor.shape) == shape else f".expand{shape}"
            lines = literal(name, tensor, subject, repeated)
        if name == "cotangent" and case.backward.cotangent == "channels_first":
            lines.append(f"cotangent = {lay_out('cotangent', 'channels_first', case.spec.data_dim)}")
        if name == "x" and "input" in case.backward.requires_grad:
            lines.append("x.requires_grad_()")
        blocks.append(Block(name, tuple(lines)))
    return [*blocks, *_laid_out_blocks(subject)]


def _laid_out_blocks(subject: Subject) -> list[Block]:
    case = subject.case
    if case.input.layout in ("contiguous", "expanded"):
        return []
    lines = [f"x = {lay_out('pixels', case.input.layout, case.spec.data_dim)}"]
    if "input" in case.backward.requires_grad:
        lines.append("x.requires_grad_()")
    return [Block("x", tuple(lines))]


def literal(name: str, tensor: Tensor, subject: Subject, repeated: str = "") -> list[str]:
    """An assignment of a tensor with all its numbers: on one line, nested or flat, or on several."""
    integral = subject.case.fill.integral
    numbers = [
        "nan" if math.isnan(n) else str(int(n)) if integral else repr(n) for n in tensor.double().ravel().tolist()
    ]
    flat, tail = ", ".join(numbers), f", dtype={subject.dtype}{subject.on_device})"
    shaped = f".reshape({', '.join(map(str, tensor.shape))}){repeated}"
    for line in (
        f"{name} = torch.tensor({_nested(numbers, tuple(tensor.shape))}{tail}{repeated}",
        f"{name} = torch.tensor([{flat}]{tail}{shaped}",
    ):
        if len(line) <= WIDTH:
            return [line]
    rows = textwrap.wrap(flat, WIDTH - 4)
    return [f"{name} = torch.tensor([", *(f"    {row}" for row in rows), f"]{tail}{shaped}"]


def _nested(numbers: list[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return numbers[0]
    size = len(numbers) // shape[0]
    parts = [_nested(numbers[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0])]
    return f"[{', '.join(parts)}]"


def lay_out(pixels: str, layout: str, data_dim: int) -> str:
    """``properties.layout.lay_out`` of a contiguous tensor, as an expression."""
    axes = data_dim + 2
    backwards = ", ".join(str(axis) for axis in reversed(range(axes)))
    match layout:
        case "contiguous":
            return f"{pixels}.{_FRESH}"
        case "channels_first":
            return f"{pixels}.movedim(-1, 1).{_FRESH}.movedim(1, -1)"
        case "transposed":
            return f"{pixels}.permute({backwards}).{_FRESH}.permute({backwards})"
        case "sliced":
            inside = ", ".join(["1:-1"] * axes)
            return f"{pixels}.new_full([n + 2 for n in {pixels}.shape], nan)[{inside}].copy_({pixels})"
        case "stepped":
            every_second = ", ".join(["::2"] * axes)
            return f"{pixels}.new_full([2 * n for n in {pixels}.shape], nan)[{every_second}].copy_({pixels})"
        case "expanded":
            return f"{pixels}[:1].{_FRESH}.expand({pixels}.shape)"
        case _:
            strides = f"[7 if n == 1 else step for n, step in zip({pixels}.shape, {pixels}.stride())]"
            return f"{pixels}.clone().as_strided({pixels}.shape, {strides})"


def generator_blocks(subject: Subject) -> list[Block]:
    """The counter-based generator of ``properties/generator.py`` in pure Python, and what the fill makes of its words.

    ``draw`` gives a tensor; where integers differ in range, it takes the largest.
    """
    case, precision = subject.case, PRECISIONS[subject.case.torch_dtype]
    words = (
        "def words(name, count):  # NumPy's Philox(key=...).random_raw(count)",
        f'    digest = hashlib.sha256(f"patchify-harness/{generator.VERSION}/{case.fill.seed}/{{name}}".encode()).digest()',
        "    found, mask = [], 2**64 - 1",
        "    for block in range(1, count // 4 + 2):",
        '        (key, other), a, b, c, d = struct.unpack("<2Q", digest[:16]), block, 0, 0, 0',
        "        for _ in range(10):",
        "            left, right = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c",
        "            a, b, c, d = right >> 64 ^ b ^ key, right & mask, left >> 64 ^ d ^ other, left & mask",
        "            key, other = key + 0x9E3779B97F4A7C15 & mask, other + 0xBB67AE8584CAA73B & mask",
        "        found += a, b, c, d",
        "    return found[:count]",
    )
    bits = precision.significant_bits
    tensor = f"torch.tensor(values, dtype={subject.dtype}{subject.on_device}).reshape(shape)"
    if case.fill.integral:
        draw = [
            f"def draw(name, shape, most={largest(case, 'x')}):",
            "    values = [word % (2 * most + 1) - most for word in words(name, math.prod(shape))]",
            f"    return {tensor}",
        ]
    elif case.fill.name == "real":
        draw = [
            "def draw(name, shape):",
            f"    values = [word % (2**{bits + 1} - 1) - 2**{bits} + 1 for word in words(name, math.prod(shape))]",
            f"    return {tensor} / 2**{bits}",
        ]
    else:
        low, high = fill._WIDE_EXPONENTS[case.input.dtype]
        if case.input.dtype == "float16":
            high = min(high, (15 - math.ceil(math.log2(fill.most_terms(case)))) // 2)
        half = f"2**{bits - 1}"
        number = f"(m % {half} + {half}) * (s % 2 * 2 - 1) * 2.0 ** (e % {high - low + 1} - {bits - low})"
        draw = [
            "def draw(name, shape):",
            '    kinds = ("significand", "sign", "exponent")',
            '    parts = zip(*(words(f"{name}/{kind}", math.prod(shape)) for kind in kinds))',
            f"    values = [{number} for m, s, e in parts]",
            f"    return {tensor}",
        ]
    return [Block("words", words), Block("draw", tuple(draw))]


def largest(case: Case, name: str) -> int:
    """The range of an integral tensor."""
    limits = fill._amplitudes(case)
    return limits.cotangent if name == "cotangent" else limits.operand


def draw(subject: Subject, name: str, shape: str) -> str:
    """A call that draws a tensor of the case."""
    most = largest(subject.case, name) if subject.case.fill.integral else None
    differs = most is not None and most != largest(subject.case, "x")
    return f'draw("{name}", {shape}{f", {most}" if differs else ""})'


def _drawn_blocks(subject: Subject) -> list[Block]:
    case = subject.case
    shapes = {"weight": case.weight_shape} | ({"bias": (case.spec.out_features,)} if case.spec.bias else {})
    blocks = [Block("x", tuple(drawn_input(subject, f"{case.input_shape}")))]
    for name, shape in shapes.items():
        blocks.append(Block(name, tuple(_drawn_parameter(subject, name, shape))))
    blocks.append(Block("cotangent", tuple(drawn_cotangent(subject, f"{case.output_shape}"))))
    if case.input.layout in ("contiguous", "expanded"):
        return blocks
    # Pixels and input have names of their own where both may be needed.
    pixels = drawn_pixels(subject, f"{case.input_shape}", "pixels")
    return [Block("pixels", tuple(pixels)), *blocks[1:], *_laid_out_blocks(subject)]


def drawn_input(subject: Subject, shape: str) -> list[str]:
    """Draw the input of a shape, laid out."""
    case = subject.case
    lines = drawn_pixels(subject, shape, "x")
    if case.input.layout != "contiguous":
        lines.append(f"x = {lay_out('x', case.input.layout, case.spec.data_dim)}")
    return [*lines, "x.requires_grad_()"] if "input" in case.backward.requires_grad else lines


def drawn_pixels(subject: Subject, shape: str, name: str) -> list[str]:
    """Draw the input's values, contiguous."""
    case = subject.case
    if case.fill.name == "address":
        numbers = f"torch.arange(1, {math.prod(case.input_shape) + 1}{subject.on_device})"
        return [f"{name} = {numbers}.reshape{shape}.to({subject.dtype})"]
    lines = [f"{name} = {draw(subject, 'x', shape)}"]
    if case.fill.name == "poison":
        lines += [f"{pixels} = nan" for pixels in uncovered_pixels(case, name)]
    return lines


def uncovered_pixels(case: Case, name: str) -> list[str]:
    """Slices of a tensor ``[B, *s, C]`` that hold all pixels that no window covers, one for each axis with any."""
    spec, found = case.spec, []
    for axis, (size, windows) in enumerate(zip(case.input.sizes, case.grid, strict=True)):
        end = (windows - 1) * spec.step + spec.patch_size
        before = ", ".join([":"] * (axis + 1))
        if spec.step > spec.patch_size and windows > 1:
            test = f"p % {spec.step} >= {spec.patch_size}" + (f" or p >= {end}" if end < size else "")
            found.append(f"{name}[{before}, [p for p in range({size}) if {test}]]")
        elif end < size:
            found.append(f"{name}[{before}, {end}:]")
    return found


def _drawn_parameter(subject: Subject, name: str, shape: tuple[int, ...]) -> list[str]:
    case = subject.case
    if case.fill.name == "address":
        made = f"eye({case.spec.terms}" if name == "weight" else f"zeros({case.spec.out_features}"
        shaped = f".reshape{shape}" if name == "weight" else ""
        return [f"{name} = torch.{made}, dtype={subject.dtype}{subject.on_device}){shaped}"]
    lines = [f"{name} = {draw(subject, name, f'{shape}')}"]
    limits, terms = fill._amplitudes(case), case.spec.terms
    if name == "weight" and case.fill.integral and limits.weights_in_a_row < terms:
        lines += [
            f"for row in range({case.spec.out_features}):",
            f'    order = sorted(range({terms}), key=words(f"weight/{{row}}/chosen", {terms}).__getitem__)',
            f"    weight.flatten(1)[row, order[{limits.weights_in_a_row}:]] = 0",
        ]
    return lines


def cotangent_source(subject: Subject, shape: str) -> str:
    """The cotangent of ones or zeros."""
    kind = "ones" if subject.case.backward.cotangent == "ones" else "zeros"
    return f"cotangent = torch.{kind}({shape}, dtype={subject.dtype}{subject.on_device})"


def drawn_cotangent(subject: Subject, shape: str, most: str = "", chosen: str = "") -> list[str]:
    """Draw the cotangent of a shape.

    Args:
        subject: what the script is about.
        shape: the output's shape, as an expression.
        most: the largest integer, and
        chosen: how many integers are not made zero, as expressions; empty where they are the case's.
    """
    case, kind = subject.case, subject.case.backward.cotangent
    if kind in ("ones", "zero"):
        return [cotangent_source(subject, shape)]
    call = draw(subject, "cotangent", shape) if not most else f'draw("cotangent", {shape}, {most})'
    lines = [f"cotangent = {call}"]
    limit = fill._amplitudes(case).cotangents
    if chosen or (case.fill.integral and limit < math.prod(case.output_shape)):
        lines += [
            "count = cotangent.numel()",
            'order = sorted(range(count), key=words("cotangent/chosen", count).__getitem__)',
            f"cotangent.view(-1)[order[{chosen or limit}:]] = 0",
        ]
    if kind == "expanded":
        lines.append("cotangent = cotangent.flatten(0, -2)[0].clone().expand(cotangent.shape)")
    if kind == "channels_first":
        lines.append(f"cotangent = {lay_out('cotangent', 'channels_first', case.spec.data_dim)}")
    return lines


# The layer.


def construction(subject: Subject, out_features: int | None = None) -> str:
    """The call that builds the layer."""
    if subject.inline:
        return "Layer()"
    spec = subject.case.spec
    return (
        f"Layer(in_features={spec.in_features}, out_features={out_features or spec.out_features}, "
        f"data_dim={spec.data_dim}, patch_size={spec.patch_size}, stride={spec.stride}, bias={spec.bias})"
    )


def _layer_blocks(subject: Subject) -> list[Block]:
    inside = ["def make_layer(weight):", *(f"    {line}" for line in making(subject)), "    return layer"]
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


def inlined_layer(case: Case) -> Block:
    """The shipped layer as it is in eager mode: a convolution between two transpositions."""
    spec = case.spec
    geometry = f"{spec.in_features}, {spec.out_features}, kernel_size={spec.patch_size}, stride={spec.step}"
    lines = (
        "class Layer(torch.nn.Module):",
        f"    # {DEFAULT_IMPLEMENTATION}, as it is in eager mode.",
        "    def __init__(self):",
        "        super().__init__()",
        f"        self.conv = torch.nn.{_CONVOLUTIONS[spec.data_dim]}({geometry}, bias={spec.bias})",
        "",
        "    def forward(self, x):",
        "        return self.conv(x.movedim(-1, 1)).movedim(1, -1).contiguous()",
    )
    return Block("Layer", lines)


# What is right.


def windows(subject: Subject, x: str = "x") -> str:
    """Every window of an input as a vector, in float64."""
    spec = subject.case.spec
    unfolds = "".join(f".unfold({axis}, {spec.patch_size}, {spec.step})" for axis in range(1, spec.data_dim + 1))
    return f"{x}.double(){unfolds}.flatten({spec.data_dim + 1})"


def _code_blocks(subject: Subject) -> list[Block]:
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
    blocks = [Block("embed", embed), Block("gradients", gradients)]
    for name, bound, wrong in (
        ("check", "", "found != expected"),
        ("check_bounded", ", bound", "~((found.double() - expected).abs() <= bound)"),
    ):
        lines = (
            f"def {name}(what, found, expected{bound}):",
            f"    wrong = {wrong}",
            f'    assert not wrong.any(), f"{{what}}: {_both("found", "expected")}"',
        )
        blocks.append(Block(name, lines))
    return [inlined_layer(subject.case), *blocks] if subject.inline else blocks


def _both(found: str, expected: str) -> str:
    return f"observed {{{found}[wrong][:5].tolist()}}, expected {{{expected}[wrong][:5].tolist()}}"


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
    tf32 = case.tf32 and subject.device.startswith("cuda")
    number = f"{factor} * {terms}" if terms else str(factor * expectation.terms)
    numbers = str(factor * (expectation.terms + 1))
    relative = f"{number} * {_relative(case, expectation.terms, tf32)}"
    limit, most = PRECISIONS[case.torch_dtype].exact_limit, torch.finfo(case.torch_dtype).max
    # Only in float16 are the values of a fill so small that a product may underflow.
    smallest = f" + {numbers} * 2**-24" if case.input.dtype == "float16" else ""
    masked = f" * (magnitude > {limit:.0f})" if case.fill.integral else ""
    overflows = bool(expectation.bound.isinf().any())
    infinite = f".masked_fill(magnitude > {most:.0f}, torch.inf)" if overflows else ""
    lines = [f"# What rounding can do to a sum of {terms or expectation.terms} terms, in any order."]
    if not masked and not infinite:
        return [*lines, f"{name} = {relative} * {magnitude}{smallest}"]
    scaled = f"({relative} * magnitude{smallest}){masked}"
    return [*lines, f"magnitude = {magnitude}", f"{name} = ({scaled}){infinite}" if infinite else f"{name} = {scaled}"]


def _relative(case: Case, terms: int, tf32: bool) -> str:
    """The bound for one term of magnitude 1: its own rounding, and that of the expectation."""
    bits = PRECISIONS[case.torch_dtype].significant_bits
    if tf32:
        unit, rounded = PRECISIONS[case.torch_dtype].unit_roundoff, rounding.TF32.unit_roundoff
        relative = unit + (2 * rounded + rounded**2) * (1 / terms + unit) + 2.0**-52
        return repr(relative)
    return f"(2**-{bits} + 2**-52)"


def compare(found: str, expected: str, what: str = "", *, exact: bool) -> list[str]:
    """Assert that each value is the expected one, or no further from it than ``bound``."""
    wrong = f"{found} != {expected}" if exact else f"~(({found}.double() - {expected}).abs() <= bound)"
    message = f"{what}: " if what else ""
    return [f"wrong = {wrong}", f'assert not wrong.any(), f"{message}{_both(found, expected)}"']


def looping(names: str, items: list[str]) -> list[str]:
    """The head of a loop over a few things."""
    line = f"for {names} in [{', '.join(items)}]:"
    return [line] if len(line) <= WIDTH else [f"for {names} in [", *(f"    {item}," for item in items), "]:"]
