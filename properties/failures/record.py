"""A failed case as a file: JSON, read as data alone, and believed as far as its schema and the case's own checks go."""

import functools
import hashlib
import json
import os
import platform
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, Self

import torch

from properties.cases import generator
from properties.cases.case import Case
from properties.cases.domain import Domain, DomainError
from properties.cases.error import CaseError
from properties.cases.history import History
from properties.laws import LAWS
from properties.laws.law import Law
from properties.laws.own import laws_from, place_of
from properties.laws.retired import RETIRED
from properties.trials.declaration import Declared
from properties.trials.implementation import CannotRun, Implementation
from properties.trials.verdict import Failed, Place

# The newest; a record is of the oldest that can hold its case (see ``Case.format``), for earlier versions to read.
FORMAT = 3
# A record is a page of text; what is larger is none.
_MOST_BYTES = 100_000
_MOST_SHOWN = 200
_MOST_KEPT = 1000
_VERDICT = tuple(member.name for member in fields(Failed))


class RecordError(ValueError):
    """A file is no record that this version can read; the message is one line."""


def versions() -> dict[str, str]:
    """What the cases of a seed, and verdicts on them, depend on besides this package."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "hypothesis": version("hypothesis"),
    }


@dataclass(frozen=True)
class Record:
    """One property that failed on one case of one implementation: what was observed there, and where it comes from.

    ``shard`` is the part of the run in which the case, or the larger one that it was shrunk from, was found; ``domain``
    what the run was told that the layer is for.
    """

    prop: Law
    implementation: str
    device: str
    case: Case
    verdict: Failed
    cause: str
    run_seed: int
    shard: str
    versions: dict[str, str] = field(default_factory=versions)
    domain: Domain | None = None

    def declared(self, implementation: Implementation) -> Implementation:
        """An implementation with the domain that the run was given, where it was given one."""
        return implementation if self.domain is None else Declared(implementation, self.domain)

    @property
    def filename(self) -> str:
        """The property, and a hash of what makes this another failure than others: the same failure, the same name."""
        identity = json.dumps([self.prop.name, self.implementation, self.device, self.case.to_json()], sort_keys=True)
        return f"{self.prop.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.json"

    def to_json(self) -> dict[str, Any]:
        """As plain data that ``json`` can write and the schema describes."""
        where = self.verdict.where
        return {
            "format": self.case.format,
            "property": self.prop.name,
            **({"law": place} if (place := place_of(self.prop)) else {}),
            **({"domain": self.domain.to_json()} if self.domain else {}),
            "clauses": list(self.prop.clauses),
            "implementation": self.implementation,
            "device": self.device,
            "flags": {
                "tf32": self.case.tf32 and self.device.startswith("cuda"),
                "autocast": self.prop.autocast,
                "compile": self.prop.on == "compiled",
            },
            "case": self.case.to_json(),
            "generator": generator.VERSION,
            "verdict": {
                **{name: printable(getattr(self.verdict, name), _MOST_KEPT) for name in _VERDICT},
                "place": {"tensor": where.tensor, "index": list(where.index)} if isinstance(where, Place) else None,
            },
            "cause": printable(self.cause, _MOST_KEPT),
            "run_seed": self.run_seed,
            "shard": self.shard,
            "versions": self.versions,
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The record that plain data describes.

        Raises:
            RecordError: where the data are of another format, do not fit the schema, or hold no valid case.
        """
        _check(data)
        assert isinstance(data, dict)
        return cls.believed(data)

    @classmethod
    def believed(cls, data: dict[str, Any]) -> Self:
        """The record that the harness itself has just made as plain data, which needs no schema.

        Raises:
            RecordError: where it holds no valid case.
        """
        if "law" in data:
            try:
                return cls._of_law(laws_from(data["law"])[0], data, None)
            except CannotRun as error:
                raise RecordError(f"is of a law that is not there: {printable(error)}") from error
        name, history = data["property"], None
        if name in RETIRED:
            law, history = RETIRED[name]
            name = law.name
        props = [prop for prop in LAWS if prop.name == name]
        if not props:
            raise RecordError(f"is of the property {data['property']!r}, which this version does not have")
        return cls._of_law(props[0], data, history)

    @classmethod
    def _of_law(cls, prop: Law, data: dict[str, Any], history: History | None) -> Self:
        try:
            case = Case.from_json(data["case"])
            case = case if history is None else replace(case, history=history)
            domain = Domain.from_json(data["domain"]) if "domain" in data else None
        except (CaseError, DomainError) as error:
            raise RecordError(f"holds no valid case: {printable(error)}") from error
        verdict = dict(data["verdict"])
        place = verdict.pop("place")
        if place is not None:
            axes = 1 if place["tensor"] == "bias" else case.spec.data_dim + 2
            if len(place["index"]) != axes:
                raise RecordError(f"names a place in the {place['tensor']} by {len(place['index'])} of {axes} indices")
            verdict["where"] = Place(place["tensor"], tuple(place["index"]))
        return cls(
            prop,
            data["implementation"],
            data["device"],
            case,
            Failed(**verdict),
            data["cause"],
            data["run_seed"],
            data["shard"],
            data["versions"],
            domain,
        )


def write_record(folder: Path, record: Record) -> Path:
    """Write a record as JSON, whole or not at all, and return its file.

    One that is there already stays as it is: it is the same failure, first seen earlier.

    Raises:
        RecordError: where it cannot be written, or could not be read again; then there is no file.
    """
    path = folder / record.filename
    if path.exists():
        return path
    # The name ends otherwise than a record's: what a crash leaves behind is not taken for one.
    temporary = folder / f".{path.stem}-{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8") as file:
            json.dump(record.to_json(), file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        # Without jsonschema by the case's own checks alone.
        read_record(temporary) if find_spec("jsonschema") else Record.believed(json.loads(temporary.read_text()))
        temporary.replace(path)
    except RecordError as error:
        raise RecordError(f"{printable(path)} was not written, since it could not be read again: it {error}") from error
    except OSError as error:
        raise RecordError(f"{printable(path)} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        RecordError: where the file cannot be read, is damaged, or is of a version that this one does not know, or where
            jsonschema is not installed.
    """
    return Record.from_json(_parse(_content(path)))


def record_files(paths: Iterable[Path]) -> list[Path]:
    """The files among some files and folders that are, or should be, records: in a folder, whatever ends in .json."""
    found: list[Path] = []
    for path in paths:
        # A link is not followed, and what cannot be listed is no folder: reading it says so.
        try:
            is_folder = path.is_dir() and not path.is_symlink()
            found += sorted(entry for entry in path.iterdir() if entry.suffix == ".json") if is_folder else [path]
        except OSError:
            found.append(path)
    return found


def read_folder(folder: Path | None) -> tuple[dict[str, Record], list[str]]:
    """All records of a folder by file name, and a line for each file that is none; nothing where there is no folder."""
    records, problems = {}, []
    for path in record_files([folder]) if folder is not None and folder.is_dir() else ():
        try:
            records[path.name] = read_record(path)
        except RecordError as error:
            problems.append(f"{printable(path)} {error}")
    return records, problems


def printable(text: object, most: int = _MOST_SHOWN) -> str:
    """Text from outside on one line of at most so many characters: no control characters, no lone surrogates."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))
    return line if len(line) <= most else f"{line[:most]} ..."


def _content(path: Path) -> bytes:
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise RecordError("is a symbolic link, which is not followed: name the file itself")
        if not stat.S_ISREG(status.st_mode):
            raise RecordError("is a directory" if stat.S_ISDIR(status.st_mode) else "is no regular file")
        if status.st_size > _MOST_BYTES:
            raise RecordError(f"is no record: it holds {status.st_size} bytes, more than {_MOST_BYTES}")
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except FileNotFoundError as error:
        raise RecordError("does not exist") from error
    except OSError as error:
        raise RecordError(f"cannot be read: {error.strerror}") from error


def _parse(content: bytes) -> object:
    try:
        data: object = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unlike_keys,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except RecursionError:
        raise RecordError("is no record: it is nested too deeply") from None
    except RecordError:
        raise
    except ValueError as error:
        raise RecordError(f"is not valid JSON: {printable(error)}") from error
    return data


def _unlike_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RecordError(f"is no record: it names {printable(repr(twice))} twice in one object")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise RecordError(f"is no record: it holds the number {printable(text)}, but all numbers of a record are integers")


def _check(data: object) -> None:
    """Refuse what does not fit, what is newer first: of that nothing more can be said."""
    found = data.get("format") if isinstance(data, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise RecordError(f"is of format {printable(found)}, newer than {FORMAT}, the newest that this version reads")
    # Not where this is imported: whoever only runs, and writes records, does without it.
    try:
        from jsonschema.exceptions import best_match
    except ImportError as error:
        raise RecordError("cannot be read without jsonschema: pip install jsonschema") from error
    problem = best_match(_validator().iter_errors(data))
    if problem is not None:
        at = problem.json_path.removeprefix("$").removeprefix(".") or "the whole"
        raise RecordError(f"does not fit the schema of a record: {printable(at)}: {printable(problem.message)}")
    assert isinstance(data, dict)
    if data["generator"] != generator.VERSION:
        raise RecordError(
            f"needs version {data['generator']} of the generator of values; this is version {generator.VERSION}"
        )


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend

    def whole_pattern(_: object, pattern: str, text: object, __: object) -> Iterator[ValidationError]:
        """In a schema ``$`` is the very end of a text; in Python one newline may come after it."""
        if isinstance(text, str) and not re.fullmatch(pattern, text):
            yield ValidationError(f"{text!r} does not match {pattern!r}")

    schema = json.loads(files("properties.failures").joinpath("record.schema.json").read_text("utf-8"))
    return extend(Draft202012Validator, {"pattern": whole_pattern})(schema)  # type: ignore[no-untyped-call]
