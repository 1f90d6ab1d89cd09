"""The pytest plugin: declares the options, and joins in where ``properties/test_contract.py`` is to be collected.

It is loaded in every run of pytest where the package is installed, so it imports the harness only where that is needed.
"""

import re
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from properties.options import PREFIX, add_options

# As properties/record.py names its files; that module is not imported before there is one.
_RECORD_NAME = re.compile(r"[a-z][a-z0-9_]*-[0-9a-f]{12}\.json")
_PACKAGE = Path(__file__).resolve().parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the command, prefixed."""
    add_options(parser.getgroup("patchify", "verifying implementations of Patchify").addoption, PREFIX)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Under xdist, keep the properties of one shard on one worker: they share the shard's trials."""
    if _collects_contract(config) and getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadgroup"
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Settle what is to be run before anything is collected."""
    if not _collects_contract(config):
        return
    from properties.contract_run import ContractRun
    from properties.implementation import CannotRun

    # xdist hands its workers the command line, where no seed may stand; the settled one goes with it.
    config.option.patchify_seed = getattr(config, "workerinput", {}).get("patchify_seed", config.option.patchify_seed)
    if config.option.patchify_seed is None:
        config.option.patchify_seed = secrets.randbits(32)
    try:
        config.pluginmanager.register(ContractRun(config), "patchify-contract-run")
    except CannotRun as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of xdist the seed of the run."""
    node.workerinput["patchify_seed"] = node.config.option.patchify_seed


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a folder of records: one that holds a file named like a record, or is asked for as ``regressions``."""
    if not _holds_records(path, parent.session):
        return None
    from properties.record_items import RecordFolder

    return RecordFolder.from_parent(parent, path=path)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a JSON file that is asked for by name; those of a folder of records are the folder's."""
    asked_for = file_path.suffix == ".json" and parent.session.isinitpath(file_path)
    if not asked_for or _holds_records(file_path.parent, parent.session):
        return None
    from properties.record_items import RecordFile

    return RecordFile.from_parent(parent, path=file_path)


def _holds_records(folder: Path, session: pytest.Session) -> bool:
    if folder.name == "regressions" and session.isinitpath(folder):
        return True
    try:
        return any(_RECORD_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    # Whoever collects the folder next will say why it cannot be listed.
    except OSError:
        return False


def _collects_contract(config: pytest.Config) -> bool:
    """Whether the arguments lead to this package."""
    for argument in config.args:
        name = argument.split("::")[0]
        if config.option.pyargs and name.split(".")[0] == _PACKAGE.name:
            return True
        path = (config.invocation_params.dir / name).resolve()
        if path == _PACKAGE or _PACKAGE in path.parents or path in _PACKAGE.parents:
            return True
    return False
