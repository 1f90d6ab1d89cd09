"""What the layer looks like: its constructor, its convolution, its parameters (C1 to C3)."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from oracles import rounding, unfold
from properties.laws.law import law
from properties.trials.comparison import Expectation
from properties.trials.ending import Broken, Raised, blaming
from properties.trials.trial import Trial

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _construct(trial: Trial) -> Any:
    try:
        return trial.construct()
    except Raised as raised:
        raise Broken("the constructor raised (see constructs)") from raised


@law("C1", needs_output=False, owns="everything", as_built=True)
def constructs(trial: Trial) -> None:
    """Positional and keyword calls build the same module, and leaving arguments out means their defaults.

    Catches reordered parameters, missing defaults, and constructors that raise or return something else.
    """
    spec = trial.case.spec
    by_keyword = trial.construct()
    required = (spec.in_features, spec.out_features, spec.data_dim, spec.patch_size)
    calls: dict[str, tuple[int | bool | None, ...]] = {"positional": (*required, spec.stride, spec.bias)}
    if spec.stride is None and spec.bias:
        calls["default"] = required
    for kind, arguments in calls.items():
        with blaming(f"the constructor, called with {kind} arguments,"):
            other = trial.implementation(*arguments)
        expected, found = _shapes(by_keyword), _shapes(other)
        what = f"{kind} and keyword arguments build different layers"
        trial.expect(found == expected, what, observed=f"{kind}: {found}", expected=f"keyword: {expected}")


@law("C1", on="drawn", needs=("interface",))
def runs_hooks(trial: Trial) -> None:
    """A call of the layer is a call of an ``nn.Module``: its hooks run once each, and what they return is what counts.

    Catches layers that replace the call itself, so that whatever wraps modules or looks into them sees nothing.
    """
    layer, seen = trial.make_layer(), list[str]()

    def before(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append("before")

    def after(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.append("after")
        return -output

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after)
    tokens = trial.embed(layer, trial.make_input(), "forward with hooks")
    order = ["before", "after"]
    trial.expect(seen == order, "forward hooks do not run once each", observed=seen, expected=order)
    trial.unchanged(-tokens, "are not what a forward hook returns")


def _shapes(layer: object) -> dict[str, object]:
    """What distinguishes two layers that were built from different arguments."""
    found: dict[str, object] = {
        name: getattr(layer, name) for name in ("data_dim", "patch_size", "stride") if hasattr(layer, name)
    }
    if isinstance(layer, nn.Module):
        # A lazy one has no shape yet, and raises where it is asked for it.
        known = ((name, one) for name, one in layer.named_parameters() if not is_lazy(one))
        found |= {name: list(parameter.shape) for name, parameter in known}
    return found


@law("C2", needs_output=False, needs=("interface",))
def rejects_data_dim(trial: Trial) -> None:
    """A ``data_dim`` other than the integers 1, 2 or 3 raises ``ValueError``.

    Catches layers that fail later with something else, or build a layer of another dimensionality, ``True`` for 1.
    """
    spec = trial.case.spec
    for data_dim in (0, 4, -1, 5, 2.5, "2", True, [2], None):
        described = f"data_dim={data_dim!r}"
        arguments = (spec.in_features, spec.out_features, data_dim, spec.patch_size, spec.stride, spec.bias)
        error = trial.refusal(partial(trial.implementation, *arguments))
        accepted = f"{described} is accepted"
        trial.expect(error is not None, accepted, observed="no exception", expected="ValueError")
        assert error is not None
        what, observed = f"{described} raises another error", Raised("", error).observed
        trial.expect(isinstance(error, ValueError), what, observed=observed, expected="ValueError")


@law("C3", needs_output=False, owns="everything", needs=("interface",))
def holds_conv(trial: Trial) -> None:
    """``conv`` is a ``torch.nn.Conv{d}d`` of the asked geometry that holds all parameters, and attributes tell it.

    Catches ignored arguments, padding, a bias that is always or never there, and parameters beside the convolution.
    """
    spec, layer = trial.case.spec, _construct(trial)
    with blaming("reading conv"):
        conv = getattr(layer, "conv", None)
    kind = _CONVOLUTIONS[spec.data_dim]
    _same(trial, isinstance(conv, kind), "conv", type(conv).__name__, f"torch.nn.{kind.__name__}")
    each_axis = (1,) * spec.data_dim
    expected: dict[str, object] = {
        "conv.in_channels": spec.in_features,
        "conv.out_channels": spec.out_features,
        "conv.kernel_size": spec.taps,
        "conv.stride": tuple(spec.effective_stride for _ in each_axis),
        "conv.padding": tuple(0 for _ in each_axis),
        "conv.dilation": each_axis,
        "conv.groups": 1,
        "data_dim": spec.data_dim,
        "patch_size": spec.patch_size,
        "stride": spec.effective_stride,
    }
    for name, value in expected.items():
        holder, _, attribute = name.rpartition(".")
        found = getattr(conv if holder else layer, attribute, "missing")
        _same(trial, found == value and not isinstance(found, bool), name, repr(found), repr(value))
    names = ["conv.weight", "conv.bias"] if spec.bias else ["conv.weight"]
    parameters = dict(layer.named_parameters())
    _same(trial, list(parameters) == names, "parameters", ", ".join(parameters) or "none", ", ".join(names))
    keys = list(layer.state_dict())
    _same(trial, keys == names, "keys of the state dict", ", ".join(keys) or "none", ", ".join(names))
    shape, expected_shape = list(parameters["conv.weight"].shape), list(trial.case.weight_shape)
    _same(trial, shape == expected_shape, "conv.weight", str(shape), str(expected_shape))
    default = torch.get_default_dtype()
    for name, parameter in parameters.items():
        _same(trial, parameter.requires_grad, f"{name}.requires_grad", "False", "True")
        right = parameter.dtype == default
        _same(trial, right, f"{name}.dtype", str(parameter.dtype), f"the default dtype, {default}")
    can_be_set = not isinstance(trial.construction, Raised)
    what = "its parameters cannot be set"
    trial.expect(can_be_set, what, observed=trial.construction, expected="no exception")


def _same(trial: Trial, holds: bool, name: str, observed: str, expected: str) -> None:
    trial.expect(holds, f"{name} differs from the contract", observed=observed, expected=expected)


@law("C3", needs_output=False)
def holds_no_other_parameters(trial: Trial) -> None:
    """Beside its weight and its bias the layer has no parameters.

    Also where an adapter stands in for the module. Catches position embeddings and scales that would be trained along.
    """
    others = [name for name, _ in _construct(trial).named_parameters() if name not in ("conv.weight", "conv.bias")]
    what = "the layer has parameters beside its weight and its bias"
    trial.expect(not others, what, observed=", ".join(others), expected="none")


@law("C3", on="drawn", needs_output=False, needs=("interface",))
def made_as_torch_makes_modules(trial: Trial) -> None:
    """Parameters are of torch's default dtype, on its default device, and ``train()`` and ``eval()`` return the layer.

    Catches constructors that name a dtype or a device of their own, and methods that forget what they return.
    """
    layer, dtype, what = _construct(trial), torch.float64, "parameters are not of torch's default dtype"
    for name, mode in (("train", layer.train), ("eval", layer.eval)):
        with blaming(f"{name}()"):
            returned = mode() is layer
        trial.expect(returned, f"{name}() does not return the layer", observed="something else", expected="the layer")
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = {parameter.dtype for parameter in trial.construct().parameters()}
    finally:
        torch.set_default_dtype(default)
    trial.expect(found == {dtype}, what, observed=", ".join(map(str, found)), expected=dtype)
    with torch.device("meta"):
        devices = {parameter.device.type for parameter in trial.construct().parameters()}
    what = "parameters are not on torch's default device"
    trial.expect(devices == {"meta"}, what, observed=", ".join(devices), expected="meta")


@law("H4", on="drawn", needs_output=False, needs=("interface",))
def draws_as_torch_does(trial: Trial) -> None:
    """The constructor draws what ``torch.nn.Conv{d}d`` draws: the same seed gives the same parameters.

    So a model keeps its weights where this layer takes the place of a convolution, those of the layers after it, too.
    Catches initialisations that are drawn twice, or in another order.
    """
    spec, layer = trial.case.spec, _construct(trial)
    after = torch.rand(())
    trial.set_seed(trial.case.fill.seed)
    convolution = _CONVOLUTIONS[spec.data_dim](
        spec.in_features, spec.out_features, spec.patch_size, spec.effective_stride, bias=spec.bias
    )
    named = dict(layer.named_parameters())
    for name, parameter in convolution.named_parameters():
        found = named.get(f"conv.{name}")
        right = found is not None and torch.equal(found.cpu(), parameter.cpu())
        what = f"conv.{name} is not what torch's convolution draws from the same seed"
        trial.expect(right, what, observed="other values", expected="the same values")
    what = "what is drawn after the constructor is not what is drawn after that of torch's convolution"
    trial.expect(bool(after == torch.rand(())), what, observed="another number", expected="the same number")


# Numbers of a weight whose distribution is looked at.
_MOST_DRAWN = 2**16


@law("C3", needs_output=False, needs=("interface",))
def default_initialisation(trial: Trial) -> None:
    """Weight and bias start uniform in ``[-1/sqrt(K), 1/sqrt(K)]``, torch's default for a convolution.

    Judged by range, mean and mean square of 256 output channels, fewer where they have many terms, each within eight
    standard deviations: a correct layer fails that less than once in 10**14. Catches other distributions, other
    fan-ins, and biases that start at zero.
    """
    spec = trial.case.spec
    channels = max(1, min(256, _MOST_DRAWN // spec.terms))
    trial.set_seed(trial.case.fill.seed)
    with blaming("the constructor"):
        layer = trial.implementation(spec.in_features, channels, spec.data_dim, spec.patch_size, spec.stride, spec.bias)
    conv = getattr(layer, "conv", None)
    if conv is None:
        trial.broken("the layer holds no conv (see holds_conv)")
    tensors = {"conv.weight": getattr(conv, "weight", None), "conv.bias": getattr(conv, "bias", None)}
    if not any(isinstance(tensor, Tensor) for tensor in tensors.values()):
        trial.broken("the convolution holds no parameters (see holds_conv)")
    if any(isinstance(tensor, Tensor) and (is_lazy(tensor) or tensor.is_meta) for tensor in tensors.values()):
        trial.broken("the parameters hold no values (see holds_conv)")
    limit = 1 / math.sqrt(spec.terms)
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            continue
        sample = tensor.detach().double() / limit
        trial.expect(
            float(sample.abs().max()) <= 1 + 1e-6,
            f"{name} starts outside torch's default range",
            observed=f"largest magnitude {float(sample.abs().max()) * limit:.6g}",
            expected=f"at most 1/sqrt(K) = {limit:.6g}, K = {spec.terms}",
        )
        # For a uniform variable on [-1, 1]: mean 0, variance 1/3; its square has mean 1/3, variance 4/45.
        for moment, value, expected, variance in (
            ("mean", sample.mean(), 0.0, 1 / 3),
            ("mean square", sample.square().mean(), 1 / 3, 4 / 45),
        ):
            trial.expect(
                abs(float(value) - expected) <= 8 * math.sqrt(variance / sample.numel()),
                f"{name} does not start uniform in torch's default range",
                observed=f"{moment} of {name} * sqrt(K) is {float(value):.6g} over {sample.numel()} values",
                expected=f"{expected:.6g}",
            )


# The documentation's examples, by data_dim: the arguments that they give, the input and the output.
EXAMPLES = {
    1: ({"in_features": 64, "out_features": 128, "data_dim": 1, "patch_size": 4}, (2, 256, 64), (2, 64, 128)),
    2: ({"in_features": 3, "out_features": 768, "data_dim": 2, "patch_size": 16}, (8, 224, 224, 3), (8, 14, 14, 768)),
    3: ({"in_features": 1, "out_features": 256, "data_dim": 3, "patch_size": 8}, (2, 64, 64, 64, 1), (2, 8, 8, 8, 256)),
}


@law("C17", needs_output=False, needs=("interface",))
def documented_examples(trial: Trial) -> None:
    """The documentation's example of the case's dimensionality runs as it stands there, defaults and all, on real data.

    Judged on the landmarks of those examples. Catches other defaults, and limits on size or channels that only sizes of
    real use exceed.
    """
    arguments, given, expected = EXAMPLES[trial.case.spec.data_dim]
    if vars(trial.case.spec) != {"stride": None, "bias": True, **arguments}:
        trial.inapplicable("the case is no example of the documentation")
    trial.set_seed(trial.case.fill.seed)
    x = torch.randn(given, device=trial.device)
    with blaming(f"the documentation's example, {list(given)},"), torch.no_grad():
        layer = trial.implementation(**arguments).to(trial.device)
        found: object = layer(x)
        weight, bias = layer.conv.weight.double(), layer.conv.bias.double()
    tokens = trial.shaped("the documentation's example has another shape", found, expected)
    values, stride = x.double(), trial.case.spec.effective_stride
    magnitude = unfold.forward(values.abs(), weight.abs(), bias.abs(), stride)
    terms, dtype = trial.case.spec.terms + 1, tokens.dtype
    bound = rounding.bound(magnitude, terms, dtype, accumulation=dtype, operands=trial.operands)
    right = Expectation(unfold.forward(values, weight, bias, stride), bound)
    # At a size that is not the case's.
    trial.close("values of the documentation's example are wrong", tokens, right)
