"""What scripts on shapes, values, relations and samples do: the same checks as in ``properties/families``, as source.

A body may use what ``pieces`` and ``tensors`` define: ``layer``, ``x``, ``weight``, ``embed`` and so on. It may be
sharper than the property and stop at the first thing that is wrong, but a correct layer passes it.
"""

import re

from properties.failures.scripts.pieces import (
    BEFORE,
    checking,
    compare,
    expected_tokens,
    laid_out,
    like_first,
    mirrored,
    rounding_bound,
    same_form,
)
from properties.failures.scripts.quoted import comment, value
from properties.failures.scripts.subject import WIDTH, Body, Subject, indented, looping
from properties.failures.scripts.tensors import uncovered_pixels
from properties.laws.samples import HUGE_BATCH, pixels_to_change
from properties.trials.implementation import CannotRun

# What comes out.


def _forward(s: Subject) -> list[str]:
    return [f"layer(x)  # raises {comment(s.verdict.observed)}"[:WIDTH].rstrip()]


def _returns_tensor(s: Subject) -> list[str]:
    return [
        "tokens = layer(x)",
        'assert isinstance(tokens, torch.Tensor), f"observed {type(tokens)}, expected a tensor"',
        "observed, expected = (tokens.dtype, tokens.device), (x.dtype, x.device)",
        'assert observed == expected, f"observed {observed}, expected {expected}"',
    ]


def _grid_shape(s: Subject) -> list[str]:
    spec, given = s.case.spec, s.case.input
    grid = f"*((size - {spec.patch_size}) // {spec.step} + 1 for size in {given.sizes})"
    return [
        f"expected = [{given.batch}, {grid}, {spec.out_features}]",
        "observed = list(layer(x).shape)",
        'assert observed == expected, f"observed {observed}, expected {expected}"',
    ]


def _default_stride_grid(s: Subject) -> list[str]:
    return [
        f"expected = [size // {s.case.spec.patch_size} for size in x.shape[1:-1]]",
        "observed = list(layer(x).shape[1:-1])",
        'assert observed == expected, f"observed {observed}, expected {expected}"',
    ]


def _values(s: Subject) -> list[str]:
    return [*expected_tokens(s), "", "tokens = layer(x)", *compare(s, "tokens", "expected", exact=s.exact("output"))]


def _position_embedding(s: Subject) -> list[str]:
    if "nvsubquadratic" in s.verdict.what:
        raise CannotRun("it failed with nvsubquadratic's PositionEmbeddingND, which no script of torch alone has")
    shape, like = s.case.output_shape, f"dtype={s.dtype}{s.on_device}"
    return [
        f"embedded = layer(x) + torch.ones({shape[1:]}, {like})  # a position embedding",
        f"mixed = torch.nn.Linear({shape[-1]}, 2, {like})(embedded)",
        f"observed, expected = (embedded.shape, mixed.shape), ({shape}, {(*shape[:-1], 2)})",
        'assert observed == expected, f"observed {observed}, expected {expected}"',
    ]


# Relations.


def _parts(s: Subject, tensor: str) -> list[str]:
    """Two tensors that add up to one, each zero where the other is not."""
    return [
        f"even = (torch.arange({tensor}.numel(){s.on_device}) % 2 == 0).reshape({tensor}.shape)",
        f"left, right = {tensor}.masked_fill(~even, 0), {tensor}.masked_fill(even, 0)",
        "",
    ]


def _total(s: Subject) -> list[str]:
    bias = " - bias.double()" if s.case.spec.bias else ""
    return [
        *same_form(s, "one"),
        *same_form(s, "other"),
        f"total = one.double() + other.double(){bias}",
        *like_first(s, "total", factor=6),
    ]


def _additive_in_input(s: Subject) -> list[str]:
    return [*_parts(s, s.pixels), "tokens, one, other = layer(x), layer(left), layer(right)", *_total(s)]


def _additive_in_weight(s: Subject) -> list[str]:
    return [
        *_parts(s, "weight"),
        "tokens = make_layer(weight)(x)",
        f"one, other = make_layer(left)({s.pixels}), make_layer(right)({s.pixels})",
        *_total(s),
    ]


def _homogeneous(s: Subject) -> list[str]:
    return [
        f"expected = {mirrored(s, 'layer(x)')}",
        f"tokens = layer(-{s.pixels})",
        *same_form(s),
        *rounding_bound(s, 6),
        *compare(s, "tokens", "expected", exact=s.exact("output"), finite=False),
    ]


def _zero_input(s: Subject) -> list[str]:
    expected = f"bias.expand{s.case.output_shape}" if s.case.spec.bias else "torch.zeros_like(tokens)"
    return [
        BEFORE,
        f"tokens = layer(torch.zeros_like({s.pixels}))",
        *same_form(s),
        f"expected = {expected}",
        *compare(s, "tokens", "expected", exact=True),
    ]


def _shift(s: Subject) -> list[str]:
    axis = next(axis for axis, windows in enumerate(s.case.grid, start=1) if windows > 1)
    before = ", ".join([":"] * axis)
    limits = rounding_bound(s, 2)
    if limits:
        limits.append(f"bound = bound[{before}, 1:]")
    return [
        f"expected = layer(x)[{before}, 1:]",
        f"found = layer({s.pixels}[{before}, {s.case.spec.step}:].clone())",
        'assert found.shape == expected.shape, f"observed {list(found.shape)}, expected {list(expected.shape)}"',
        *limits,
        *compare(s, "found", "expected", exact=s.exact("output"), finite=False),
    ]


def _sample_permutation(s: Subject) -> list[str]:
    return [
        "tokens = layer(x)",
        f"found = layer({s.pixels}.roll(1, 0)).roll(-1, 0)",
        *same_form(s, "found"),
        *like_first(s, "found"),
    ]


def _channel_permutation(s: Subject) -> list[str]:
    return [
        "tokens = make_layer(weight)(x)",
        f"found = make_layer(weight.roll(1, 1))({s.pixels}.roll(1, -1))",
        *same_form(s, "found"),
        *like_first(s, "found"),
    ]


def _axis_permutation(s: Subject) -> list[str]:
    data_dim = s.case.spec.data_dim
    axes = [0, *range(data_dim, 0, -1), data_dim + 1]
    taps = [0, 1, *range(data_dim + 1, 1, -1)]
    order = ", ".join(map(str, axes))
    return [
        "tokens = make_layer(weight)(x)",
        f"reversed_axes = {s.pixels}.permute({order}).contiguous()",
        f"found = make_layer(weight.permute({', '.join(map(str, taps))}))(reversed_axes).permute({order})",
        'assert found.shape == tokens.shape, f"observed {list(found.shape)}, expected {list(tokens.shape)}"',
        *like_first(s, "found"),
    ]


# Pixels that no window covers.


def _uncovered_ignored(s: Subject) -> list[str]:
    told = re.search(r"(?:set to|pixels at) (\S+)", s.verdict.what)
    if told is None:
        raise CannotRun("the verdict does not say which value the uncovered pixels had")
    filling = value("what", told[1].removesuffix(","), float).removesuffix(".0")
    found = []
    for name, number in (("zeroed", "0"), ("filled", filling)):
        found += [f"{name} = {s.pixels}.clone()"]
        found += [f"{pixels} = {number}" for pixels in uncovered_pixels(s.case, name)]
    return [
        *found,
        "",
        f"expected = layer({laid_out(s, 'zeroed')})",
        f"tokens = layer({laid_out(s, 'filled')})",
        *same_form(s),
        *compare(s, "tokens", "expected", exact=True),
    ]


# Samples and tokens.


def _samples(s: Subject) -> list[str]:
    batch, pixels = s.case.input.batch, s.pixels
    alone, rest = ("", "") if s.exact("output") else ("bound[i : i + 1]", "bound[:-1]")
    return [
        "tokens = layer(x)",
        *rounding_bound(s, 2),
        f"for i in {sorted({0, batch // 2, batch - 1})}:",
        f"    alone, expected = layer({pixels}[i : i + 1].clone()), tokens[i : i + 1]",
        '    assert alone.shape == expected.shape, f"observed {list(alone.shape)}, expected {list(expected.shape)}"',
        *indented([checking('f"sample {i} alone"', "alone", "expected", alone)]),
        f"others = {pixels}.clone()",
        "others[-1] = -others[-1]",
        "found = layer(others)",
        *same_form(s, "found"),
        checking('"with another last sample"', "found[:-1]", "tokens[:-1]", rest),
    ]


def _huge_batch(s: Subject) -> list[str]:
    limits = rounding_bound(s, 2)
    if limits:
        limits.append("bound = bound[chosen]")
    return [
        f"chosen = torch.arange({HUGE_BATCH}{s.on_device}) % {s.case.input.batch}",
        "expected = layer(x)[chosen]",
        f"tokens = layer({s.pixels}[chosen])",
        'assert tokens.shape == expected.shape, f"observed {list(tokens.shape)}, expected {list(expected.shape)}"',
        *limits,
        *compare(s, "tokens", "expected", exact=s.exact("output"), finite=False),
    ]


def _changed_pixels(s: Subject) -> list[str]:
    """In a loop: make ``changed``, where one pixel has another value, and ``reached``, the tokens that cover it."""
    arguments = ", ".join(["mark", "torch.ones_like(weight)", *(["0 * bias"] if s.case.spec.bias else [])])
    return [
        f"    changed, mark = {s.pixels}.clone(), torch.zeros_like({s.pixels})",
        "    mark[(slice(None), *pixel)] = 1",
        f"    reached = embed({arguments}) > 0  # the tokens whose windows cover the pixel",
    ]


def _tokens_local(s: Subject) -> list[str]:
    pixels = dict.fromkeys(pixels_to_change(s.case))
    wrong = "(found - tokens != 0)" if s.exact("output") else "~((found.double() - tokens).abs() <= bound)"
    return [
        "tokens = layer(x)",
        *rounding_bound(s, 2),
        *looping("pixel", [f"{pixel}" for pixel in pixels]),
        *_changed_pixels(s),
        "    changed[(slice(None), *pixel)] = 0",
        f"    found = layer({laid_out(s, 'changed')})",
        *indented(same_form(s, "found")),
        f"    wrong = {wrong} & ~reached",
        '    message = f"with pixel {pixel} at 0: observed {found[wrong].tolist()}, expected {tokens[wrong].tolist()}"',
        "    assert not wrong.any(), message",
    ]


def _nonfinite(s: Subject) -> list[str]:
    pairs = dict.fromkeys(zip(("nan", "inf", "-inf", "nan"), pixels_to_change(s.case), strict=True))
    return [
        BEFORE,
        *looping("value, pixel", [f"({value}, {pixel})" for value, pixel in pairs]),
        *_changed_pixels(s),
        "    changed[(slice(None), *pixel, -1)] = value",
        f"    found = layer({laid_out(s, 'changed')})",
        *indented(same_form(s, "found")),
        "    wrong = found.isfinite() == reached",
        '    message = f"observed {found[wrong].tolist()}, expected whether not finite: {reached[wrong].tolist()}"',
        '    assert not wrong.any(), f"{value} in pixel {pixel}: {message}"',
    ]


BODIES: dict[str, Body] = {
    "runs_forward": _forward,
    "returns_tensor": _returns_tensor,
    "grid_shape": _grid_shape,
    "default_stride_grid": _default_stride_grid,
    "values_exact": _values,
    "values_bounded": _values,
    "additive_in_input": _additive_in_input,
    "additive_in_weight": _additive_in_weight,
    "homogeneous": _homogeneous,
    "zero_input_gives_bias": _zero_input,
    "commutes_with_shift": _shift,
    "commutes_with_sample_permutation": _sample_permutation,
    "commutes_with_channel_permutation": _channel_permutation,
    "commutes_with_axis_permutation": _axis_permutation,
    "uncovered_pixels_ignored": _uncovered_ignored,
    "samples_independent": _samples,
    "huge_batch": _huge_batch,
    "tokens_local": _tokens_local,
    "nonfinite_reaches_its_tokens": _nonfinite,
    "feeds_position_embedding": _position_embedding,
}
