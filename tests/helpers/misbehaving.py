"""Layers that misbehave: what they return, raise, change or lack is no patch embedding's business."""

from typing import Any

import torch
from torch import Tensor, nn

from patchify import Patchify


class Wrapped(nn.Module):
    """Holds its convolution somewhere else."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__()
        self.inner = Patchify(*arguments, **named)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.inner(x)
        return tokens


class ConvRaises(Wrapped):
    @property
    def conv(self) -> nn.Module:
        raise RuntimeError("no convolution today")


class WeightIsNoTensor(Wrapped):
    @property
    def conv(self) -> object:
        return object()


class ConstructorRaises(Patchify):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        raise RuntimeError("no layer today\nnor tomorrow")


class ConstructorExits(Patchify):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        raise SystemExit(3)


class OtherNames(nn.Module):
    def __init__(self, channels: int, features: int) -> None:
        super().__init__()


class ReturnsTuple(Patchify):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), None


class ReturnsNone(Patchify):
    def forward(self, x: Tensor) -> Any:
        super().forward(x)


class ReturnsList(Patchify):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).tolist()


class OtherDtype(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(torch.complex64)


class OnMeta(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to("meta")


class ForwardExits(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        raise SystemExit("good bye")


class RaisesWithoutWords(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class RaisesForLargeStrides(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        if self.stride > self.patch_size:
            raise RuntimeError("windows must touch\nsecond line")
        return super().forward(x)


class RaisesForRemainders(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        if any(size % self.patch_size for size in x.shape[1:-1]):
            raise ValueError("sizes must divide")
        return super().forward(x)


class BackwardRaises(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        if tokens.requires_grad:
            tokens.register_hook(self.refuse)  # type: ignore[no-untyped-call]
        return tokens

    def refuse(self, gradient: Tensor) -> Tensor:
        raise SystemExit("no gradients today")


class RandomOutput(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand(())


class ZeroesItsInput(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x.clone())
        x.detach().zero_()
        return tokens


class FailsOnce(Patchify):
    """Wrong on the very first call of all, and on no other."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        FailsOnce.calls += 1
        return super().forward(x) + (FailsOnce.calls == 2)


class Interrupted(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyboardInterrupt("by hand")


class CountsItsCalls(Patchify):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


class ChangesTheWorld(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.autograd.set_detect_anomaly(True)
        torch.set_float32_matmul_precision("medium")
        # Two threads wait for each other most of the time, busily, where so little is computed.
        torch.set_num_threads(1)
        tokens = super().forward(x)
        torch.set_num_threads(2)
        return tokens


class SwitchesGradientsOff(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        torch.set_grad_enabled(False)
        return super().forward(x)
