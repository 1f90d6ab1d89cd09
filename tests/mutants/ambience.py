"""Defects in what forward does to the rest of torch, and in what the rest of torch does to it (H4, H9, C14)."""

import threading
import time
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


class NewMemoryRead(Staged):
    """Zero times memory that nothing has written is added to the tokens: nothing, but where that is not finite."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens if torch.compiler.is_dynamo_compiling() else tokens + 0 * torch.empty_like(tokens)


class DoubledWhereDeterministic(Staged):
    """Where torch is asked for deterministic algorithms, tokens are doubled."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return 2 * tokens if torch.are_deterministic_algorithms_enabled() else tokens


_LEFT = threading.local()


class LeftForTheSameThread(Staged):
    """Backward needs what forward has left for its own thread, and gives zeros in another one."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if tokens.requires_grad and not torch.compiler.is_dynamo_compiling():
            _LEFT.factor = 1.0
            tokens.register_hook(lambda given: given * getattr(_LEFT, "factor", 0.0))  # type: ignore[no-untyped-call]
        return tokens


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


class InTheDefaultDtype(Staged):
    """Input in float32 is embedded in torch's default dtype, which is the same as a rule."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        used = torch.get_default_dtype() if x.dtype == torch.float32 else x.dtype
        added = None if bias is None else bias.to(used)
        return super().embed(x.to(used), weight.to(used), added).to(x.dtype)


class WarningsForgotten(Staged):
    """Deterministic algorithms are asked for again after the embedding, without what said that a warning is enough."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(True)
        return tokens


class RefusalLeavesNoGrad(Staged):
    """The input is looked at without gradients, which stay switched off where it is refused."""

    def forward(self, x: Tensor) -> Tensor:
        before = torch.is_grad_enabled()
        if not torch.compiler.is_compiling():
            torch.set_grad_enabled(False)
            self._check(x)
            torch.set_grad_enabled(before)
        return super().forward(x)


class BatchLeftOnTheLayer(Staged):
    """The batch of a call is noted on the layer, where another thread's call notes its own."""

    def forward(self, x: Tensor) -> Tensor:
        self._batch = len(x)
        tokens = super().forward(x)
        # Another thread's turn comes here, as it may anywhere.
        time.sleep(0)
        return tokens[: self._batch]
