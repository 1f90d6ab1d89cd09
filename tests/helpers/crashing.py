"""Layers that end the process that runs them, each in a way of its own, for a batch of three or more."""

import ctypes
import os
import signal
import time

from torch import Tensor

from patchify import Patchify


class Deadly(Patchify):
    """Right, as long as the batch is small."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] >= 3:
            self.die()
        return super().forward(x)

    def die(self) -> None:
        """End the process, or keep it."""


class Segfaults(Deadly):
    def die(self) -> None:
        ctypes.string_at(0)


class Exits(Deadly):
    def die(self) -> None:
        os._exit(7)


class Killed(Deadly):
    """As the kernel does it where memory runs out."""

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Hangs(Deadly):
    def die(self) -> None:
        time.sleep(3600)


class BuiltForNothing(Patchify):
    """The process dies whatever is done."""

    def __init__(self, *arguments: object, **named: object) -> None:
        os._exit(7)


class RightUnderItsStarter(Patchify):
    """Right only in a process that the one which the environment names has started itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (os.getppid() != int(os.environ["STARTER"]))


class Slow(Patchify):
    """Right, and takes its time."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.05)
        return super().forward(x)


class SlowAndWrong(Slow):
    """Adds the bias twice, and takes its time."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens if self.conv.bias is None else tokens + self.conv.bias
