"""Records: what they hold, how they are written, and how whatever is no record is refused, in one line."""

import errno
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patchify import Patchify
from properties.cases import case
from properties.cases.case import Backward, Case, Fill, Input, Spec
from properties.cases.drawing import draw_cases
from properties.failures.record import FORMAT, Record, RecordError, _validator, read_record, record_files, write_record
from properties.laws import LAWS
from properties.runs.outputs import write_whole
from properties.runs.plan import make_plan
from properties.trials.implementation import CannotRun
from properties.trials.verdict import Failed, Place

BY_NAME = {prop.name: prop for prop in LAWS}
RECORD = Record(
    BY_NAME["input_gradient_exact"],
    "package.layers:Wrong",
    "cpu",
    Case(
        Spec(2, 3, 2, 2, stride=3, bias=True),
        Input(2, (5, 6), "float32", "sliced"),
        Fill("exact", 4),
        "channels_last",
        Backward(("input", "weight"), "expanded"),
    ),
    Failed("3 of 120 values are wrong", Place("input", (1, 4, 5, 0)), "3", "0", "0: integers compare bitwise"),
    "the gradient of the input reaches pixels that no window covers",
    7,
    "random3",
)


def written(tmp_path: Path, **changes: Any) -> Path:
    """The record with other members, as a file."""
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**RECORD.to_json(), **changes}))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(RecordError) as caught:
        read_record(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_members() -> None:
    data = RECORD.to_json()
    assert list(data) == [
        *("format", "property", "clauses", "implementation", "device", "flags", "case", "generator", "verdict"),
        *("cause", "run_seed", "shard", "versions"),
    ]
    assert (data["format"], data["property"], data["clauses"]) == (1, "input_gradient_exact", ["C11", "C9", "C10"])
    assert data["flags"] == {"tf32": False, "autocast": False, "compile": False}
    assert data["verdict"] == {
        "what": "3 of 120 values are wrong",
        "where": "sample 1, pixel (4, 5), channel 0",
        "observed": "3",
        "expected": "0",
        "bound": "0: integers compare bitwise",
        "place": {"tensor": "input", "index": [1, 4, 5, 0]},
    }
    assert list(data["versions"]) == ["python", "torch", "hypothesis"]


def test_flags() -> None:
    with_tf32 = replace(RECORD, device="cuda", case=replace(RECORD.case, tf32=True))
    assert with_tf32.to_json()["flags"]["tf32"]
    assert not replace(with_tf32, device="cpu").to_json()["flags"]["tf32"]
    assert replace(RECORD, prop=BY_NAME["runs_under_autocast"]).to_json()["flags"]["autocast"]
    assert replace(RECORD, prop=BY_NAME["compiled_values"]).to_json()["flags"]["compile"]


@pytest.mark.parametrize("prop", LAWS, ids=lambda prop: prop.name)
def test_round_trip(tmp_path: Path, prop: Any) -> None:
    for number, drawn in enumerate(draw_cases(f"records/{prop.name}", 5, tuple(case.DTYPES))):
        record = replace(
            RECORD, prop=prop, case=drawn, verdict=Failed("it is wrong", Place("bias", (number,)), "ä", "1", "0.5")
        )
        assert read_record(write_record(tmp_path, record)) == record


def test_what_a_layer_says_is_kept_printable(tmp_path: Path) -> None:
    loud = Failed(
        "forward raised an exception", observed="\x1b[31mError\x1b[0m: \udcff" + 5000 * "a", expected="no\nne"
    )
    record = read_record(write_record(tmp_path, replace(RECORD, verdict=loud)))
    assert record.verdict.observed == r"\x1b[31mError\x1b[0m: \udcff" + 972 * "a" + " ..."
    assert record.verdict.expected == r"no\nne"


def test_schema_and_case_allow_the_same() -> None:
    schema: Any = _validator().schema
    _validator().check_schema(schema)
    members = schema["properties"]["case"]["properties"]
    spec, given = members["spec"]["properties"], members["input"]["properties"]
    assert given["dtype"]["enum"] == list(case.DTYPES)
    assert given["layout"]["enum"] == list(case.LAYOUTS)
    assert members["fill"]["properties"]["name"]["enum"] == list(case.FILLS)
    assert members["weight_layout"]["enum"] == list(case.WEIGHT_LAYOUTS)
    assert members["compiled"]["enum"] == list(case.COMPILED)
    assert members["backward"]["properties"]["requires_grad"]["items"]["enum"] == list(case.PARAMETERS_AND_INPUT)
    assert members["backward"]["properties"]["cotangent"]["enum"] == list(case.COTANGENTS)
    assert spec["patch_size"]["maximum"] == given["batch"]["maximum"] == case.MAX_ELEMENTS
    assert members["fill"]["properties"]["seed"]["maximum"] == case.MAX_SEED


def test_same_failure_same_file(tmp_path: Path) -> None:
    path = write_record(tmp_path, RECORD)
    before = path.read_bytes()
    # Found again in another run, by another version: it is known already, and the file is left as it is.
    assert write_record(tmp_path, replace(RECORD, run_seed=8, shard="small1D", versions={})) == path
    assert path.read_bytes() == before
    others = [
        replace(RECORD, prop=BY_NAME["values_exact"]),
        replace(RECORD, implementation="package.layers:Other"),
        replace(RECORD, device="cuda"),
        replace(RECORD, case=replace(RECORD.case, fill=Fill("exact", 5))),
    ]
    assert len({path, *(write_record(tmp_path, other) for other in others)}) == 5


def _write_many(folder: Path) -> None:
    for seed in range(40):
        write_record(folder, replace(RECORD, case=replace(RECORD.case, fill=Fill("exact", seed))))


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a record nor a report leaves anything behind that is not whole, and both say what is wrong."""

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RecordError, match=r"\w+\.json cannot be written: No space left on device"):
        write_record(tmp_path, RECORD)
    with pytest.raises(CannotRun, match=r"report\.json cannot be written: No space left on device"):
        write_whole(tmp_path / "report.json", "{}")
    assert not any(tmp_path.iterdir())


def test_several_processes_write_one_folder(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_write_many, [tmp_path] * 4))
    assert len(list(tmp_path.iterdir())) == len({read_record(path).case for path in tmp_path.iterdir()}) == 40


DEEP = 100_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"{", "is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"\xff\xfe", "is not valid JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"null", "does not fit the schema of a record: the whole: None is not of type 'object'"),
        (b"[1]", "does not fit the schema of a record: the whole: [1] is not of type 'object'"),
        (b"[" * 50_000 + b"]" * 50_000, "is no record: it is nested too deeply"),
        (b'{"a":' * 15_000 + b"1" + b"}" * 15_000, "is no record: it is nested too deeply"),
        (b'{"format": 1, "format": 2}', "is no record: it names 'format' twice in one object"),
        (b'{"format": NaN}', "is no record: it holds the number NaN, but all numbers of a record are integers"),
        (b'{"format": 1e999}', "is no record: it holds the number 1e999, but all numbers of a record are integers"),
        (b"[" + b"1" * 5000 + b"]", "is not valid JSON: Exceeds the limit (4300 digits) for integer string conversion"),
        (b'{"format": 4}', "is of format 4, newer than 3, the newest that this version reads"),
    ],
)
def test_damaged(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    assert refusal(path).startswith(reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": FORMAT + 1, "more": []}, "is of format 4, newer than 3, the newest that this version reads"),
        ({"property": "no_such"}, "is of the property 'no_such', which this version does not have"),
        ({"generator": 2}, "needs version 2 of the generator of values; this is version 1"),
        ({"more": 1}, "the whole: Additional properties are not allowed ('more' was unexpected)"),
        ({"property": "\x1b[2J"}, r"property: '\x1b[2J' does not match"),
        ({"implementation": "os"}, "implementation: 'os' does not match"),
        ({"implementation": ["a:b"]}, "implementation: ['a:b'] is not of type 'string'"),
        ({"device": "cpu; rm"}, "device: 'cpu; rm' does not match"),
        ({"device": "cpu\n"}, r"device: 'cpu\n' does not match"),
        ({"cause": "two\nlines"}, r"cause: 'two\nlines' does not match"),
        ({"run_seed": -1}, "run_seed: -1 is less than the minimum of 0"),
        ({"run_seed": True}, "run_seed: True is not of type 'integer'"),
        ({"case": {}}, "case: 'spec' is a required property"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    assert reason in refusal(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch": 2**60}, "case.input.batch: 1152921504606846976 is greater than the maximum of 16777216"),
        ({"sizes": [2**24, 2**24]}, "holds no valid case: the input would hold "),
        ({"sizes": [5] * 1000}, "case.input.sizes: [5, 5, 5,"),
        ({"sizes": [5]}, "holds no valid case: input.sizes must have data_dim = 2 entries, got [5]"),
        ({"sizes": [5, "6"]}, "case.input.sizes[1]: '6' is not of type 'integer'"),
        ({"dtype": "float128"}, "case.input.dtype: 'float128' is not one of ['float64',"),
    ],
)
def test_hostile_cases(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    data = RECORD.to_json()["case"]
    line = refusal(written(tmp_path, case={**data, "input": {**data["input"], **changes}}))
    assert reason in line
    assert len(line) < 400


def test_place_of_another_number_of_axes(tmp_path: Path) -> None:
    verdict = {**RECORD.to_json()["verdict"], "place": {"tensor": "weight", "index": [1]}}
    assert refusal(written(tmp_path, verdict=verdict)) == "names a place in the weight by 1 of 4 indices"


def test_what_is_no_file(tmp_path: Path) -> None:
    good = write_record(tmp_path, RECORD)
    (tmp_path / "link.json").symlink_to(good)
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(200_000_000)
    link = "is a symbolic link, which is not followed: name the file itself"
    assert {path.name: refusal(path) for path in record_files([tmp_path]) if path != good} == {
        "link.json": link,
        "dangling.json": link,
        "folder.json": "is a directory",
        "pipe.json": "is no regular file",
        "large.json": "is no record: it holds 200000000 bytes, more than 100000",
    }
    assert refusal(tmp_path / "absent.json") == "does not exist"


def test_unreadable_record_stops_a_run_before_it_starts(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    (tmp_path / "one.json").write_text("{")
    (tmp_path / "two.json").write_text('{"format": 4}')
    with pytest.raises(ValueError, match="records") as caught:
        make_plan(Patchify, regressions=tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "some of the records to replay first cannot be read:"
    assert lines[1].startswith(f"  {tmp_path}/one.json is not valid JSON: ")
    assert lines[2].startswith(f"  {tmp_path}/two.json is of format 4, newer than 3")
    assert len(lines) == 3
