"""Keeps a second run out of a folder in which one is going on."""

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from properties.trials.implementation import CannotRun

# Seconds after which a run that has not touched its lock is taken for gone, and between two touches. Locks of the file
# system do not hold on the folders that clusters share.
_GONE, _EVERY = 60.0, 10.0


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Hold a lock, which is a file that names who holds it, and is touched while it is held.

    Raises:
        CannotRun: where another process holds it.
    """
    while True:
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            _check_gone(file)
            file.unlink(missing_ok=True)
        else:
            break
    with os.fdopen(descriptor, "w") as lock:
        json.dump({"host": platform.node(), "process": os.getpid()}, lock)
    ended = Event()
    touching = Thread(target=_touch, args=(file, ended), daemon=True)
    touching.start()
    try:
        yield
    finally:
        ended.set()
        touching.join()
        file.unlink(missing_ok=True)


def _touch(file: Path, ended: Event) -> None:
    while not ended.wait(_EVERY):
        with suppress(OSError):
            os.utime(file)


def _check_gone(file: Path) -> None:
    """Raise where whoever holds a lock may still be there."""
    holder = "another process"
    with suppress(OSError, ValueError, LookupError, TypeError):
        told = json.loads(file.read_text())
        holder = f"process {told['process']} on {told['host']}"
        # A process that is begun again in a container may have the number that it had before.
        if told["host"] == platform.node() and (told["process"] == os.getpid() or not _lives(told["process"])):
            return
    with suppress(FileNotFoundError):
        if time.time() - file.stat().st_mtime < _GONE:
            raise CannotRun(f"{file.parent} is in use by {holder}; where that is gone, wait for {_GONE:g} seconds")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
