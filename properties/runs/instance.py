"""``verify_instance``: this very layer of a model, with its own weights, at its sizes and around them."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.cases.domain import Domain
from properties.cases.error import CaseError
from properties.runs.plan import make_plan
from properties.runs.report import Report
from properties.runs.verify import run
from properties.trials.adapter import adapt, axes_of
from properties.trials.implementation import CannotRun
from properties.trials.tensors import TORCH_DTYPES

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def verify_instance(
    module: nn.Module,
    example_input: Tensor,
    *,
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

    Args:
        module: the layer.
        example_input: what it is given, in the order of axes that ``input`` names.
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
    if not isinstance(module, nn.Module):
        raise CannotRun(f"module must be a torch.nn.Module that is built, got {type(module).__name__}")
    original = copy.deepcopy(module).train()
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
    layer = adapt(make, domain=domain, names=names, take=take, skip=skip, zeroed=zeroed, **orders)
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
