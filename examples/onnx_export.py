"""Our own layer, exported to ONNX, under onnxruntime: a graph that knows no gradients, in float32."""

from functools import cache
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.func import functional_call

from patchify import Patchify
from patchify_harness import ByHand, Domain, adapt


class _Function(nn.Module):
    """The layer as a function of its input and its parameters, which the graph takes as well."""

    def __init__(self, layer: Patchify) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """The tokens."""
        named = dict(zip(("conv.weight", "conv.bias"), parameters, strict=False))
        tokens: Tensor = functional_call(self.layer, named, (x,))
        return tokens


@cache
def make(in_features: int, out_features: int, data_dim: int, patch_size: int, stride: int, bias: bool) -> ByHand:
    """The graph, exported for any batch and any sizes."""
    layer = Patchify(in_features, out_features, data_dim, patch_size, stride, bias)
    x = torch.zeros(2, *[patch_size + 2 * stride] * data_dim, in_features)
    parameters = [parameter.detach() for parameter in layer.parameters()]
    names = ["x", "weight", "bias"][: 1 + len(parameters)]
    free = dict.fromkeys(range(data_dim + 1), Dim.DYNAMIC)
    program = torch.onnx.export(
        _Function(layer),
        (x, *parameters),
        input_names=names,
        dynamic_shapes=(free, tuple(None for _ in parameters)),
        dynamo=True,
        verbose=False,
    )
    graph = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def run(*arrays: Any) -> Any:
        return session.run(None, dict(zip(names, arrays, strict=False)))[0]

    return ByHand(run)


# One layer, as one deploys it: an export takes seconds.
ONE = {"data_dims": (2,), "in_features": (3,), "out_features": (8,), "patch_sizes": (4,), "stride": 3, "bias": "always"}

layer = adapt(make, domain=Domain(**ONE, dtypes=("float32",), gradients=False, native=False))
