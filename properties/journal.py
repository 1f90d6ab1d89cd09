"""The folder of a run: what is to be done, what is done, and what every worker is about to do.

``plan.json`` is the plan. Of every shard that has begun there is ``<shard>.cases``, a line for each case that is done,
and, where checks ended the process, ``<shard>.deaths``, a line for each; once it is done, ``<shard>.json`` takes their
place. ``worker<number>`` names the check that a worker has begun. Whatever is killed, and when, what is written stays.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from properties.case import Case
from properties.implementation import CannotRun
from properties.plan import Plan
from properties.result import CaseResult, ShardResult


@dataclass(frozen=True)
class Death:
    """A check that the process did not survive."""

    case: str
    property: str
    how: str


@dataclass(frozen=True)
class Journal:
    """What a run writes down, and what it reads again when it is resumed."""

    folder: Path

    def start(self, plan: Plan) -> None:
        """Write the plan.

        Raises:
            CannotRun: where the folder holds another run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise CannotRun(f"{self.folder} is not empty: resume the run in it, or name another folder")
        _write_whole(self.folder / "plan.json", plan.to_json())

    def plan(self) -> Plan:
        """The plan of the run.

        Raises:
            CannotRun: where there is none, or it cannot be carried out here.
        """
        path = self.folder / "plan.json"
        try:
            return Plan.from_json(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CannotRun(f"{path} holds no plan of a run that can go on: {type(error).__name__}: {error}") from error

    def done(self, shard: str, cases: dict[str, Case]) -> list[CaseResult]:
        """The cases of a shard that are done, in the order in which they were done."""
        lines = _lines(self.folder / f"{shard}.cases")
        return [CaseResult.from_json(line, cases) for line in lines]

    def begun(self, shard: str) -> bool:
        """Whether any case of a shard is done that is not done itself."""
        return (self.folder / f"{shard}.cases").exists()

    def add(self, shard: str, result: CaseResult) -> None:
        """Note that a case is done."""
        _append(self.folder / f"{shard}.cases", result.to_json())

    def deaths(self, shard: str) -> list[Death]:
        """The checks of a shard that the process did not survive."""
        return [Death(**line) for line in _lines(self.folder / f"{shard}.deaths")]

    def add_death(self, shard: str, death: Death) -> None:
        """Note that the process did not survive a check."""
        _append(self.folder / f"{shard}.deaths", asdict(death))

    def finish(self, result: ShardResult) -> None:
        """Note that a shard is done."""
        _write_whole(self.folder / f"{result.shard}.json", result.to_json())
        for ending in ("cases", "deaths"):
            (self.folder / f"{result.shard}.{ending}").unlink(missing_ok=True)

    def finished(self, shard: str) -> ShardResult | None:
        """What came of a shard that is done, None where it is not."""
        path = self.folder / f"{shard}.json"
        return ShardResult.from_json(json.loads(path.read_text())) if path.exists() else None


def _append(path: Path, data: Any) -> None:
    """One line, in one write: a process that is killed leaves it whole or, at worst, torn at the end of the file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, json.dumps(data).encode() + b"\n")
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[Any]:
    """What was appended; a torn end is cut off, so that whatever is appended next begins a line."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _write_whole(path: Path, data: Any) -> None:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.write_text(json.dumps(data) + "\n")
    temporary.replace(path)
