"""Where the results of a run go: tried before it begins, since afterwards it would be too late, and written whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from properties.failures.record import printable
from properties.trials.implementation import CannotRun


def check_outputs(*, json: Path | None = None, html: Path | None = None, regressions: Path | None = None) -> None:
    """Find out whether a report and records can be written.

    Args:
        json: the file of the report.
        html: the file of its page.
        regressions: the folder of records.

    Raises:
        CannotRun: where one cannot.
    """
    written_to = {"json": json, "html": html}
    folders = {name: file and file.absolute().parent for name, file in written_to.items()}
    folders["regressions"] = regressions and regressions.absolute()
    for name, folder in folders.items():
        if folder is None:
            continue
        there = folder
        try:
            if (file := written_to.get(name)) and file.is_dir():
                raise CannotRun(f"{name} must be the path of a file, and {file} is a folder")
            there = next(each for each in (folder, *folder.parents) if each.exists())
            with TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise CannotRun(f"{name} cannot be written: {error.strerror}: {printable(there)}") from error


def write_whole(path: Path, content: str) -> None:
    """Write a file whole or not at all.

    Raises:
        CannotRun: where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with written(path):
        try:
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Where a file of the run cannot be written, that is no fault of the layer.

    Raises:
        CannotRun: which says so.
    """
    try:
        yield
    except OSError as error:
        raise CannotRun(f"{printable(path)} cannot be written: {error.strerror}") from error
