"""The workers of a Dask scheduler that is already there."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from properties.trials.implementation import CannotRun

# Seconds that a scheduler has to answer.
_TIMEOUT = 10


@contextmanager
def dask_executor(address: str) -> Iterator[tuple[Executor, int]]:
    """An executor of a Dask scheduler, and how many tasks it does at a time.

    Raises:
        CannotRun: where Dask is not installed, no scheduler answers, or it has no workers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise CannotRun("--dask needs Dask: pip install 'patchify-harness[dask]'") from error
    try:
        client = Client(address, set_as_default=False, timeout=_TIMEOUT)
    except (OSError, ValueError) as error:
        raise CannotRun(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise CannotRun(f"the Dask scheduler at {address} has no workers")
        yield client.get_executor(pure=False), threads
