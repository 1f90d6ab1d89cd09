"""The command ``patchify-verify``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from properties.command.exit_codes import COULD_NOT_RUN
from properties.failures.isolation import server
from properties.runs.configuration import configured
from properties.runs.options import add_options
from properties.runs.parsing import names, path, seeds
from properties.trials.implementation import CannotRun
from properties.trials.sources import harness_version


class _Parser(argparse.ArgumentParser):
    """A parser that tells what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with what is wrong, and where more can be read."""
        self.exit(COULD_NOT_RUN, f"{self.prog}: error: {message}; {self.prog} --help lists the options\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0: passed; 1: a property failed, or a mutant was missed; 2: could not run, or not all of it; 130: interrupted.
    """
    parser = _Parser(prog="patchify-verify", description="Verify an implementation of Patchify.")
    parser.add_argument("--version", action="version", version=f"patchify-harness {harness_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="verify a layer against the contract", description="Verify a layer.")
    add_options(run_parser.add_argument, "run")
    about = "the report on a run whose parts were run one by one"
    merge_parser = commands.add_parser("merge", help=about, description=about)
    merge_parser.add_argument(
        "folders", type=Path, nargs="+", metavar="DIR", help="where a part was run (--shard, --run-dir)"
    )
    add_options(merge_parser.add_argument, "merge")
    for name, about in (
        ("replay", "run the cases of records again: FIXED, FAILED, INTERMITTENT or ERROR"),
        ("explain", "run the case of a record again and find out what kind of wrong it is"),
        (
            "script",
            "print a script that shows the failure of a record without the harness: by torch, or torch and NumPy",
        ),
    ):
        record_parser = commands.add_parser(name, help=about, description=about)
        if name == "replay":
            record_parser.add_argument("records", type=Path, nargs="+", metavar="FILE_OR_FOLDER", help="what to replay")
        else:
            record_parser.add_argument("record", type=Path, metavar="FILE", help="the record")
        add_options(record_parser.add_argument, name)
    about = "make a page of a report: of the JSON file that --json wrote, or of the folder of a run that has ended"
    page_parser = commands.add_parser("page", help=about, description=about)
    page_parser.add_argument("source", type=path, metavar="SOURCE", help="the JSON file, or the folder of the run")
    page_parser.add_argument("--html", type=path, metavar="FILE", help="the page (default: beside the source)")
    about = "tell what is worse, better, or newly not reached in the second of two reports"
    compare_parser = commands.add_parser("compare", help=about, description=about)
    compare_parser.add_argument("before", type=path, metavar="A", help="what --json wrote, or the folder of a run")
    compare_parser.add_argument("after", type=path, metavar="B", help="another one")
    compare_parser.add_argument("--html", type=path, metavar="FILE", help="write a page of both, too")
    about = "print the clauses of the contract, which properties check each, and which mutants they kill"
    commands.add_parser("clauses", help=about, description=about)
    about = "count the cases that it takes to detect each mutant"
    power_parser = commands.add_parser("power", help=about, description=about)
    power_parser.add_argument(
        "--seeds", type=seeds, default=[1, 2, 3], metavar="N,N", help="run seeds (default: 1,2,3)"
    )
    power_parser.add_argument("--only", type=names, metavar="NAMES", help="mutants, such as forward.BiasAddedTwice")
    words = sys.argv[1:] if arguments is None else arguments
    if valueless := next((word for word in words if word.startswith("--") and word.endswith("=--")), None):
        # argparse takes it for the end of the options, and gives an empty list.
        parser.error(f"argument {valueless.removesuffix('=--')}: expected a value, got '--'")
    given = parser.parse_args(words)
    given.configured = []
    if given.command == "run" and given.resume is None:
        try:
            of_project = configured("run")
        except CannotRun as error:
            parser.error(str(error))
        run_parser.set_defaults(**of_project)
        given = parser.parse_args(words)
        given.configured = [name for name, value in of_project.items() if getattr(given, name) == value]
    if given.command == "run" and given.dask is None:
        # Which imports torch while this process does.
        server()
    # It takes torch, which a question for help does not.
    from properties.command.commands import carry_out

    return carry_out(given)
