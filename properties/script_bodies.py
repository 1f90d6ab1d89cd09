"""What a standalone script does after it has its layer and its tensors: one function for each property, or for several.

Every function writes the same check as the property of that name in ``properties/families``, as Python source. What it
uses (``layer``, ``x``, ``weight``, ``embed`` and so on) is defined above it by ``script_source``. A check may be
sharper than the property's, and stop at the first thing that is wrong, but a correct layer passes it.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from oracles.rounding import PRECISIONS
from properties import script_compiled
from properties.case import Backward, Fill
from properties.families.interface import EXAMPLES
from properties.families.samples import HUGE_BATCH, pixels_to_change
from properties.implementation import CannotRun
from properties.script_source import (
    WIDTH,
    Subject,
    bound,
    compare,
    construction,
    differentiated,
    embedded,
    expected_gradient,
    expected_tokens,
    lay_out,
    looping,
    setting,
    uncovered_pixels,
)
from properties.settings import SETTINGS

Body = Callable[[Subject], list[str]]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def _list(names: list[str]) -> str:
    return f"[{', '.join(names)}]"


def _bias(s: Subject, times: str = "") -> str:
    return f"{times}bias.double()" if s.case.spec.bias else "0"


def _same_form(s: Subject, tokens: str = "tokens") -> list[str]:
    """Assert dtype and shape of a later output, where that is what is wrong: numbers alone would broadcast."""
    if not s.form_changes:
        return []
    expected = f"({s.dtype}, {s.case.output_shape})"
    return [
        f"assert ({tokens}.dtype, {tokens}.shape) == {expected}, "
        f'f"observed {{{tokens}.dtype}} {{list({tokens}.shape)}}, expected {s.dtype} {list(s.case.output_shape)}"'
    ]


def _rounding(s: Subject, factor: int) -> list[str]:
    """Make ``bound`` for outputs that are compared with each other, where they may round."""
    return bound(s, "output", embedded(s, absolute=True), factor)


def _like_first(s: Subject, found: str, what: str = "", factor: int = 2) -> list[str]:
    """Assert that another output of the same data is the first one, ``tokens``; both may have rounded."""
    return [*_rounding(s, factor), *compare(found, "tokens", what, exact=s.exact("output"))]


# What comes out.


def _forward(s: Subject) -> list[str]:
    return [f"layer(x)  # raises {s.verdict.observed}"[:WIDTH].rstrip()]


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
    return [*expected_tokens(s), "", "tokens = layer(x)", *compare("tokens", "expected", exact=s.exact("output"))]


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


def _additive_in_input(s: Subject) -> list[str]:
    pixels = s.pixels
    return [
        f"even = (torch.arange({pixels}.{_numel(s)}) % 2 == 0).reshape({pixels}.shape)",
        f"left, right = {pixels}.masked_fill(~even, 0), {pixels}.masked_fill(even, 0)",
        "",
        "tokens = layer(x)",
        f"total = layer(left).double() + layer(right).double() - {_bias(s)}",
        *_like_first(s, "total", factor=6),
    ]


def _numel(s: Subject) -> str:
    return f"numel(){s.on_device}"


def _additive_in_weight(s: Subject) -> list[str]:
    return [
        f"even = (torch.arange(weight.{_numel(s)}) % 2 == 0).reshape(weight.shape)",
        "left, right = make_layer(weight.masked_fill(~even, 0)), make_layer(weight.masked_fill(even, 0))",
        "",
        "tokens = make_layer(weight)(x)",
        f"total = left({s.pixels}).double() + right({s.pixels}).double() - {_bias(s)}",
        *_like_first(s, "total", factor=6),
    ]


def _homogeneous(s: Subject) -> list[str]:
    return [
        f"expected = {_bias(s, '2 * ')} - layer(x).double()",
        f"opposite = layer(-{s.pixels})",
        *_rounding(s, 6),
        *compare("opposite", "expected", exact=s.exact("output")),
    ]


def _zero_input(s: Subject) -> list[str]:
    expected = f"bias.expand{s.case.output_shape}" if s.case.spec.bias else "torch.zeros_like(tokens)"
    return [
        "layer(x)  # whatever it was given before",
        f"tokens = layer(torch.zeros_like({s.pixels}))",
        f"expected = {expected}",
        *compare("tokens", "expected", exact=True),
    ]


def _shift(s: Subject) -> list[str]:
    axis = next(axis for axis, windows in enumerate(s.case.grid, start=1) if windows > 1)
    before = ", ".join([":"] * axis)
    limits = bound(s, "output", embedded(s, absolute=True), 2)
    if limits:
        limits.append(f"bound = bound[{before}, 1:]")
    return [
        f"expected = layer(x)[{before}, 1:]",
        f"found = layer({s.pixels}[{before}, {s.case.spec.step}:].clone())",
        'assert found.shape == expected.shape, f"observed {list(found.shape)}, expected {list(expected.shape)}"',
        *limits,
        *compare("found", "expected", exact=s.exact("output")),
    ]


def _sample_permutation(s: Subject) -> list[str]:
    return ["tokens = layer(x)", f"found = layer({s.pixels}.roll(1, 0)).roll(-1, 0)", *_like_first(s, "found")]


def _channel_permutation(s: Subject) -> list[str]:
    return [
        "tokens = make_layer(weight)(x)",
        f"found = make_layer(weight.roll(1, 1))({s.pixels}.roll(1, -1))",
        *_like_first(s, "found"),
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
        *_like_first(s, "found"),
    ]


# Pixels that no window covers.


def _uncovered_ignored(s: Subject) -> list[str]:
    value = re.search(r"(?:set to|pixels at) (\S+)", s.verdict.what)
    if value is None:
        raise CannotRun("the verdict does not say which value the uncovered pixels had")
    found = []
    for name, number in (("zeroed", "0"), ("filled", value[1].removesuffix(",").removesuffix(".0"))):
        found += [f"{name} = {s.pixels}.clone()"]
        found += [f"{pixels} = {number}" for pixels in uncovered_pixels(s.case, name)]
    return [
        *found,
        "",
        f"expected = layer({_laid_out(s, 'zeroed')})",
        f"tokens = layer({_laid_out(s, 'filled')})",
        *_same_form(s),
        *compare("tokens", "expected", exact=True),
    ]


def _uncovered_gradient(s: Subject) -> list[str]:
    lines = [f"gradient = {_gradient(s, 'input')}"]
    for pixels in uncovered_pixels(s.case, "gradient"):
        lines.append(f'assert ({pixels} == 0).all(), f"observed {{{pixels}.flatten().tolist()}}, expected zeros"')
    return lines


# Gradients.


def _gradient(s: Subject, name: str) -> str:
    """The layer's gradient, as an expression."""
    wanted = s.case.backward.requires_grad
    unused = ", allow_unused=True" if len(wanted) > 1 else ""
    return f"torch.autograd.grad(layer(x), {_list(s.wanted)}, cotangent{unused})[{wanted.index(name)}]"


def _backward(s: Subject) -> list[str]:
    return [
        f"wanted = {_list(s.wanted)}",
        "tokens = layer(x)",
        'assert tokens.requires_grad, "observed an output that does not require a gradient, expected one that does"',
        "found = torch.autograd.grad(tokens, wanted, cotangent)",
        "observed = [(list(gradient.shape), gradient.dtype) for gradient in found]",
        "expected = [(list(tensor.shape), tensor.dtype) for tensor in wanted]",
        'assert observed == expected, f"observed {observed}, expected {expected}"',
    ]


def _gradient_values(name: str, s: Subject) -> list[str]:
    return [
        *expected_gradient(s, name),
        "",
        f"found = {_gradient(s, name)}",
        *compare("found", "expected", exact=s.exact(name)),
    ]


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
        *compare("found", "expected", exact=s.exact(name)),
    ]


def _second_derivative(s: Subject) -> list[str]:
    operands, bias = ", ".join(s.operands), s.case.spec.bias
    inputs = _list(["x", *(f"layer.conv.{name}" for name in s.parameters)])
    rest = ", retain_graph=True" if bias else ""
    lines = [
        "def second(tokens, inputs, cotangent):  # derivatives of the first derivatives",
        "    firsts = torch.autograd.grad(tokens, inputs, cotangent, create_graph=True)",
        "    along = [tensor.detach().nan_to_num() for tensor in inputs]",
        "    found = torch.autograd.grad(firsts[0], [inputs[1], cotangent], along[0], retain_graph=True)",
        f"    found += torch.autograd.grad(firsts[1], [inputs[0]], along[1]{rest})",
        *(["    found += torch.autograd.grad(firsts[2], [cotangent], along[2])"] if bias else []),
        "    return found",
        "",
        "",
        "def second_of_embed(*tensors):",
        "    *inputs, cotangent = [tensor.detach().double().requires_grad_() for tensor in tensors]",
        "    return second(embed(*inputs), inputs, cotangent)",
        "",
        "",
        f"found = second(layer(x), {inputs}, cotangent.requires_grad_())",
        f"expected = second_of_embed({operands}, cotangent)",
    ]
    named = ["weight", "output", "input", *(["bias"] if bias else [])]
    if s.exact("output", "input", "weight"):
        return [*lines, f"for what, one, other in zip({named}, found, expected):", "    check(what, one, other)"]
    terms = [*(s.expectations[name].terms for name in ("weight", "output", "input")), *([0] if bias else [])]
    bits, f16 = PRECISIONS[s.case.torch_dtype].significant_bits, s.case.input.dtype == "float16"
    smallest, limit = " + (n + 1) * 2**-24" if f16 else "", PRECISIONS[s.case.torch_dtype].exact_limit
    masked = f" * (total > {limit:.0f})" if s.case.fill.integral else ""
    magnitudes = ", ".join(f"{name}.abs()" for name in (*s.operands, "cotangent"))
    return [
        *lines,
        f"magnitudes = second_of_embed({magnitudes})",
        f"for what, one, other, total, n in zip({named}, found, expected, magnitudes, {terms}):",
        f"    check_bounded(what, one, other, (n * (2**-{bits} + 2**-52) * total{smallest}){masked})",
    ]


def _numerically(s: Subject) -> list[str]:
    inputs = _list(["x", *(f"layer.conv.{name}" for name in s.parameters)])
    return [
        "cotangent.requires_grad_()",
        f"inputs = {inputs}",
        "# Compares the derivatives of the gradients with difference quotients.",
        "options = dict(check_undefined_grad=False, nondet_tol=1e-10)",
        "torch.autograd.gradgradcheck(lambda x, *_: layer(x), inputs, cotangent, **options)",
    ]


def _wanting_every_gradient(s: Subject) -> Subject:
    """The same, with a gradient for the input and for every parameter."""
    wanted = ("input", *s.parameters)
    return s.of(replace(s.case, backward=replace(s.case.backward, requires_grad=wanted)))


def _in_real_numbers(s: Subject) -> Subject:
    case = replace(s.case, fill=Fill("real", s.case.fill.seed), backward=Backward((), "random"))
    return _wanting_every_gradient(s.of(replace(case, input=replace(case.input, layout="contiguous"))))


# The layer and its parameters.


def _after(update: Callable[[Subject], list[str]], s: Subject) -> list[str]:
    """Negate the parameters of a layer that has run: the output changes its sign."""
    return [
        "tokens = layer(x)",
        "layer.requires_grad_()",
        *update(s),
        "found = -layer(x)",
        *_same_form(s, "found"),
        *_like_first(s, "found"),
    ]


def _load(s: Subject) -> list[str]:
    return ["layer.load_state_dict({name: -value for name, value in layer.state_dict().items()})"]


def _negate(s: Subject) -> list[str]:
    if ".data" in s.verdict.what:
        return ["for parameter in layer.parameters():", "    parameter.data.neg_()"]
    return ["with torch.no_grad():", "    for parameter in layer.parameters():", "        parameter.neg_()"]


def _step(s: Subject) -> list[str]:
    return [
        f"for parameter in {_list([f'layer.conv.{name}' for name in s.parameters])}:",
        "    parameter.grad = 2 * parameter.detach()  # a step with rate 1 changes its sign",
        "torch.optim.SGD(layer.parameters(), lr=1.0).step()",
    ]


def _copying(s: Subject) -> list[str]:
    exact = s.exact("output")
    check, limit = ("check", "") if exact else ("check_bounded", ", bound")
    return [
        "def saved(layer):",
        "    torch.save(layer, file := io.BytesIO())",
        "    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)",
        "",
        "",
        "tokens = layer(x)",
        *_rounding(s, 2),
        "for copied in (copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer)), saved):",
        "    other = copied(layer)",
        f'    {check}("a copy", other(x), tokens{limit})',
        "    with torch.no_grad():",
        *(f"        other.conv.{name}.neg_()" for name in s.parameters),
        f'    {check}("a copy with other parameters", -other(x), tokens{limit})',
        f'{check}("the original", layer(x), tokens{limit})',
    ]


def _conversion(s: Subject) -> list[str]:
    other = "torch.float32" if s.dtype == "torch.float64" else "torch.float64"
    return [
        "tokens = layer(x)",
        f"layer = layer.to({other})",
        f"converted = layer(x.to({other}))",
        f'assert converted.dtype == {other}, f"observed {{converted.dtype}}, expected {other}"',
        f"layer = layer.to({s.dtype})",
        *setting(s),
        "found = layer(x)",
        *_same_form(s, "found"),
        *_like_first(s, "found"),
    ]


# The same function, whatever happens around it.


def _second_call(s: Subject) -> list[str]:
    exact = s.exact("output")
    check, limit = ("check", "") if exact else ("check_bounded", ", {} * bound")
    opposite = f"-{s.pixels}"
    if s.case.input.layout not in ("contiguous", "expanded"):
        opposite = lay_out(f"({opposite})", s.case.input.layout, s.case.spec.data_dim)
    return [
        "tokens = layer(x)",
        "before = tokens.detach().clone()",
        f"between = layer({opposite})",
        *_same_form(s, "between"),
        'assert torch.equal(tokens.nan_to_num(), before.nan_to_num()), "the second call changes the first output"',
        *_rounding(s, 1),
        f'{check}("a later call", layer(x), before{limit.format(2)})',
        f'{check}("of the opposite input", between, {_bias(s, "2 * ")} - before.double(){limit.format(3)})',
    ]


def _eval_mode(s: Subject) -> list[str]:
    wanted = s.case.backward.requires_grad
    check, limit = ("check", "") if s.exact("output") else ("check_bounded", ", bound")
    lines = [
        "for training in (True, False, True):",
        '    what = "train mode" if training else "eval mode"',
        "    layer.train(training)",
        "    tokens = layer(x)",
        *_indented(_same_form(s)),
        f"    {check}(what, tokens, expected{limit})",
    ]
    before = expected_tokens(s)
    if wanted:
        before.append(f"right = {differentiated(s)}")
        if not s.exact(*wanted):
            before.append(f"total = {differentiated(s, absolute=True)}")
        lines.append(f"    found = torch.autograd.grad(tokens, {_list(s.wanted)}, cotangent)")
    for position, name in enumerate(wanted):
        index = s.operands.index("x" if name == "input" else name)
        limits = bound(s, name, f"total[{index}]", name=f"{name}_bound")
        before += limits
        check, limit = ("check_bounded", f", {name}_bound") if limits else ("check", "")
        what = f'f"{name} gradient in {{what}}"'
        lines.append(f"    {check}({what}, found[{position}], right[{index}]{limit})")
    lines.append('    assert layer.training == training, "observed another mode after forward, expected the same"')
    return [*before, "", *lines]


def _without_grad(s: Subject) -> list[str]:
    check, limit = ("check", "") if s.exact("output") else ("check_bounded", ", bound")
    return [
        "tokens = layer(x)",
        *_rounding(s, 2),
        "for mode in (torch.no_grad, torch.inference_mode):",
        "    with mode():",
        "        found = layer(x)",
        *_indented(_same_form(s, "found")),
        f"    {check}(mode.__name__, found, tokens{limit})",
    ]


def _other_layout(s: Subject) -> list[str]:
    layout = re.search(r"(?:input is|forward of a) (\w+)", s.verdict.what)
    if layout is None:
        raise CannotRun("the verdict does not say which layout changes the output")
    return [
        "tokens = layer(x)",
        f"other = {lay_out(s.pixels, layout[1], s.case.spec.data_dim)}",
        "found = layer(other)",
        *_same_form(s, "found"),
        *_like_first(s, "found"),
    ]


def _exercise(s: Subject) -> list[str]:
    """Run forward and, where the case asks for gradients, backward."""
    if not s.wanted:
        return ["tokens = layer(x)"]
    return ["tokens = layer(x)", f"torch.autograd.grad(tokens, {_list(s.wanted)}, cotangent, allow_unused=True)"]


def _arguments_unchanged(s: Subject) -> list[str]:
    watched = ["x", *(f"layer.conv.{name}" for name in s.parameters), *(["cotangent"] if s.wanted else [])]
    return [
        f"watched = {{{', '.join(f'{chr(34)}{name}{chr(34)}: {name}' for name in watched)}}}",
        "before = {name: (tensor.detach().clone(), tensor.requires_grad) for name, tensor in watched.items()}",
        *_exercise(s),
        "for name, (values, requires_grad) in before.items():",
        "    now = watched[name]",
        "    unchanged = torch.equal(now.nan_to_num(), values.nan_to_num())",
        '    assert unchanged, f"{name}: observed {now.tolist()}, expected {values.tolist()} as before"',
        "    unchanged = now.requires_grad == requires_grad",
        '    assert unchanged, f"{name}.requires_grad: observed {now.requires_grad}, expected {requires_grad} as before"',
    ]


# Samples and tokens.


def _samples(s: Subject) -> list[str]:
    batch, pixels = s.case.input.batch, s.pixels
    check, limit = ("check", "") if s.exact("output") else ("check_bounded", ", bound[{}]")
    return [
        "tokens = layer(x)",
        *_rounding(s, 2),
        f"for i in {sorted({0, batch // 2, batch - 1})}:",
        f"    alone = layer({pixels}[i : i + 1].clone())",
        '    assert alone.shape == tokens[i : i + 1].shape, f"observed {list(alone.shape)} for a sample alone"',
        f'    {check}(f"sample {{i}} alone", alone, tokens[i : i + 1]{limit.format("i : i + 1")})',
        f"others = {pixels}.clone()",
        "others[-1] = -others[-1]",
        f'{check}("with another last sample", layer(others)[:-1], tokens[:-1]{limit.format(":-1")})',
    ]


def _huge_batch(s: Subject) -> list[str]:
    limits = _rounding(s, 2)
    if limits:
        limits.append("bound = bound[chosen]")
    return [
        f"chosen = torch.arange({HUGE_BATCH}{s.on_device}) % {s.case.input.batch}",
        "expected = layer(x)[chosen]",
        f"tokens = layer({s.pixels}[chosen])",
        'assert tokens.shape == expected.shape, f"observed {list(tokens.shape)}, expected {list(expected.shape)}"',
        *limits,
        *compare("tokens", "expected", exact=s.exact("output")),
    ]


def _changed_pixels(s: Subject) -> list[str]:
    """In a loop: make ``changed``, where one pixel has another value, and ``reached``, the tokens that cover it."""
    arguments = ", ".join(["mark", "torch.ones_like(weight)", *(["0 * bias"] if s.case.spec.bias else [])])
    return [
        f"    changed, mark = {s.pixels}.clone(), torch.zeros_like({s.pixels})",
        "    mark[(slice(None), *pixel)] = 1",
        f"    reached = embed({arguments}) > 0  # the tokens whose windows cover the pixel",
    ]


def _laid_out(s: Subject, name: str) -> str:
    """Values in the case's layout; where that is contiguous they already are."""
    layout = s.case.input.layout
    return name if layout == "contiguous" else lay_out(name, layout, s.case.spec.data_dim)


def _tokens_local(s: Subject) -> list[str]:
    pixels = dict.fromkeys(pixels_to_change(s.case))
    wrong = "(found != tokens)" if s.exact("output") else "~((found.double() - tokens).abs() <= bound)"
    return [
        "tokens = layer(x)",
        *_rounding(s, 2),
        *looping("pixel", [f"{pixel}" for pixel in pixels]),
        *_changed_pixels(s),
        "    changed[(slice(None), *pixel)] = 0",
        f"    found = layer({_laid_out(s, 'changed')})",
        *_indented(_same_form(s, "found")),
        f"    wrong = {wrong} & ~reached",
        '    message = f"with pixel {pixel} at 0: observed {found[wrong].tolist()}, expected {tokens[wrong].tolist()}"',
        "    assert not wrong.any(), message",
    ]


def _nonfinite(s: Subject) -> list[str]:
    pairs = dict.fromkeys(zip(("nan", "inf", "-inf", "nan"), pixels_to_change(s.case), strict=True))
    return [
        *looping("value, pixel", [f"({value}, {pixel})" for value, pixel in pairs]),
        *_changed_pixels(s),
        "    changed[(slice(None), *pixel, -1)] = value",
        f"    found = layer({_laid_out(s, 'changed')})",
        *_indented(_same_form(s, "found")),
        "    wrong = found.isfinite() == reached",
        '    message = f"{value} in pixel {pixel}: observed {found[wrong].tolist()}, expected no finite number where "',
        '    assert not wrong.any(), message + f"{(reached | (found != found))[wrong].tolist()}"',
    ]


# The constructor and what it refuses.


def _constructs(s: Subject) -> list[str]:
    spec = s.case.spec
    required = f"{spec.in_features}, {spec.out_features}, {spec.data_dim}, {spec.patch_size}"
    lines = [
        "def form(built):",
        '    attributes = {name: getattr(built, name, None) for name in ("data_dim", "patch_size", "stride")}',
        "    return attributes | {name: list(parameter.shape) for name, parameter in built.named_parameters()}",
        "",
        "",
        f"expected = form({construction(s)})",
        f"observed = form(Layer({required}, {spec.stride}, {spec.bias}))",
        'assert observed == expected, f"positional arguments: observed {observed}, expected {expected}"',
    ]
    if spec.stride is None and spec.bias:
        lines += [
            f"observed = form(Layer({required}))",
            'assert observed == expected, f"defaults: observed {observed}, expected {expected}"',
        ]
    return lines


def _rejects_data_dim(s: Subject) -> list[str]:
    spec = s.case.spec
    return [
        "for data_dim in (0, 4, -1, 5):",
        "    try:",
        f"        Layer({spec.in_features}, {spec.out_features}, data_dim, {spec.patch_size}, {spec.stride}, {spec.bias})",
        "    except ValueError:",
        "        continue",
        '    raise AssertionError(f"data_dim={data_dim}: observed no exception, expected ValueError")',
    ]


def _holds_conv(s: Subject) -> list[str]:
    spec, each = s.case.spec, (1,) * s.case.spec.data_dim
    conv = {
        "in_channels": spec.in_features,
        "out_channels": spec.out_features,
        "kernel_size": spec.taps,
        "stride": tuple(spec.step for _ in each),
        "padding": tuple(0 for _ in each),
        "dilation": each,
        "groups": 1,
    }
    attributes = {"data_dim": spec.data_dim, "patch_size": spec.patch_size, "stride": spec.step}
    shapes = {"conv.weight": list(s.case.weight_shape)} | ({"conv.bias": [spec.out_features]} if spec.bias else {})
    kind = f"torch.nn.Conv{spec.data_dim}d"
    lines = [
        f"built = {construction(s)}",
        f'assert isinstance(built.conv, {kind}), f"conv: observed {{type(built.conv)}}, expected {kind}"',
        f"for name, expected in {conv}.items():".replace("'", '"'),
        "    observed = getattr(built.conv, name)",
        '    assert observed == expected, f"conv.{name}: observed {observed}, expected {expected}"',
        f"for name, expected in {attributes}.items():".replace("'", '"'),
        '    observed = getattr(built, name, "missing")',
        "    right = observed == expected and not isinstance(observed, bool)",
        '    assert right, f"{name}: observed {observed}, expected {expected}"',
        "observed = {name: list(parameter.shape) for name, parameter in built.named_parameters()}",
        f"expected = {shapes}".replace("'", '"'),
        'assert list(observed.items()) == list(expected.items()), f"observed {observed}, expected {expected}"',
        "for name, parameter in built.named_parameters():",
        '    assert parameter.requires_grad, f"{name}.requires_grad: observed False, expected True"',
        '    assert parameter.dtype == torch.float32, f"{name}: observed {parameter.dtype}, expected torch.float32"',
    ]
    if "cannot be set" in s.verdict.what:
        lines.append("layer  # has taken its parameters")
    return lines


def _default_initialisation(s: Subject) -> list[str]:
    spec = s.case.spec
    arguments = f"{spec.in_features}, 256, {spec.data_dim}, {spec.patch_size}, {spec.stride}, {spec.bias}"
    return [
        f"torch.manual_seed({s.case.fill.seed})",
        f"built = Layer({arguments})",
        f"for name in {s.parameters}:".replace("'", '"'),
        f"    sample = getattr(built.conv, name).detach().double() * {spec.terms}**0.5  # uniform in [-1, 1]",
        "    largest = sample.abs().max().item()",
        '    assert largest <= 1 + 1e-6, f"{name} * sqrt(K): observed {largest}, expected at most 1"',
        "    # Both moments within eight standard deviations.",
        "    square, error = sample.square().mean().item(), 8 / sample.numel() ** 0.5",
        "    mean = sample.mean().item()",
        '    assert abs(mean) <= error * (1 / 3) ** 0.5, f"mean of {name} * sqrt(K): observed {mean}, expected 0"',
        '    message = f"mean square of {name} * sqrt(K): observed {square}, expected 1/3"',
        "    assert abs(square - 1 / 3) <= error * (4 / 45) ** 0.5, message",
    ]


def _documented_example(s: Subject) -> list[str]:
    arguments, given, expected = EXAMPLES[s.case.spec.data_dim]
    named = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return [
        f"torch.manual_seed({s.case.fill.seed})",
        f"built = Layer({named})" + ("" if s.device == "cpu" else f'.to("{s.device}")'),
        f"tokens = built(torch.zeros({given}{s.on_device}))",
        f'assert tokens.shape == {expected}, f"observed {{list(tokens.shape)}}, expected {list(expected)}"',
        "right = torch.equal(tokens, built.conv.bias.expand_as(tokens))",
        'assert right, "observed other tokens of zeros than the bias, expected the bias"',
    ]


def _bad_arguments(s: Subject) -> list[str]:
    spec = s.case.spec
    good = (
        f"dict(in_features={spec.in_features}, out_features={spec.out_features}, data_dim={spec.data_dim}, "
        f"patch_size={spec.patch_size}, stride={spec.step})"
    )
    return [
        f"good = {good}",
        'for name, value in [(name, value) for name in good for value in (0, -1, True, 1.5, "2")]:',
        "    try:",
        f"        Layer(**(good | {{name: value}}), bias={spec.bias})",
        "    except (ValueError, TypeError) as error:",
        "        named = name in str(error) and str(value) in str(error)",
        '        assert named, f"{name}={value!r}: observed {error!r}, expected a message that names both"',
        "    else:",
        '        raise AssertionError(f"{name}={value!r}: observed no exception, expected ValueError or TypeError")',
    ]


def _refused(shapes: Callable[[Subject], list[tuple[tuple[int, ...], tuple[int, ...]]]], s: Subject) -> list[str]:
    """Assert that inputs of some shapes are refused, with words in which some numbers occur."""
    cases = shapes(s)
    named = any(numbers for _, numbers in cases)
    items = [f"({shape}, {set(numbers)})" if named else f"{shape}" for shape, numbers in cases]
    lines = [
        *looping("shape, numbers" if named else "shape", items),
        "    try:",
        f"        tokens = layer(torch.ones(shape, dtype={s.dtype}{s.on_device}))",
    ]
    if named:
        lines += [
            "    except Exception as error:",
            '        named = numbers <= {int(digits) for digits in re.findall(r"\\d+", str(error))}',
            '        assert named, f"{list(shape)}: observed {error!r}, expected a message with {numbers}"',
            "    else:",
            '        raise AssertionError(f"{list(shape)}: observed an output {tokens.shape}, expected an exception")',
        ]
    else:
        lines += [
            "    except Exception:",
            "        continue",
            '    raise AssertionError(f"{list(shape)}: observed an output {tokens.shape}, expected an exception")',
        ]
    return lines


def _wrong_ranks(s: Subject) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    spec, sizes = s.case.spec, s.case.input.sizes
    misread = (spec.in_features, *(max(size, spec.patch_size) for size in sizes[1:]), spec.in_features)
    shapes = (misread, (*sizes, spec.in_features), (1, *s.case.input_shape), (spec.in_features,))
    return [(shape, ()) for shape in dict.fromkeys(shapes)]


def _wrong_channels(s: Subject) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    right = s.case.spec.in_features
    wrong = [n for n in dict.fromkeys((right + 1, 2 * right, right - 1, 1)) if n not in (0, right)]
    return [((*s.case.input_shape[:-1], n), (n, right)) for n in wrong]


def _small_sizes(s: Subject) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    patch_size, shape = s.case.spec.patch_size, s.case.input_shape
    small = patch_size - 1
    return [
        ((*shape[:axis], small, *shape[axis + 1 :]), (axis, small, patch_size))
        for axis in range(1, s.case.spec.data_dim + 1)
    ]


# The world around the layer.

# How each of torch's settings is read and written.
_SETTINGS = {
    "the default dtype": ("torch.get_default_dtype()", "torch.set_default_dtype({})"),
    "gradient mode": ("torch.is_grad_enabled()", "torch.set_grad_enabled({})"),
    "the number of threads": ("torch.get_num_threads()", "torch.set_num_threads({})"),
    "the use of deterministic algorithms": (
        "torch.are_deterministic_algorithms_enabled()",
        "torch.use_deterministic_algorithms({})",
    ),
    "anomaly detection": ("torch.is_anomaly_enabled()", "torch.autograd.set_detect_anomaly({})"),
    "the precision of matrix products": (
        "torch.get_float32_matmul_precision()",
        'torch.set_float32_matmul_precision("{}")',
    ),
    "torch.backends.cudnn.enabled": ("torch.backends.cudnn.enabled", "torch.backends.cudnn.enabled = {}"),
    "torch.backends.cudnn.benchmark": ("torch.backends.cudnn.benchmark", "torch.backends.cudnn.benchmark = {}"),
    "torch.backends.cudnn.deterministic": (
        "torch.backends.cudnn.deterministic",
        "torch.backends.cudnn.deterministic = {}",
    ),
    "torch.backends.cudnn.allow_tf32": ("torch.backends.cudnn.allow_tf32", "torch.backends.cudnn.allow_tf32 = {}"),
    "autocast on the CPU": ('torch.is_autocast_enabled("cpu")', 'torch.set_autocast_enabled("cpu", {})'),
}


def _global_state(s: Subject) -> list[str]:
    name = s.verdict.what.removesuffix(" is changed")
    if name not in _SETTINGS:
        # It raised, perhaps because of a setting.
        unlikely = [write.format(SETTINGS[other].unlikely) for other, (_, write) in _SETTINGS.items()]
        return [*unlikely, *_exercise(s)]
    read, write = _SETTINGS[name]
    return [
        write.format(s.verdict.expected),
        f"before = {read}",
        *_exercise(s),
        f"after = {read}",
        f'assert after == before, f"{name}: observed {{after}}, expected {{before}} as before"',
    ]


def _no_random_numbers(s: Subject) -> list[str]:
    states = {"CPU": "torch.get_rng_state()"}
    if s.device != "cpu":
        states["GPU"] = f'torch.cuda.get_rng_state("{s.device}")'
    named = [f"{kind.lower()} = {state}" for kind, state in states.items()]
    return [
        "torch.manual_seed(987_654_321)",
        *named,
        *_exercise(s),
        *(
            f"assert torch.equal({state}, {kind.lower()}), \"observed another state of the {kind}'s generator, "
            'expected the one before"'
            for kind, state in states.items()
        ),
    ]


def _keeps_nothing(s: Subject) -> list[str]:
    return [
        *_exercise(s),
        'storages = {name: weakref.ref(tensor.untyped_storage()) for name, tensor in (("input", x), ("output", tokens))}',
        "del layer, x, tokens",
        "gc.collect()",
        "for name, storage in storages.items():",
        '    assert storage() is None, f"observed the memory of the {name} still held, expected it free"',
    ]


# Transformations.


def _vmap(s: Subject) -> list[str]:
    exact, shape = s.exact("output"), (2, *s.case.output_shape)
    check, limit = ("check", "") if exact else ("check_bounded", ", {} * bound")
    return [
        "tokens = layer(x)",
        "with torch.no_grad():",
        f"    found = torch.vmap(layer)(torch.stack(({s.pixels}, -{s.pixels})))",
        f'assert found.shape == {shape}, f"observed {{list(found.shape)}}, expected {list(shape)}"',
        *_rounding(s, 1),
        f'{check}("first batch", found[0], tokens{limit.format(2)})',
        f'{check}("second batch", found[1], {_bias(s, "2 * ")} - tokens.double(){limit.format(3)})',
    ]


def _functional_call(s: Subject) -> list[str]:
    check, limit = ("check", "") if s.exact("output") else ("check_bounded", ", bound")
    return [
        "tokens = layer(x)",
        "parameters = {name: -value.detach() for name, value in layer.named_parameters()}",
        "with torch.no_grad():",
        "    found = torch.func.functional_call(layer, parameters, (x,))",
        'assert found.shape == tokens.shape, f"observed {list(found.shape)}, expected {list(tokens.shape)}"',
        *_rounding(s, 2),
        f'{check}("with opposite parameters", -found, tokens{limit})',
        f'{check}("with its own parameters again", layer(x), tokens{limit})',
    ]


def _jacrev(s: Subject) -> list[str]:
    shape = (*s.case.output_shape, *s.case.input_shape)
    return [
        *expected_gradient(s, "input"),
        "",
        f"jacobian = torch.func.jacrev(layer)({s.pixels}.clone())",
        f'assert jacobian.shape == {shape}, f"observed {{list(jacobian.shape)}}, expected {list(shape)}"',
        f"found = torch.tensordot(cotangent.double(), jacobian.double(), dims={len(s.case.output_shape)})",
        *compare("found", "expected", exact=s.exact("input")),
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
    dtypes = _list(list(dict.fromkeys(("torch.bfloat16", "torch.float32", s.dtype))))
    kind = s.device.partition(":")[0]
    return [
        f"expected = {embedded(s)}",
        f"# What rounding can do where both factors and every partial sum of {terms} terms are bfloat16.",
        f"bound = {terms * 2**-8 + (2 * 2**-8 + 2**-16) * (1 + terms * 2**-8) + 2 * terms * 2**-53!r} "
        f"* {embedded(s, absolute=True)}",
        "",
        f'with torch.autocast("{kind}", dtype=torch.bfloat16):',
        "    tokens = layer(x)",
        f'assert tokens.dtype in {dtypes}, f"observed {{tokens.dtype}}, expected one of {dtypes}"',
        *compare("tokens", "expected", exact=False),
    ]


def _exports(s: Subject) -> list[str]:
    contiguous = s.pixels if s.case.input.layout == "contiguous" else lay_out(s.pixels, "contiguous", 1)
    return [
        "tokens = layer(x)",
        f"given = {contiguous}",
        "with torch.no_grad():",
        "    found = torch.export.export(layer, (given,)).module()(given)",
        'assert found.shape == tokens.shape, f"observed {list(found.shape)}, expected {list(tokens.shape)}"',
        *_like_first(s, "found"),
    ]


def _empty_batch(s: Subject) -> list[str]:
    shape = (0, *s.case.output_shape[1:])
    parameters = _list([f"layer.conv.{name}" for name in s.parameters])
    return [
        "layer.requires_grad_()",
        f"tokens = layer({s.pixels}[:0])",
        f'assert tokens.shape == {shape}, f"observed {{list(tokens.shape)}}, expected {list(shape)}"',
        f"for gradient in torch.autograd.grad(tokens.sum(), {parameters}):",
        '    assert (gradient == 0).all(), f"observed {gradient.tolist()}, expected zeros"',
    ]


# In the order of the families.
BODIES: dict[str, Body] = {
    "constructs": _constructs,
    "rejects_data_dim": _rejects_data_dim,
    "holds_conv": _holds_conv,
    "default_initialisation": _default_initialisation,
    "documented_examples": _documented_example,
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
    "uncovered_gradient_zero": _uncovered_gradient,
    "runs_backward": _backward,
    "input_gradient_exact": partial(_gradient_values, "input"),
    "input_gradient_bounded": partial(_gradient_values, "input"),
    "weight_gradient_exact": partial(_gradient_values, "weight"),
    "weight_gradient_bounded": partial(_gradient_values, "weight"),
    "bias_gradient_exact": partial(_gradient_values, "bias"),
    "bias_gradient_bounded": partial(_gradient_values, "bias"),
    "gradient_accumulates": _accumulates,
    "second_derivative": _second_derivative,
    "second_derivative_numerically": _numerically,
    "compiles_without_graph_break": script_compiled.compiles,
    "compiled_values": script_compiled.values,
    "compiled_gradients": script_compiled.gradients,
    "compiled_later_sizes": script_compiled.later_sizes,
    "compiled_strides": script_compiled.strides,
    "no_recompilation": script_compiled.recompilations,
    "loaded_state_shows": partial(_after, _load),
    "in_place_update_shows": partial(_after, _negate),
    "optimizer_step_shows": partial(_after, _step),
    "survives_copying": _copying,
    "survives_conversion": _conversion,
    "same_on_second_call": _second_call,
    "same_in_eval_mode": _eval_mode,
    "same_without_grad": _without_grad,
    "same_in_every_layout": _other_layout,
    "arguments_unchanged": _arguments_unchanged,
    "samples_independent": _samples,
    "huge_batch": _huge_batch,
    "tokens_local": _tokens_local,
    "nonfinite_reaches_its_tokens": _nonfinite,
    "feeds_position_embedding": _position_embedding,
    "rejects_bad_arguments": _bad_arguments,
    "rejects_wrong_rank": partial(_refused, _wrong_ranks),
    "rejects_wrong_channels": partial(_refused, _wrong_channels),
    "rejects_small_sizes": partial(_refused, _small_sizes),
    "draws_no_random_numbers": _no_random_numbers,
    "global_state_unchanged": _global_state,
    "keeps_nothing": _keeps_nothing,
    "vmap_agrees": _vmap,
    "functional_call_agrees": _functional_call,
    "jacrev_agrees": _jacrev,
    "runs_on_meta": _meta,
    "runs_under_autocast": _autocast,
    "exports": _exports,
    "empty_batch": _empty_batch,
}
# Properties whose case is not the record's: what the script's layer and tensors are made from instead.
ADAPTED: dict[str, Callable[[Subject], Subject]] = {
    "second_derivative": _wanting_every_gradient,
    "second_derivative_numerically": _in_real_numbers,
}
