"""The tensors of a case as source: numbers in full, or the generator and the arithmetic of the fill; and layouts."""

import math
import textwrap
from collections.abc import Sequence

from torch import Tensor

from oracles.precision import PRECISIONS
from properties.cases import fill, generator
from properties.cases.case import Case
from properties.failures.scripts.subject import WIDTH, Block, Subject
from properties.trials.tensors import tensors

# A script with more numbers, or more lines of them, contains the generator instead.
_MOST_NUMBERS = 60
_MOST_LINES = 14
# Where axes of size 1 have the strides that they have in a new tensor.
_PLAIN = ("contiguous", "expanded")
_FRESH = "clone(memory_format=torch.contiguous_format)"


def subject_values(subject: Subject) -> dict[str, Tensor]:
    """The case's tensors by their names in a script; of one that is expanded, what is repeated."""
    case, values = subject.case, tensors(subject.case)
    x, cotangent = values.x, values.cotangent
    if case.input.layout == "expanded":
        x = x[:1]
    if case.backward.cotangent == "expanded":
        cotangent = cotangent.flatten(0, -2)[0]
    found = {"x" if case.input.layout in ("contiguous", "expanded") else "pixels": x, "weight": values.weight}
    if values.bias is not None:
        found["bias"] = values.bias
    return found | {"cotangent": cotangent}


def few_numbers(subject: Subject, blocks: Sequence[Block]) -> bool:
    """Whether the tensors among some blocks can stand in a script in full."""
    values = subject_values(subject)
    written = [block for block in blocks if block.name in values]
    numbers = sum(values[block.name].numel() for block in written)
    return numbers <= _MOST_NUMBERS and sum(len(block.lines) for block in written) <= _MOST_LINES


def literal_blocks(subject: Subject) -> list[Block]:
    """An assignment for each tensor, with all its numbers."""
    case, blocks = subject.case, []
    for name, tensor in subject_values(subject).items():
        shape = {"x": case.input_shape, "cotangent": case.output_shape}.get(name, tuple(tensor.shape))
        if name == "cotangent" and case.backward.cotangent in ("ones", "zero"):
            lines = [cotangent_source(subject, f"{shape}")]
        else:
            repeated = "" if tuple(tensor.shape) == shape else f".expand{shape}"
            lines = literal(name, tensor, subject, repeated)
        if name == "cotangent" and case.backward.cotangent == "channels_first":
            lines.append(f"cotangent = {lay_out(subject, 'cotangent', 'channels_first')}")
        if name == "x" and "input" in case.backward.requires_grad:
            lines.append("x.requires_grad_()")
        blocks.append(Block(name, tuple(lines)))
    return [*blocks, *_laid_out_blocks(subject)]


def _laid_out_blocks(subject: Subject) -> list[Block]:
    case = subject.case
    if case.input.layout in ("contiguous", "expanded"):
        return []
    lines = [f"x = {lay_out(subject, 'pixels', case.input.layout)}"]
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


def lay_out(subject: Subject, pixels: str, layout: str) -> str:
    """``properties.trials.layout.lay_out`` of a contiguous tensor, as an expression."""
    laid = _laid_out(pixels, layout, subject.case.spec.data_dim + 2)
    plain = subject.case.input.dtype == "bfloat16" and subject.device == "cpu" and layout not in _PLAIN
    return f"{laid}.unsqueeze(-1).view({pixels}.shape)" if plain else laid


def _laid_out(pixels: str, layout: str, axes: int) -> str:
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
            strides = f"[7 if n == 1 else m for n, m in zip({pixels}.shape, {pixels}.stride())]"
            return f"{pixels}.clone().as_strided({pixels}.shape, {strides})"


def generator_blocks(subject: Subject) -> list[Block]:
    """The counter-based generator of ``cases/generator.py`` in pure Python, and what the fill makes of its words.

    ``draw`` gives a tensor; where integers differ in range, it takes the largest.
    """
    case, precision = subject.case, PRECISIONS[subject.case.input.dtype]
    stream = f'f"patchify-harness/{generator.VERSION}/{case.fill.seed}/{{name}}"'
    words = (
        "def words(name, count):  # NumPy's Philox(key=...).random_raw(count)",
        f"    digest = hashlib.sha256({stream}.encode()).digest()",
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
        low, high = fill.wide_exponents(case)
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
    limits = fill.amplitudes(case)
    return limits.cotangent if name == "cotangent" else limits.operand


def draw(subject: Subject, name: str, shape: str) -> str:
    """A call that draws a tensor of the case."""
    most = largest(subject.case, name) if subject.case.fill.integral else None
    differs = most is not None and most != largest(subject.case, "x")
    return f'draw("{name}", {shape}{f", {most}" if differs else ""})'


def drawn_blocks(subject: Subject) -> list[Block]:
    """An assignment for each tensor, by the generator."""
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
        lines.append(f"x = {lay_out(subject, 'x', case.input.layout)}")
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
    limits, terms = fill.amplitudes(case), case.spec.terms
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
    limit = fill.amplitudes(case).cotangents
    if chosen or (case.fill.integral and limit < math.prod(case.output_shape)):
        lines += [
            "count = cotangent.numel()",
            'order = sorted(range(count), key=words("cotangent/chosen", count).__getitem__)',
            f"cotangent.view(-1)[order[{chosen or limit}:]] = 0",
        ]
    if kind == "expanded":
        lines.append("cotangent = cotangent.flatten(0, -2)[0].clone().expand(cotangent.shape)")
    if kind == "channels_first":
        lines.append(f"cotangent = {lay_out(subject, 'cotangent', 'channels_first')}")
    return lines
