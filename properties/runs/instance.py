"""``verify_instance``: this very layer of a model, with its own weights, at its sizes and around them."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.cases.domain import Domain, DomainError
from properties.cases.error import CaseError
from properties.runs.plan import make_plan
from properties.runs.report import Report
from properties.runs.verify import run
from properties.trials.adapter import Adapter, adapt, axes_of
from properties.trials.declaration import Declared
from properties.trials.implementation import CannotRun, Implementation
from properties.trials.tensors import TORCH_DTYPES

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def verify_instance(
    module: nn.Module | Callable[[Tensor], Any],
    example_input: Tensor,
    *,
    reference: nn.Module | None = None,
    weight_bits: int | None = None,
    input_bits: int | None = None,
    input: str = "b c s",
    output: str = "b c g",
    weight: str = "o i t",
    names: tuple[str, str] | None = None,
    take: Any = None,
    skip: int = 0,
    zeroed: Sequence[str] = (),
    stride: int | None = None,
    cases: int = 30,
    shrink: bool = True,
    **options: Any,
) -> Report:
    """Verify one layer that is built, with the weights that it has and with others, at the example's sizes and others.

    ``verify_instance(model.patch_embeddings, torch.zeros(1, 3, 224, 224), output="b n c").raise_if_failed()``

    Copies are judged, in this process: the module, its weights, its mode and its hooks stay as they are.

    A layer whose parameters cannot be set (quantized, exported, scripted, a graph of another runtime) is judged beside
    the ``reference`` that it replaced, with that one's weights alone:
    ``verify_instance(quantized, example, reference=model.proj, weight_bits=8)``.

    Args:
        module: the layer; with a reference, whatever can be called with its input.
        example_input: what it is given, in the order of axes that ``input`` names.
        reference: the module whose map the layer should compute; its parameters are those that ``weight`` and ``names``
            are about.
        weight_bits: to how many bits the layer's weights are rounded, in equal steps from the largest one's negative to
            the largest: then each may be half a step off, and the bound of what it is judged by follows.
        input_bits: the same of its input.
        input: as ``adapt`` takes it; so are ``output``, ``weight``, ``take``, ``skip`` and ``zeroed``.
        output: the axes that it returns; by default channels first, as those of a convolution.
        weight: the axes of its weight.
        names: of its weight and its bias; None means its only matrix and its only vector.
        take: which of several results are the tokens.
        skip: tokens before those of the patches.
        zeroed: names of parameters that are set to zero in the copies.
        stride: None means that of its convolution, or the patch size.
        cases: random cases to draw beside the example.
        shrink: look for the smallest case of every failure.
        options: of ``verify``, such as ``levels``, ``only`` and ``seed``.

    Raises:
        CannotRun: where it cannot be told what the layer should compute.
    """
    told_by = module if reference is None else reference
    if not isinstance(told_by, nn.Module):
        what = "module" if reference is None else "reference"
        raise CannotRun(f"{what} must be a torch.nn.Module that is built, got {type(told_by).__name__}")
    if reference is None and (weight_bits, input_bits) != (None, None):
        raise CannotRun("weight_bits and input_bits are about a layer beside its reference: give that, too")
    original = copy.deepcopy(told_by).train()
    spec, given, names = _told_by(original, example_input, input, weight, names, stride)

    def make() -> nn.Module:
        return copy.deepcopy(original)

    domain = Domain(
        data_dims=(spec.data_dim,),
        in_features=(spec.in_features,),
        out_features=(spec.out_features,),
        patch_sizes=(spec.patch_size,),
        stride=spec.effective_stride,
        bias="always" if spec.bias else "never",
        dtypes=(given.dtype,),
    )
    orders = {"input": input, "output": output, "weight": weight}
    layer: Implementation = adapt(make, domain=domain, names=names, take=take, skip=skip, zeroed=zeroed, **orders)
    if reference is not None:
        call = copy.deepcopy(module) if isinstance(module, nn.Module) else module
        gradients = _is_differentiable(call, example_input, take)
        try:
            fixed = replace(domain, settable=False, weight_bits=weight_bits, input_bits=input_bits, gradients=gradients)
        except DomainError as error:
            raise CannotRun(str(error)) from error
        beside = adapt(
            lambda: lambda x, weight, bias: call(x), domain=fixed, input=input, output=output, take=take, skip=skip
        )
        layer = _with_parameters_of(layer(**asdict(spec)), beside)
    wanted = PARAMETERS_AND_INPUT if spec.bias else PARAMETERS_AND_INPUT[:2]
    try:
        example = Case(spec, given, Fill("exact", 1000), backward=Backward(wanted, "random"))
    except CaseError as error:
        raise CannotRun(f"the example is none that can be judged: {error}") from error
    examples = {
        f"the example, {fill}, {example.input.dtype}": replace(example, fill=Fill(fill, 1000))
        for fill in ("exact", "real")
    }
    name = f"{type(module).__module__}:{type(module).__qualname__}"
    plan = replace(make_plan(layer, cases=cases, **options), examples=examples, name=name)
    return run(plan, jobs=0, shrink=shrink)


def _with_parameters_of(reference: nn.Module, beside: Adapter) -> Declared:
    """An implementation of a layer whose parameters cannot be set, and that has those of another one."""

    def build(*arguments: Any, **named: Any) -> nn.Module:
        layer = beside(*arguments, **named)
        layer.load_state_dict(reference.state_dict())
        return layer

    return Declared(build, beside.domain)


def _is_differentiable(call: Callable[[Tensor], Any], example: Tensor, take: Any) -> bool:
    """Whether a gradient of the input comes out of a layer."""
    x = example.detach().clone().requires_grad_()
    try:
        found = call(x)
        tokens = found if take is None else found[take]
        # Torch's own quantized layers say that there is one, and give none.
        (gradient,) = torch.autograd.grad(tokens.sum(), x, allow_unused=True)
    except Exception:  # Some refuse an input that requires one; what else is wrong is told when it is judged.
        return False
    return gradient is not None


def _told_by(
    module: nn.Module, example: Tensor, input: str, weight: str, names: tuple[str, str] | None, stride: int | None
) -> tuple[Spec, Input, tuple[str, str]]:
    """Spec, input and names of parameters, as far as the layer and the example tell them."""
    parameters = dict(module.named_parameters())
    if names is None:
        matrices = [name for name, one in parameters.items() if one.ndim > 1]
        vectors = [name for name, one in parameters.items() if one.ndim == 1]
        if len(matrices) != 1 or len(vectors) > 1:
            raise CannotRun(
                f"names must say which of its parameters are weight and bias: {', '.join(parameters) or 'none'}"
            )
        names = matrices[0], (vectors or ["bias"])[0]
    if names[0] not in parameters:
        raise CannotRun(f"the layer has no parameter {names[0]!r}; it has {', '.join(parameters) or 'none'}")
    own = parameters[names[0]]
    dtype = next((name for name, one in TORCH_DTYPES.items() if one == own.dtype), None)
    if dtype is None:
        raise CannotRun(f"{names[0]} is {own.dtype}; layers of {', '.join(TORCH_DTYPES)} are judged")
    data_dim = next((d for d in (1, 2, 3) if len(axes_of(input, d)) == example.ndim), None)
    if data_dim is None:
        raise CannotRun(
            f"example_input has {example.ndim} axes, {list(example.shape)}, which input={input!r} has for none"
        )
    sizes = dict(zip(axes_of(input, data_dim), example.shape, strict=True))
    extent = tuple(sizes.get(f"s{axis}", 1) for axis in range(data_dim))
    in_features, of_weight = sizes.get("c", 1), axes_of(weight, data_dim)
    taps = own.numel() // (in_features * own.shape[of_weight.index("o")])
    patch_size = round(taps ** (1 / data_dim))
    if in_features * own.shape[of_weight.index("o")] * patch_size**data_dim != own.numel():
        raise CannotRun(
            f"{names[0]} has shape {list(own.shape)}, which is no patch of {data_dim} axes as long as each other"
        )
    strides = [one.stride for one in module.modules() if isinstance(one, _CONVOLUTIONS)]
    if stride is None:
        stride = int(strides[0][0]) if len(strides) == 1 and isinstance(strides[0][0], int) else patch_size
    out_features = own.shape[of_weight.index("o")]
    spec = Spec(in_features, out_features, data_dim, patch_size, stride, names[1] in parameters)
    return spec, Input(example.shape[0], extent, dtype), names
