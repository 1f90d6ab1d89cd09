"""The pytest plugin: declares the options, and joins in where ``test_contract.py`` is to be collected.

It is loaded in every run of pytest where the package is installed, so it leaves nothing of the harness imported before
that is needed.
"""

import re
import secrets
from pathlib import Path
from typing import Any

import pytest

from patchify_harness.packages import ROOT, ShadowedError, borrowed, import_harness

with borrowed():
    from properties.runs.options import PREFIX, add_options
    from properties.runs.profiles import PROFILES

# As properties/failures/record.py names its files, and what they begin with; that module is not imported before there
# is one.
_RECORD_NAME = re.compile(r"[a-z][a-z0-9_]*-[0-9a-f]{12}\.json")
_RECORD_BEGINS = re.compile(rb'\s*\{\s*"format":\s*\d+,\s*"property":')
_PACKAGE = ROOT / "properties"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the command, prefixed."""
    group = parser.getgroup("patchify", "verifying implementations of Patchify")
    add_options(group.addoption, "pytest", PREFIX)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Settle what is to be run before anything is collected."""
    _register_profiles(config)
    if not _collects_contract(config):
        return
    contract_run = _imported("properties.pytest_plugin.contract_run")
    config.option.patchify_profile = _profile(config)
    # xdist hands its workers the command line, where no seed may stand; the settled one goes with it.
    config.option.patchify_seed = getattr(config, "workerinput", {}).get("patchify_seed", config.option.patchify_seed)
    if not hasattr(config, "workerinput"):
        _refuse_second_seed(config)
    try:
        of_project = contract_run.of_project(config)
        if config.option.patchify_seed is None and "seed" not in of_project:
            config.option.patchify_seed = secrets.randbits(32)
        config.pluginmanager.register(contract_run.ContractRun(config, of_project), "patchify-contract-run")
    except contract_run.CannotRun as error:
        raise pytest.UsageError(str(error)) from error


def _imported(module: str) -> Any:
    """A module of the harness.

    Raises:
        pytest.UsageError: where another package has its name.
    """
    try:
        return import_harness(module)
    except ShadowedError as error:
        raise pytest.UsageError(str(error)) from error


def _register_profiles(config: pytest.Config) -> None:
    """Make our profiles known to Hypothesis, where one of them is asked for by its option and is not known yet."""
    name = config.getoption("--hypothesis-profile", None)
    if name in PROFILES:
        from hypothesis import settings
        from hypothesis.errors import InvalidArgument

        try:
            settings.get_profile(name)
        except InvalidArgument:
            # Not from the current profile, which under CI draws the same cases every time.
            settings.register_profile(name, settings.get_profile("default"), deadline=None, database=None)


def _profile(config: pytest.Config) -> str | None:
    """The profile that is asked for, by our option or by Hypothesis's."""
    ours, theirs = config.option.patchify_profile, config.getoption("--hypothesis-profile", None)
    if ours and theirs in PROFILES and ours != theirs:
        raise pytest.UsageError(f"--{PREFIX}profile is {ours}, but --hypothesis-profile is {theirs}")
    return ours or (theirs if theirs in PROFILES else None)


def _refuse_second_seed(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-seed", None) is not None and config.option.patchify_seed is not None:
        raise pytest.UsageError(
            f"--hypothesis-seed beside --{PREFIX}seed: it would give all shards the same cases, so what is drawn here "
            f"follows from --{PREFIX}seed alone; leave --hypothesis-seed out"
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Under xdist, keep the properties of one shard on one worker: they share the shard's trials."""
    if not _collects_contract(config) or config.option.dist not in ("load", "loadscope", "loadgroup"):
        return None
    scheduling: object = _imported("properties.pytest_plugin.xdist_scheduling").ShardScheduling(config, log)
    return scheduling


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of xdist the seed of the run."""
    node.workerinput["patchify_seed"] = node.config.option.patchify_seed


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a folder of records: one that holds a file named like a record, or is asked for and holds a record."""
    if not _holds_records(path, parent.session):
        return None
    folder: pytest.Collector = _imported("properties.pytest_plugin.record_items").RecordFolder.from_parent(
        parent, path=path
    )
    return folder


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a JSON file that is asked for by name; those of a folder of records are the folder's."""
    asked_for = file_path.suffix == ".json" and parent.session.isinitpath(file_path)
    if not asked_for or _holds_records(file_path.parent, parent.session):
        return None
    file: pytest.Collector = _imported("properties.pytest_plugin.record_items").RecordFile.from_parent(
        parent, path=file_path
    )
    return file


def _holds_records(folder: Path, session: pytest.Session) -> bool:
    asked_for = session.isinitpath(folder)
    try:
        return any(
            _RECORD_NAME.fullmatch(entry.name) or (asked_for and entry.suffix == ".json" and _begins_as_record(entry))
            for entry in folder.iterdir()
        )
    # Whoever collects the folder next will say why it cannot be listed.
    except OSError:
        return False


def _begins_as_record(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _RECORD_BEGINS.match(file.read(200)) is not None


def _collects_contract(config: pytest.Config) -> bool:
    """Whether the arguments lead to the package ``properties``."""
    for argument in config.args:
        name = argument.split("::")[0]
        if config.option.pyargs and name.split(".")[0] == _PACKAGE.name:
            return True
        path = (config.invocation_params.dir / name).resolve()
        if path == _PACKAGE or _PACKAGE in path.parents or _leads_to_package(path):
            return True
    return False


def _leads_to_package(folder: Path) -> bool:
    """Whether the package is collected along with a folder: pytest does not enter virtual environments below it."""
    between = [parent for parent in _PACKAGE.parents if folder in parent.parents]
    return folder in _PACKAGE.parents and not any((parent / "pyvenv.cfg").is_file() for parent in between)
