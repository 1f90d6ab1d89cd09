"""The folder of a run: what is to be done, what is done, and what every worker is about to do.

``plan.json`` is the plan. Of every shard that has begun there is ``<shard>.cases``, a line for each case that is done,
and, where checks ended the process, ``<shard>.deaths``, a line for each; once it is done, ``<shard>.json`` takes their
place. ``worker<number>`` names the check that a worker has begun. ``end.json`` is there once the run has ended, and
says why early, if it did. Whatever is killed, and when, what is written stays.
"""

import errno
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from properties.cases.case import Case
from properties.failures.record import Record, RecordError
from properties.runs.outputs import write_whole, written
from properties.runs.plan import Plan
from properties.runs.result import CaseResult, ShardResult, gather
from properties.trials.implementation import CannotRun

Read = TypeVar("Read")
# Why a run ended early, if it did.
STOPPED = (None, "budget", "fail_fast", "interrupted")
# Of a file that another machine sends.
_MOST_CHARACTERS = 2**28


@dataclass(frozen=True)
class Death:
    """A check that the process did not survive, or, where it ``hung``, that it did not answer in time."""

    case: str
    property: str
    how: str
    hung: bool = False


@dataclass(frozen=True)
class Journal:
    """What a run writes down, and what it reads again when it is resumed."""

    folder: Path

    def start(self, plan: Plan) -> None:
        """Write the plan.

        Raises:
            CannotRun: where the folder holds another run, or no other process could import the implementation.
        """
        if not plan.importable:
            raise CannotRun(f"{plan.name} cannot be imported by another process: define it in a module")
        with written(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise CannotRun(f"{self.folder} is not empty: resume the run in it, or name another folder")
        write_whole(self.folder / "plan.json", _json(plan.to_json()))

    def plan(self) -> Plan:
        """The plan of the run.

        Raises:
            CannotRun: where there is none, or it cannot be carried out here.
        """
        return _believed(self.folder / "plan.json", lambda text: Plan.from_json(json.loads(text)))

    def check(self, plan: Plan) -> None:
        """Read everything.

        Raises:
            CannotRun: where something cannot be read, or is damaged.
        """
        self.ended()
        self.results(plan)
        for shard in self.left(plan):
            self.deaths(shard)

    def left(self, plan: Plan) -> list[str]:
        """The shards of a plan that are not done."""
        return [shard for shard in plan.shards if not (self.folder / f"{shard}.json").exists()]

    def go_on(self) -> None:
        """Note that the run has not ended."""
        (self.folder / "end.json").unlink(missing_ok=True)

    def end(self, stopped: str | None, records: Mapping[str, Record]) -> None:
        """Note that the run has ended, why early, if it did, and what was found out about its failures."""
        told = {name: record.to_json() for name, record in records.items()}
        write_whole(self.folder / "end.json", _json({"stopped": stopped, "records": told}))

    def ended(self) -> tuple[str | None, dict[str, Record]] | None:
        """Why the run ended early, if it did, and what was found out about its failures; None where it goes on."""
        path = self.folder / "end.json"
        if not path.exists():
            return None

        def read(text: str) -> tuple[str | None, dict[str, Record]]:
            told = json.loads(text)
            if told["stopped"] not in STOPPED:
                raise ValueError(f"stopped is {told['stopped']!r}")
            return told["stopped"], {name: Record.from_json(record) for name, record in told["records"].items()}

        return _believed(path, read)

    def pack(self, shards: Iterable[str]) -> dict[str, str]:
        """The plan, and all that is known of some shards, as texts by the names of their files."""
        return {name: path.read_text() for name in _packed(shards) if (path := self.folder / name).exists()}

    def unpack(self, files: Mapping[str, str], shards: Iterable[str]) -> None:
        """Take over what another journal of the same plan packed, of some shards.

        Raises:
            CannotRun: where it is anything else, or too much.
        """
        names = _packed(shards)
        for name, content in files.items():
            if name not in names or not isinstance(content, str) or len(content) > _MOST_CHARACTERS:
                told = f"{type(content).__name__}, {len(content)} long" if isinstance(content, str) else repr(content)
                raise CannotRun(f"a worker sent {name!r} ({told[:80]}), of which nothing was asked")
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole(self.folder / name, content)
        for name in files:
            if name.endswith(".json"):
                self._forget_cases(name.removesuffix(".json"))

    def done(self, shard: str, cases: dict[str, Case]) -> list[CaseResult]:
        """The cases of a shard that are done, in the order in which they were done."""
        # Where a run is resumed before the workers of the last attempt have noticed that it is gone, some cases are
        # done twice, with the same verdicts.
        path = self.folder / f"{shard}.cases"
        _cut_off_torn_end(path)
        results = _believed(path, lambda text: [CaseResult.from_json(json.loads(one), cases) for one in _lines(text)])
        return list({result.name: result for result in results}.values())

    def add(self, shard: str, result: CaseResult) -> None:
        """Note that a case is done."""
        _append(self.folder / f"{shard}.cases", result.to_json())

    def deaths(self, shard: str) -> list[Death]:
        """The checks of a shard that the process did not survive."""
        path = self.folder / f"{shard}.deaths"
        _cut_off_torn_end(path)
        return _believed(path, lambda text: [Death(**json.loads(line)) for line in _lines(text)])

    def add_death(self, shard: str, death: Death) -> None:
        """Note that the process did not survive a check; what it may have said of the whole shard is not believed."""
        (self.folder / f"{shard}.json").unlink(missing_ok=True)
        _append(self.folder / f"{shard}.deaths", asdict(death))

    def finish(self, result: ShardResult) -> None:
        """Note that a shard is done."""
        write_whole(self.folder / f"{result.shard}.json", _json(result.to_json()))
        self._forget_cases(result.shard)

    def _forget_cases(self, shard: str) -> None:
        for ending in ("cases", "deaths"):
            (self.folder / f"{shard}.{ending}").unlink(missing_ok=True)

    def results(self, plan: Plan, shards: Iterable[str] | None = None) -> list[ShardResult]:
        """What came of shards of a plan, of all unless they are named, those included of which only a part is done."""
        found = []
        for shard in plan.shards if shards is None else shards:
            path = self.folder / f"{shard}.json"
            if path.exists():
                found.append(_believed(path, lambda text: ShardResult.from_json(json.loads(text))))
                known = {prop.name for prop in (*plan.properties, *plan.owners, *plan.told)}
                if found[-1].shard != shard or not found[-1].tallies.keys() <= known:
                    raise CannotRun(f"{path} is damaged: it is about {found[-1].shard!r}, or about another run")
            elif (self.folder / f"{shard}.cases").exists():
                found.append(gather(shard, self.done(shard, plan.cases_of(shard))))
        return found


def _packed(shards: Iterable[str]) -> list[str]:
    """The names of the files that tell of some shards."""
    return ["plan.json", *(f"{shard}.{ending}" for shard in shards for ending in ("cases", "deaths", "json"))]


def _append(path: Path, data: Any) -> None:
    """One line, in one write: a process that is killed leaves it whole or, at worst, torn at the end of the file."""
    with written(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            line = _json(data).encode()
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)


def _json(data: Any) -> str:
    return json.dumps(data) + "\n"


def _cut_off_torn_end(path: Path) -> None:
    """So that whatever is appended next begins a line."""
    with written(path):
        content = path.read_bytes() if path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)


def _lines(text: str) -> list[str]:
    return text.splitlines()


def _believed(path: Path, read: Callable[[str], Read]) -> Read:
    """What a file says, once it is found to make sense; nothing is written, nothing is left out.

    Raises:
        CannotRun: where it does not.
    """
    try:
        return read(path.read_text() if path.exists() or path.name == "plan.json" else "")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecordError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise CannotRun(f"{path} cannot be read, or is damaged: {told}") from error
