"""A part of a run on another machine: files of a journal there and back, and a process of its own in between.

The process is there since a layer may end it, and since the workers of some schedulers may not have children that
``multiprocessing`` makes.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from properties.runs.journal import Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.result import Found
from properties.trials.implementation import CannotRun

_COULD_NOT_RUN = 2


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
    with _done_in_a_process(files, {"shards": shards, "budget": budget, "case_timeout": case_timeout}) as journal:
        packed = journal.pack(shards)
    del packed["plan.json"]
    return packed


def examine_away(files: Mapping[str, str], name: str, found: Mapping[str, Any], shrink: bool) -> dict[str, Any]:
    """Have a failure examined.

    Args:
        files: what ``Journal.pack`` gives for no shards.
        name: the property that failed.
        found: on what, as plain data.
        shrink: whether to look for the smallest case.

    Returns:
        The record, as plain data.

    Raises:
        CannotRun: where that cannot be done here.
    """
    with _done_in_a_process(files, {"property": name, "found": found, "shrink": shrink}) as journal:
        record: dict[str, Any] = json.loads((journal.folder / "record").read_text())
        return record


@contextmanager
def _done_in_a_process(files: Mapping[str, str], task: Mapping[str, Any]) -> Iterator[Journal]:
    """A journal of what was packed, once a process has done a task in its folder."""
    with TemporaryDirectory(prefix="patchify-run-") as folder:
        journal = Journal(Path(folder))
        journal.unpack(files)
        _do_in_a_process(journal, task)
        yield journal


def _do_in_a_process(journal: Journal, task: Mapping[str, Any]) -> None:
    (journal.folder / "task").write_text(json.dumps(task))
    # What can be imported here can be imported there.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "properties.runs.start_remote", str(journal.folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        # The other end of stdin stays open as long as this process is there.
        errors = process.stderr.read()
    if process.returncode == _COULD_NOT_RUN:
        raise CannotRun(errors.strip())
    if process.returncode:
        raise RuntimeError(f"a part of the run ended with exit code {process.returncode}: {errors.strip()[-1000:]}")


def do_task(folder: str) -> int:
    """Do the task that is in a folder, and return the exit code."""
    journal = Journal(Path(folder))
    task = json.loads((journal.folder / "task").read_text())
    try:
        if "shards" in task:
            until = None if task["budget"] is None else time.monotonic() + task["budget"]
            LocalWorkers(journal, jobs=1, case_timeout=task["case_timeout"]).run_shards(task["shards"], until=until)
        else:
            name = task["property"]
            records = LocalWorkers(journal, jobs=1).examine({name: Found(**task["found"])}, shrink=task["shrink"])
            (journal.folder / "record").write_text(json.dumps(records[name].to_json()))
    except CannotRun as error:
        print(error, file=sys.stderr)
        return _COULD_NOT_RUN
    return 0
