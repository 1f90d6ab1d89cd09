"""A process that carries out parts of a run for another one, and may die of them.

``python -m properties.runs.worker`` is one, where ``multiprocessing`` can start none.
"""

import errno
import json
import os
import sys
from pathlib import Path

import torch

from oracles.agreement import OracleError
from properties.failures.isolation import DEVICE_LOST, PIPE_LOST, Child, Pipe, PipeLost, connected, forked, started
from properties.laws.law import VacuousLaw
from properties.runs.failure import examine
from properties.runs.journal import Journal
from properties.runs.result import Found
from properties.runs.shard import finish_shard
from properties.trials.fault_scripts import fork_server
from properties.trials.faults import check_machine
from properties.trials.implementation import CannotRun

# As long as whatever is written to say which check has begun.
_MOST_BYTES = 400


def forked_worker(folder: Path) -> Child:
    """A worker on the folder of a run, quickly."""
    return forked(work, folder)


def started_worker(folder: Path) -> Child:
    """A worker on the folder of a run, for processes that may not fork one."""
    return started(__name__, str(folder))


def work(pipe: Pipe, folder: Path) -> None:
    """Say None; then carry out the tasks that come, until there is an error of the harness, which is said, too.

    A task is the name of a shard and ``time.monotonic()`` after which no case is begun, or the name of a property, a
    failure of it, whether to make it small, and ``time.monotonic()`` after which nothing more is looked for. The answer
    to the first comes in parts, one for each case and None at the end; so does the answer to the second, each part
    being whether it is the last, and a record, None where that is the one before.
    """
    fork_server()
    torch.set_num_threads(1)
    # A layer may change the current folder as it is imported.
    journal = Journal(folder.absolute())
    try:
        plan = journal.plan()
        check_machine(plan.device)
        check = _Check(folder, plan.device)
        props = {prop.name: prop for prop in (*plan.properties, *plan.owners)}
        pipe.send(None)
        for task in pipe.listen():
            match task:
                case (shard, until):
                    check.forget()
                    finish_shard(plan, journal, shard, until, lambda *told: pipe.send(told), check.begin, check.end)
                    pipe.send(None)
                case (name, found, shrink, until):
                    record = examine(
                        plan,
                        props[name],
                        Found(**found),
                        shrink=shrink,
                        until=until,
                        tell=lambda known: pipe.send([False, known and known.to_json()]),
                    )
                    pipe.send([True, record.to_json()])
    except (CannotRun, OracleError, VacuousLaw) as error:
        # No fault of the layer.
        pipe.send({"error": type(error).__name__, "text": str(error)})
    except PipeLost:
        os._exit(PIPE_LOST)


class _Check:
    """The check that has begun, on disk: the file ``worker<process id>`` names it."""

    def __init__(self, folder: Path, device: str) -> None:
        self.device = device
        self.file = os.open(folder / f"worker{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def forget(self) -> None:
        """Nothing has begun."""
        os.ftruncate(self.file, 0)

    def begin(self, shard: str, case: str, prop: str) -> None:
        """Write down what is about to begin."""
        self.end()
        told = json.dumps([shard, case, prop]).ljust(_MOST_BYTES).encode()
        try:
            os.pwrite(self.file, told, 0)
        except OSError as error:
            if error.errno == errno.EBADF:
                os._exit(PIPE_LOST)
            raise CannotRun(f"the folder of the run cannot be written: {error.strerror}") from error

    def end(self) -> None:
        """End the process where the check has left the device in a state that nothing brings it out of."""
        if self.device.startswith("cuda"):
            try:
                torch.cuda.synchronize(self.device)
            except RuntimeError:
                os._exit(DEVICE_LOST)


if __name__ == "__main__":
    work(connected(*sys.argv[1:3]), Path(sys.argv[3]))
