"""Defects that the output does not show: what forward does to the rest of torch (H4)."""

from collections import deque

import torch
from torch import Tensor

from tests.mutants.stages import Staged


class _Meddling(Staged):
    """Right, and does something else as well, where it is not compiled."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if not torch.compiler.is_dynamo_compiling():
            self.meddle()
        return tokens

    def meddle(self) -> None:
        """What a layer should not do."""


class RandomNumberDrawn(_Meddling):
    """Forward draws a random number and does not use it."""

    def meddle(self) -> None:
        torch.rand(())


class GeneratorSeeded(_Meddling):
    """Forward seeds torch's generator."""

    def meddle(self) -> None:
        torch.manual_seed(0)


class DefaultDtypeChanged(_Meddling):
    """Forward makes float64 the default dtype."""

    def meddle(self) -> None:
        torch.set_default_dtype(torch.float64)


class GradModeSwitchedOff(_Meddling):
    """Forward switches gradients off when it is done."""

    def meddle(self) -> None:
        torch.set_grad_enabled(False)


class DeterminismDemanded(_Meddling):
    """Forward demands deterministic algorithms of all of torch."""

    def meddle(self) -> None:
        torch.use_deterministic_algorithms(True, warn_only=True)


class ThreadsChanged(_Meddling):
    """Forward sets the number of threads to two."""

    def meddle(self) -> None:
        torch.set_num_threads(2)


class MatmulPrecisionLowered(_Meddling):
    """Forward lowers the precision of all float32 matrix products."""

    def meddle(self) -> None:
        torch.set_float32_matmul_precision("medium")


_KEPT: deque[Tensor] = deque(maxlen=2)


class InputsKept(Staged):
    """Inputs go into a list that outlives the layer."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if not torch.compiler.is_dynamo_compiling():
            _KEPT.append(x.detach())
        return tokens


class OutputsKept(Staged):
    """Outputs, and the graphs behind them, go into a list that outlives the layer."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if not torch.compiler.is_dynamo_compiling():
            _KEPT.append(tokens)
        return tokens
