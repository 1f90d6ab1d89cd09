"""What ends a law before it has judged: the implementation raised, or something that the law needs is not there."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from properties.trials.implementation import said
from properties.trials.verdict import Violation


class Raised(Exception):  # noqa: N818 - "the implementation raised"
    """The implementation raised an exception."""

    def __init__(self, doing: str, error: BaseException) -> None:
        first_line = (said(error).strip().splitlines() or [""])[0]
        self.doing = doing
        self.error = error
        self.observed = f"{type(error).__name__}: {first_line}".rstrip(": ")
        super().__init__(f"{doing} raised {self.observed}")

    @property
    def out_of_memory(self) -> bool:
        """Whether memory was asked for that is not there, which says nothing of what the layer computes."""
        if isinstance(self.error, MemoryError | torch.OutOfMemoryError):
            return True
        # The allocator of the CPU raises a plain RuntimeError.
        return isinstance(self.error, RuntimeError) and "DefaultCPUAllocator" in self.observed

    def instead(self, reason: str) -> "Unusable":
        """What ends a law that needs what was to come of it; the reason names the property that has failed for that."""
        return Unusable(NO_MEMORY) if self.out_of_memory else Broken(reason)


NO_MEMORY = "the layer asks for more memory than there is"


class Unusable(Exception):  # noqa: N818 - "the output is unusable"
    """Something that a law needs is not there."""


class Broken(Unusable):
    """It is not there since the layer is broken; the property that the message names has failed for that."""


class TorchFault(Unusable):
    """A fault of torch itself, named by the message, makes what the layer does here unjudgeable."""


@contextmanager
def blaming(doing: str) -> Iterator[None]:
    """Turn whatever the implementation raises inside into ``Raised``."""
    try:
        yield
    except (Violation, Unusable):
        raise  # what the harness says inside
    except (Exception, SystemExit) as error:
        raise Raised(doing, error) from error
