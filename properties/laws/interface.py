"""What the layer looks like: its constructor, its convolution, its parameters (C1 to C3)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from properties.laws.law import checks
from properties.trials.trial import Raised, Trial, Unusable, blaming
from properties.trials.verdict import Failed, Inapplicable, Passed, Verdict

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _construct(trial: Trial) -> Any:
    try:
        return trial.construct()
    except Raised as raised:
        raise Unusable("the constructor raised (see constructs)") from raised


@checks("C1")
def constructs(trial: Trial) -> Verdict:
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
        if found != expected:
            return Failed(
                f"{kind} and keyword arguments build different layers",
                observed=f"{kind}: {found}",
                expected=f"keyword: {expected}",
            )
    return Passed()


def _shapes(layer: object) -> dict[str, object]:
    """What distinguishes two layers that were built from different arguments."""
    found: dict[str, object] = {
        name: getattr(layer, name) for name in ("data_dim", "patch_size", "stride") if hasattr(layer, name)
    }
    if isinstance(layer, nn.Module):
        found |= {name: list(parameter.shape) for name, parameter in layer.named_parameters()}
    return found


@checks("C2")
def rejects_data_dim(trial: Trial) -> Verdict:
    """A ``data_dim`` other than 1, 2 or 3 raises ``ValueError``.

    Catches layers that fail later with something else, or build a layer of another dimensionality.
    """
    spec = trial.case.spec
    for data_dim in (0, 4, -1, 5):
        described = f"data_dim={data_dim}"
        try:
            trial.implementation(spec.in_features, spec.out_features, data_dim, spec.patch_size, spec.stride, spec.bias)
        except ValueError:
            continue
        except (Exception, SystemExit) as error:
            raised = Raised("", error)
            return Failed(f"{described} raises another error", observed=raised.observed, expected="ValueError")
        return Failed(f"{described} is accepted", observed="no exception", expected="ValueError")
    return Passed()


@checks("C3")
def holds_conv(trial: Trial) -> Verdict:
    """``conv`` is a ``torch.nn.Conv{d}d`` of the asked geometry that holds all parameters, and attributes tell it.

    Catches ignored arguments, padding, a bias that is always or never there, and parameters beside the convolution.
    """
    spec, layer = trial.case.spec, _construct(trial)
    with blaming("reading conv"):
        conv = getattr(layer, "conv", None)
    kind = _CONVOLUTIONS[spec.data_dim]
    if not isinstance(conv, kind):
        return _differs("conv", type(conv).__name__, f"torch.nn.{kind.__name__}")
    each_axis = (1,) * spec.data_dim
    expected: dict[str, object] = {
        "conv.in_channels": spec.in_features,
        "conv.out_channels": spec.out_features,
        "conv.kernel_size": spec.taps,
        "conv.stride": tuple(spec.step for _ in each_axis),
        "conv.padding": tuple(0 for _ in each_axis),
        "conv.dilation": each_axis,
        "conv.groups": 1,
        "data_dim": spec.data_dim,
        "patch_size": spec.patch_size,
        "stride": spec.step,
    }
    for name, value in expected.items():
        holder, _, attribute = name.rpartition(".")
        found = getattr(conv if holder else layer, attribute, "missing")
        if found != value or isinstance(found, bool):
            return _differs(name, repr(found), repr(value))
    names = ["conv.weight", "conv.bias"] if spec.bias else ["conv.weight"]
    parameters = dict(layer.named_parameters())
    if list(parameters) != names:
        return _differs("parameters", ", ".join(parameters) or "none", ", ".join(names))
    if tuple(parameters["conv.weight"].shape) != trial.case.weight_shape:
        return _differs("conv.weight", str(list(parameters["conv.weight"].shape)), str(list(trial.case.weight_shape)))
    for name, parameter in parameters.items():
        if not parameter.requires_grad:
            return _differs(f"{name}.requires_grad", "False", "True")
        if parameter.dtype != torch.get_default_dtype():
            return _differs(f"{name}.dtype", str(parameter.dtype), f"the default dtype, {torch.get_default_dtype()}")
    if isinstance(trial.construction, Raised):
        return Failed("its parameters cannot be set", observed=str(trial.construction), expected="no exception")
    return Passed()


def _differs(name: str, observed: str, expected: str) -> Failed:
    return Failed(f"{name} differs from the contract", observed=observed, expected=expected)


@checks("C3")
def default_initialisation(trial: Trial) -> Verdict:
    """Weight and bias start uniform in ``[-1/sqrt(K), 1/sqrt(K)]``, torch's default for a convolution.

    Judged by range, mean and mean square of 256 output channels, each within eight standard deviations: a correct layer
    fails that less than once in 10**14. Catches other distributions, other fan-ins, and biases that start at zero.
    """
    spec = trial.case.spec
    channels = 256
    trial.set_seed(trial.case.fill.seed)
    with blaming("the constructor"):
        layer = trial.implementation(spec.in_features, channels, spec.data_dim, spec.patch_size, spec.stride, spec.bias)
    conv = getattr(layer, "conv", None)
    if conv is None:
        raise Unusable("the layer holds no conv (see holds_conv)")
    tensors = {"conv.weight": getattr(conv, "weight", None), "conv.bias": getattr(conv, "bias", None)}
    limit = 1 / math.sqrt(spec.terms)
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            continue
        sample = tensor.detach().double() / limit
        if float(sample.abs().max()) > 1 + 1e-6:
            return Failed(
                f"{name} starts outside torch's default range",
                observed=f"largest magnitude {float(sample.abs().max()) * limit:.6g}",
                expected=f"at most 1/sqrt(K) = {limit:.6g}, K = {spec.terms}",
            )
        # For a uniform variable on [-1, 1]: mean 0, variance 1/3; its square has mean 1/3, variance 4/45.
        for moment, value, expected, variance in (
            ("mean", sample.mean(), 0.0, 1 / 3),
            ("mean square", sample.square().mean(), 1 / 3, 4 / 45),
        ):
            if abs(float(value) - expected) > 8 * math.sqrt(variance / sample.numel()):
                return Failed(
                    f"{name} does not start uniform in torch's default range",
                    observed=f"{moment} of {name} * sqrt(K) is {float(value):.6g} over {sample.numel()} values",
                    expected=f"{expected:.6g}",
                )
    return Passed()


# The documentation's examples, by data_dim: the arguments that they give, the input and the output.
EXAMPLES = {
    1: ({"in_features": 64, "out_features": 128, "data_dim": 1, "patch_size": 4}, (2, 256, 64), (2, 64, 128)),
    2: ({"in_features": 3, "out_features": 768, "data_dim": 2, "patch_size": 16}, (8, 224, 224, 3), (8, 14, 14, 768)),
    3: ({"in_features": 1, "out_features": 256, "data_dim": 3, "patch_size": 8}, (2, 64, 64, 64, 1), (2, 8, 8, 8, 256)),
}


@checks("C17")
def documented_examples(trial: Trial) -> Verdict:
    """The documentation's example of the case's dimensionality runs as it stands there, defaults and all.

    Judged on the landmarks of those examples. An input of zeros gives the bias. Catches other defaults, and limits on
    size or channels that only sizes of real use exceed.
    """
    arguments, given, expected = EXAMPLES[trial.case.spec.data_dim]
    if vars(trial.case.spec) != {"stride": None, "bias": True, **arguments}:
        return Inapplicable("the case is no example of the documentation")
    trial.set_seed(trial.case.fill.seed)
    with blaming(f"the documentation's example, {list(given)},"), torch.no_grad():
        layer = trial.implementation(**arguments).to(trial.device)
        tokens = layer(torch.zeros(given, device=trial.device))
        right = tokens.shape == expected and torch.equal(tokens, layer.conv.bias.expand(expected))
    if not right:
        return Failed(
            f"the documentation's example gives something else for zeros of shape {list(given)}",
            observed=f"shape {list(tokens.shape)}" if tokens.shape != expected else "tokens that are not the bias",
            expected=f"the bias in each of {list(expected)}",
        )
    return Passed()
