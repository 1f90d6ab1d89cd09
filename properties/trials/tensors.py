"""Makes tensors of the values of a case."""

import base64
import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from properties.cases.case import Case
from properties.cases.fill import values

TORCH_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Tensors:
    """The tensors of a case: contiguous, on the CPU, in the case's dtype."""

    x: Tensor
    weight: Tensor
    cotangent: Tensor
    bias: Tensor | None = None


def tensors(case: Case) -> Tensors:
    """The values of a case in its dtype, which rounds none of them."""
    dtype = TORCH_DTYPES[case.input.dtype]
    return Tensors(**{name: _tensor(array, dtype) for name, array in values(case).items()})


def _tensor(array: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
    converted = torch.from_numpy(array).to(dtype)
    # Torch's kernels convert NaN to one pattern of bits in a vector register and to another one outside.
    return converted.masked_fill_(converted.isnan(), math.nan)


def unpacked(packed: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """A tensor of bytes that were compressed and written as text, as scripts hold them."""
    return torch.frombuffer(bytearray(zlib.decompress(base64.b85decode(packed))), dtype=dtype).reshape(shape)
