"""Layers that end the process that runs them, each in a way of its own, for a batch of three or more."""

import ctypes
import os
import signal
import stat
import subprocess
import time
import traceback
from contextlib import suppress
from pathlib import Path

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


class ClosesFiles(Deadly):
    """All but the standard ones, as what turns a process into a daemon does."""

    def die(self) -> None:
        os.closerange(3, 4096)


class WritesIntoPipes(Deadly):
    """Into whatever pipe is open."""

    def die(self) -> None:
        for descriptor in range(3, 4096):
            with suppress(OSError):
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.write(descriptor, b"null\n")


class HangsWithAChild(Patchify):
    """Starts a process, names both in a file, and hangs."""

    def forward(self, x: Tensor) -> Tensor:
        child = subprocess.Popen(["sleep", "3600"])
        Path(os.environ["PROCESSES"]).write_text(f"{os.getpid()} {child.pid} ")
        time.sleep(3600)
        return x


class HangsWhenProbed(Patchify):
    """Adds the bias twice, and hangs where a cause is looked for."""

    def forward(self, x: Tensor) -> Tensor:
        if any("diagnosis" in frame.filename for frame in traceback.extract_stack()):
            time.sleep(3600)
        tokens = super().forward(x)
        return tokens if self.conv.bias is None else tokens + self.conv.bias


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class RaisesWithoutText(Patchify):
    def forward(self, x: Tensor) -> Tensor:
        raise UnspeakableError


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
