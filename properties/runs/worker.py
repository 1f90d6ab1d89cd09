"""A process that carries out parts of a run for another one, and may die of them."""

import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from properties.failures.isolation import DEVICE_LOST
from properties.runs.failure import examine
from properties.runs.journal import Journal
from properties.runs.plan import Plan
from properties.runs.result import Found, gather
from properties.runs.shard import run_case
from properties.trials.verdict import Failed, NotJudged

# Deaths after which the rest of a shard is given up: each costs a new process.
MOST_DEATHS = 3
# As long as whatever is written to say which check has begun.
_MOST_BYTES = 400


def work(folder: Path, connection: Connection) -> None:
    """Carry out the tasks that come, until None does, and answer each.

    A task is the name of a shard and ``time.monotonic()`` after which no case is begun, or the name of a property, a
    failure of it and whether to make it small. The answer to the first comes in parts, one for each case and None at
    the end; the answer to the second is a record.
    """
    torch.set_num_threads(1)
    journal = Journal(folder)
    plan = journal.plan()
    check = _Check(folder, plan.device)
    # Where whoever gives the tasks is gone, nothing is left to be done.
    with suppress(EOFError, ConnectionError):
        connection.send(None)
        while (task := connection.recv()) is not None:
            match task:
                case (str(shard), None | float() as until):
                    _run(plan, journal, check, connection, shard, until)
                    connection.send(None)
                case (str(name), Found() as found, bool(shrink)):
                    (prop,) = (prop for prop in plan.properties if prop.name == name)
                    connection.send(examine(plan, prop, found, shrink=shrink).to_json())


def _run(
    plan: Plan, journal: Journal, check: "_Check", connection: Connection, shard: str, until: float | None
) -> None:
    """Run what is left of a shard, as far as there is time."""
    check.forget()
    cases = plan.cases_of(shard)
    results = journal.done(shard, cases)
    deaths = journal.deaths(shard)
    given_up = len(deaths) >= MOST_DEATHS
    done = {result.name for result in results}
    for name, case in ((name, case) for name, case in cases.items() if name not in done):
        died = {death.property: death for death in deaths if death.case == name}
        if given_up and not died:
            break
        if until is not None and time.monotonic() >= until:
            return
        properties = () if given_up else plan.properties_on(shard, name)
        alive = tuple(prop for prop in properties if prop.name not in died)
        try:
            result = run_case(plan, alive, case, name, lambda case, prop: check.begin(shard, case, prop))
        finally:
            check.end()
        fatal = {prop: NotJudged(death.how) if death.hung else Failed(death.how) for prop, death in died.items()}
        how = {prop: death.how for prop, death in died.items()}
        result = replace(result, verdicts={**result.verdicts, **fatal}, died=how)
        journal.add(shard, result)
        results.append(result)
        connection.send((shard, len(results), len(cases), result.failed))
    journal.finish(replace(gather(shard, results), deaths=len(deaths), left_out=len(cases) - len(results)))


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
        os.pwrite(self.file, json.dumps([shard, case, prop]).ljust(_MOST_BYTES).encode(), 0)

    def end(self) -> None:
        """End the process where the check has left the device in a state that nothing brings it out of."""
        if self.device.startswith("cuda"):
            try:
                torch.cuda.synchronize(self.device)
            except RuntimeError:
                os._exit(DEVICE_LOST)
