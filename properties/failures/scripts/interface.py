"""What scripts on the interface do: the constructor, the convolution, and what must be refused."""

from collections.abc import Callable, Sequence
from functools import partial

from properties.failures.scripts.pieces import construction
from properties.failures.scripts.subject import Block, Body, Subject, looping
from properties.laws.interface import EXAMPLES

# Shapes of inputs that must be refused, each with the numbers that the message must name.
_Shapes = list[tuple[tuple[int, ...], tuple[int, ...]]]


def _constructs(s: Subject) -> Sequence[str | Block]:
    spec = s.case.spec
    form = (
        "def form(built):",
        '    attributes = {name: getattr(built, name, None) for name in ("data_dim", "patch_size", "stride")}',
        "    return attributes | {name: list(parameter.shape) for name, parameter in built.named_parameters()}",
    )
    required = f"{spec.in_features}, {spec.out_features}, {spec.data_dim}, {spec.patch_size}"
    lines: list[str | Block] = [
        Block("form", form),
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
    rest = f"{spec.patch_size}, {spec.stride}, {spec.bias}"
    return [
        'for data_dim in (0, 4, -1, 5, 2.5, "2", True):',
        "    try:",
        f"        Layer({spec.in_features}, {spec.out_features}, data_dim, {rest})",
        "    except ValueError:",
        "        continue",
        '    raise AssertionError(f"data_dim={data_dim!r}: observed no exception, expected ValueError")',
    ]


def _holds_conv(s: Subject) -> list[str]:
    spec, each = s.case.spec, (1,) * s.case.spec.data_dim
    attributes = {
        "conv.in_channels": spec.in_features,
        "conv.out_channels": spec.out_features,
        "conv.kernel_size": spec.taps,
        "conv.stride": tuple(spec.step for _ in each),
        "conv.padding": tuple(0 for _ in each),
        "conv.dilation": each,
        "conv.groups": 1,
        "data_dim": spec.data_dim,
        "patch_size": spec.patch_size,
        "stride": spec.step,
    }
    shapes = [("conv.weight", list(s.case.weight_shape)), *([("conv.bias", [spec.out_features])] if spec.bias else [])]
    kind = f"torch.nn.Conv{spec.data_dim}d"
    lines = [
        f"built = {construction(s)}",
        f'assert isinstance(built.conv, {kind}), f"conv: observed {{type(built.conv)}}, expected {kind}"',
        *looping("name, expected", [f'("{name}", {value})' for name, value in attributes.items()]),
        "    observed = operator.attrgetter(name)(built)",
        "    right = observed == expected and not isinstance(observed, bool)",
        '    assert right, f"{name}: observed {observed}, expected {expected}"',
        "observed = [(name, list(parameter.shape)) for name, parameter in built.named_parameters()]",
        f"expected = {shapes}".replace("'", '"'),
        'assert observed == expected, f"parameters: observed {observed}, expected {expected}"',
        "for name, parameter in built.named_parameters():",
        "    observed, expected = (parameter.requires_grad, parameter.dtype), (True, torch.get_default_dtype())",
        '    assert observed == expected, f"{name}: observed {observed}, expected {expected}"',
    ]
    if "cannot be set" in s.verdict.what:
        lines.append(
            'assert torch.equal(layer.conv.weight, weight), "observed another weight than the one that was set"'
        )
    return lines


def _default_initialisation(s: Subject) -> list[str]:
    spec = s.case.spec
    arguments = f"{spec.in_features}, 256, {spec.data_dim}, {spec.patch_size}, {spec.stride}, {spec.bias}"
    return [
        f"torch.manual_seed({s.case.fill.seed})",
        f"built = Layer({arguments})",
        "for name, parameter in built.conv.named_parameters():",
        f"    sample = parameter.detach().double() * {spec.terms}**0.5  # should be uniform in [-1, 1]",
        "    error = 8 / sample.numel() ** 0.5  # eight standard deviations",
        "    for what, observed, expected, most in [",
        '        ("largest magnitude", sample.abs().max().item(), 0, 1 + 1e-6),',
        '        ("mean", sample.mean().item(), 0, error * (1 / 3) ** 0.5),',
        '        ("mean square", sample.square().mean().item(), 1 / 3, error * (4 / 45) ** 0.5),',
        "    ]:",
        '        message = f"{what} of {name} * sqrt(K): observed {observed}, expected {expected} +- {most}"',
        "        assert abs(observed - expected) <= most, message",
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
        'assert right, "observed tokens of zeros that are not the bias, expected the bias"',
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


def _refused(shapes: Callable[[Subject], _Shapes], s: Subject) -> list[str]:
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


def _wrong_ranks(s: Subject) -> _Shapes:
    spec, sizes = s.case.spec, s.case.input.sizes
    misread = (spec.in_features, *(max(size, spec.patch_size) for size in sizes[1:]), spec.in_features)
    shapes = (misread, (*sizes, spec.in_features), (1, *s.case.input_shape), (spec.in_features,))
    return [(shape, ()) for shape in dict.fromkeys(shapes)]


def _wrong_channels(s: Subject) -> _Shapes:
    right = s.case.spec.in_features
    wrong = [n for n in dict.fromkeys((right + 1, 2 * right, right - 1, 1)) if n not in (0, right)]
    return [((*s.case.input_shape[:-1], n), (n, right)) for n in wrong]


def _small_sizes(s: Subject) -> _Shapes:
    patch_size, shape = s.case.spec.patch_size, s.case.input_shape
    small = patch_size - 1
    return [
        ((*shape[:axis], small, *shape[axis + 1 :]), (axis, small, patch_size))
        for axis in range(1, s.case.spec.data_dim + 1)
    ]


BODIES: dict[str, Body] = {
    "constructs": _constructs,
    "rejects_data_dim": _rejects_data_dim,
    "holds_conv": _holds_conv,
    "default_initialisation": _default_initialisation,
    "documented_examples": _documented_example,
    "rejects_bad_arguments": _bad_arguments,
    "rejects_wrong_rank": partial(_refused, _wrong_ranks),
    "rejects_wrong_channels": partial(_refused, _wrong_channels),
    "rejects_small_sizes": partial(_refused, _small_sizes),
}
