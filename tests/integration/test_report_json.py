"""The report as JSON fits its schema, and says what the report says."""

import json
from importlib.resources import files
from pathlib import Path

from jsonschema import Draft202012Validator

from properties.command.main import main
from properties.reports.json import report_json, write_report
from properties.runs.verify import run
from tests.integration.test_local_workers import plan_of

SCHEMA = json.loads(files("properties.reports").joinpath("report.schema.json").read_text("utf-8"))


def test_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_wrong_layer(tmp_path: Path) -> None:
    wrong = "tests.mutants.forward:BiasAddedTwice"
    plan = plan_of(wrong, cases=60, expected_failures={"homogeneous": "a known bug"})
    report = run(plan, regressions=tmp_path / "records")
    write_report(report, json_file=tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text())
    Draft202012Validator(SCHEMA).validate(data)
    assert data == report_json(report)
    assert (data["passed"], data["verdict"], data["run_seed"], data["cases"]) == (False, report.verdict_line, 7, 60)
    assert data["checks"] == sum(member["passed"] + member["failed"] for member in data["properties"])
    expected = {member["name"]: member["expected_failure"] for member in data["properties"]}
    assert expected == {"homogeneous": "a known bug", "zero_input_gives_bias": None}
    assert [member["fails_below"] for member in data["properties"]] == [None, None]
    (record,) = (tmp_path / "records").iterdir()
    assert [(member["property"], member["record"]) for member in data["failures"]] == [
        ("zero_input_gives_bias", str(record)),
        ("homogeneous", None),
    ]
    pairs = data["coverage"]["pairs"]
    assert pairs["possible"] == pairs["reached"] + len(pairs["missing"])
    assert pairs["possible"] > pairs["reached"] > 1000


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    cheap = ("--cases", "20", "--seed", "7", "--only", "homogeneous", "--strength", "0")
    assert main(["run", *cheap, "--json", str(path)]) == 0
    data = json.loads(path.read_text())
    Draft202012Validator(SCHEMA).validate(data)
    # The rule of three.
    (member,) = data["properties"]
    assert (member["passed"], member["fails_below"]) == (19, 3 / 19)
