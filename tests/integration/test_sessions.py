"""Sessions of pytest: groups of shards, xdist, JUnit and JSON; profiles and seeds; layers that crash."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.integration.test_plugin import LAYERS, run, run_apart, table

pytest_plugins = ["pytester"]

CRASHES = """
class Crashes(patchify.Patchify):
    def forward(self, x):
        if x.shape[0] >= 3:
            import ctypes
            ctypes.string_at(0)
        return super().forward(x)
"""
CHEAP = (
    *("--patchify-seed", "7", "--patchify-only", "zero_input_gives_bias,homogeneous"),
    *("--patchify-strength", "0", "--patchify-dtypes", "float64"),
)
WRONG = ("--patchify-implementation", "layers:BiasTwice")


@pytest.fixture(autouse=True)
def _layers(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(layers=LAYERS + CRASHES)


def test_groups_of_shards_do_not_change_the_run(pytester: pytest.Pytester) -> None:
    arguments = (*CHEAP, *WRONG, "--patchify-cases", "200")
    alone = run(pytester, *arguments, "-v")
    alone.assert_outcomes(failed=8)
    files = ("--junitxml", "junit.xml", "--patchify-json", "report.json", "--patchify-regressions", "records")
    shared = run(pytester, *arguments, "--patchify-shards", "3", "-n", "2", "-v", *files)
    shared.assert_outcomes(failed=6)
    records = sorted((pytester.path / "records").iterdir())
    # One for each property that failed, however many workers found it to fail.
    assert [re.sub("-.*", "", path.name) for path in records] == ["homogeneous", "zero_input_gives_bias"]
    told = [line for line in table(shared) if "patchify-verify replay" not in line]
    assert told == table(alone)
    assert told[-1] == "FAILED: layers:BiasTwice: 0 of 2 properties held in 386 checks on 200 cases (run seed 7)"
    _check_workers(shared.outlines)
    _check_junit(pytester.path / "junit.xml")
    report = json.loads((pytester.path / "report.json").read_text())
    assert (report["verdict"], report["checks"]) == (told[-1], 386)
    assert {pytester.path / member["record"] for member in report["failures"]} == set(records)


def test_stops_at_the_first_failure(pytester: pytest.Pytester) -> None:
    """The shard was run for all properties, so the report has the other failure, too."""
    result = run(pytester, *CHEAP, *WRONG, "--patchify-cases", "60", "-x", "--patchify-regressions", "records")
    result.assert_outcomes(failed=1)
    assert table(result)[-1] == "FAILED: layers:BiasTwice: 0 of 2 properties held in 98 checks on 50 cases (run seed 7)"
    assert len(list((pytester.path / "records").iterdir())) == 2


def _check_workers(lines: list[str]) -> None:
    """Each group of shards was run by one worker, though there were two."""
    told = [re.match(r"\[(gw\d)\] .* FAILED .*test_property\[\w+-(\dof3)\]", line) for line in lines]
    ran = {(found[1], found[2]) for found in told if found}
    assert len(ran) == 3
    assert {worker for worker, _ in ran} == {"gw0", "gw1"}


def _check_junit(path: Path) -> None:
    """Every item is a test case with its own failure, and says how many checks it stands for."""
    (suite,) = ElementTree.parse(path).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("6", "6", "0")
    cases = suite.findall("testcase")
    assert sorted(case.get("name", "") for case in cases) == [
        f"test_property[{name}-{number}of3]"
        for name in ("homogeneous", "zero_input_gives_bias")
        for number in (1, 2, 3)
    ]
    counts = [
        {member.get("name"): member.get("value") for member in case.iterfind("properties/property")} for case in cases
    ]
    assert {count["run_seed"] for count in counts} == {"7"}
    assert sum(int(count["checks"] or 0) for count in counts) == 386
    for case in cases:
        (failure,) = case.findall("failure")
        assert " failed: " in (failure.text or "")


def test_layer_that_ends_its_process(pytester: pytest.Pytester) -> None:
    arguments = (*CHEAP, "--patchify-implementation", "layers:Crashes", "--patchify-cases", "60")
    result = run(pytester, *arguments, "--patchify-regressions", "records")
    result.assert_outcomes(failed=4)
    records = [json.loads(path.read_text()) for path in (pytester.path / "records").iterdir()]
    assert [record["cause"] for record in records] == ["layers:Crashes ends the process that it runs in"] * 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "300 random cases"),
        (("--patchify-profile", "ci"), "3000 random cases"),
        (("--hypothesis-profile", "nightly"), "50000 random cases"),
        (("--hypothesis-profile", "ci", "--patchify-cases", "5"), "5 random cases"),
    ],
)
def test_profiles(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.setenv("CI", "true")
    result = run_apart(pytester, "--collect-only", *CHEAP[2:], *arguments)
    (header,) = [line for line in result.outlines if line.startswith("patchify: run seed ")]
    assert told in header


def test_fresh_cases_every_time_under_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    seeds = set()
    for _ in range(2):
        result = run_apart(pytester, "--collect-only", *CHEAP[2:], "--hypothesis-profile", "ci")
        found = re.search(r"^patchify: run seed (\d+): ", result.stdout.str(), flags=re.MULTILINE)
        assert found
        seeds.add(found[1])
    assert len(seeds) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--patchify-seed", "7", "--hypothesis-seed", "8"),
            "ERROR: --hypothesis-seed beside --patchify-seed: it would give all shards the same cases, *",
        ),
        (
            ("--patchify-profile", "ci", "--hypothesis-profile", "nightly"),
            "ERROR: --patchify-profile is ci, but --hypothesis-profile is nightly",
        ),
    ],
)
def test_options_that_do_not_fit(pytester: pytest.Pytester, arguments: tuple[str, ...], message: str) -> None:
    result = run_apart(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_hypothesis_seed_alone_changes_no_cases(pytester: pytest.Pytester) -> None:
    result = run_apart(pytester, "--collect-only", "--hypothesis-seed", "8")
    assert any(line.endswith("; --hypothesis-seed 8 changes none of its cases") for line in result.outlines)
