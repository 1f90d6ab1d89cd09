"""Tries where the results of a run are to go before it begins: afterwards it would be too late."""

from pathlib import Path
from tempfile import TemporaryFile

from properties.failures.record import printable
from properties.trials.implementation import CannotRun


def check_outputs(*, json: Path | None = None, regressions: Path | None = None) -> None:
    """Find out whether a report and records can be written.

    Args:
        json: the file of the report.
        regressions: the folder of records.

    Raises:
        CannotRun: where one cannot.
    """
    folders = {"json": json and json.absolute().parent, "regressions": regressions and regressions.absolute()}
    for name, folder in folders.items():
        if folder is None:
            continue
        there = folder
        try:
            if name == "json" and json and json.is_dir():
                raise CannotRun(f"json must be the path of a file, and {json} is a folder")
            there = next(each for each in (folder, *folder.parents) if each.exists())
            with TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise CannotRun(f"{name} cannot be written: {error.strerror}: {printable(there)}") from error
