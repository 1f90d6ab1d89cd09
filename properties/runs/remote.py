"""A part of a run on another machine: files of a journal there and back, and a process of its own in between.

The process is there since a layer may end it, and since the workers of some schedulers may not have children that
``multiprocessing`` makes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from properties.runs.journal import Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.result import Found
from properties.runs.worker import started_worker


def run_away(
    files: Mapping[str, str], shards: Sequence[str], budget: float | None, case_timeout: float | None
) -> dict[str, str]:
    """Have some shards of a run done.

    Args:
        files: what ``Journal.pack`` gives for the shards.
        shards: their names.
        budget: seconds after which no further case is begun.
        case_timeout: seconds after which a case counts as hanging.

    Returns:
        What ``Journal.pack`` gives for them afterwards.

    Raises:
        CannotRun: where they cannot be run here.
    """
    until = None if budget is None else time.monotonic() + budget
    with _a_worker(files, shards, case_timeout) as workers:
        workers.run_shards(shards, until=until)
        packed = workers.journal.pack(shards)
    del packed["plan.json"]
    return packed


def examine_away(
    files: Mapping[str, str], name: str, found: Mapping[str, Any], shrink: bool, case_timeout: float | None
) -> dict[str, Any]:
    """Have a failure examined.

    Args:
        files: what ``Journal.pack`` gives for no shards.
        name: the property that failed.
        found: on what, as plain data.
        shrink: whether to look for the smallest case.
        case_timeout: seconds after which a trial counts as hanging.

    Returns:
        The record, as plain data.

    Raises:
        CannotRun: where that cannot be done here.
    """
    with _a_worker(files, (), case_timeout) as workers:
        return workers.examine({name: Found(**found)}, shrink=shrink)[name].to_json()


@contextmanager
def _a_worker(files: Mapping[str, str], shards: Sequence[str], case_timeout: float | None) -> Iterator[LocalWorkers]:
    """One process on a journal of what was packed."""
    with TemporaryDirectory(prefix="patchify-run-") as folder:
        journal = Journal(Path(folder))
        journal.unpack(files, shards)
        yield LocalWorkers(journal, 1, case_timeout, started_worker)
