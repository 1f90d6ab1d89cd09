"""Options in the ``pyproject.toml`` of the project that is worked on, and the laws of an earlier version."""

from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

import properties.runs.plan
import properties.runs.selection
from properties import CannotRun, verify
from properties.cases.domain import Domain
from properties.command.main import main
from properties.laws import LAWS
from properties.runs.configuration import configured
from properties.runs.plan import Plan, make_plan
from tests.helpers.printed import unfolded

pytest_plugins = ["pytester"]

CHEAP = 'cases = 6\nonly = ["homogeneous"]\nseed = 7\nstrength = 0\ndtypes = "float64"\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pyproject.toml of a project; the current folder is one in it."""
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    return tmp_path / "pyproject.toml"


def test_every_kind_of_value(project: Path) -> None:
    project.write_text(
        "[tool.patchify]\n"
        'implementation = "a:B"\ncases = 7\nonly = ["values_exact", "C8"]\ndata-dims = [1, 2]\nno-compile = true\n'
        'fail-fast = false\njson = "out.json"\nshards = 3\nbudget = "10m"\ncase-timeout = 0.5\n'
        '[tool.patchify.expected-failure]\nvalues_exact = "a known bug"\n[tool.patchify.domain]\ndata_dims = [2]\n'
    )
    of_run = configured("run")
    assert of_run == {
        "implementation": "a:B",
        "cases": 7,
        "only": ["values_exact", "C8"],
        "data_dims": [1, 2],
        "no_compile": True,
        "fail_fast": False,
        # Beside the file that names it.
        "json": project.with_name("out.json"),
        "budget": 600.0,
        "case_timeout": 0.5,
        "expected_failure": [("values_exact", "a known bug")],
        "domain": Domain(data_dims=(2,)),
    }
    only_of_run = {"budget", "fail_fast"}
    assert configured("pytest") == {
        "shards": 3,
        **{name: value for name, value in of_run.items() if name not in only_of_run},
    }


def test_the_nearest_file_with_the_table_counts(project: Path) -> None:
    assert configured("run") == {}
    project.write_text("[tool.patchify]\ncases = 7\n")
    Path("pyproject.toml").write_text("[tool.other]\n")
    assert configured("run") == {"cases": 7}
    Path("pyproject.toml").write_text("[tool.patchify]\ncases = 8\n")
    assert configured("run") == {"cases": 8}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nope = 1", "names 'nope', which is none of: implementation, profile, "),
        ('resume = "folder"', "names 'resume', which is none of: "),
        ('cases = "many"', "argument --cases: invalid int value: 'many'"),
        ("cases = true", "cases cannot be True"),
        ("cases = 2026-01-01", "cases cannot be datetime.date(2026, 1, 1)"),
        ("no-compile = 1", "argument --no-compile: ignored explicit argument '1'"),
        ('level = "high"', "argument --level: invalid choice: 'high'"),
        ("domain = {data_dims = [4]}", "argument --domain: "),
        ("cases = 1\ncases = 2", "cannot be read: Cannot overwrite a value"),
        ('only = "\udcff"', "cannot be read: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_nonsense_is_refused_in_a_line(
    project: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    project.write_text(f"[tool.patchify]\n{line}\n", errors="surrogateescape")
    with pytest.raises(CannotRun) as refused:
        configured("run")
    assert message in str(refused.value)
    assert str(project) in str(refused.value)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--cases", "1"])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("text", ["tool = 3\n", "[tool]\nother = 3\n"])
def test_other_tools_are_left_alone(project: Path, text: str) -> None:
    project.write_text(text)
    assert configured("run") == {}


def test_what_is_no_table_is_refused(project: Path) -> None:
    project.write_text("[tool]\npatchify = 3\n")
    with pytest.raises(CannotRun, match=r"\[tool.patchify\] in .*pyproject.toml must be a table, got 3"):
        configured("run")


def test_the_command_line_counts_more(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_text(f"[tool.patchify]\n{CHEAP}")
    assert main(["run", "--cases", "9", "--jobs", "1"]) == 0
    lines = unfolded(capsys.readouterr().out)
    assert lines[1] == "from [tool.patchify]: only, seed, strength, dtypes"
    assert lines[-1] == "PASSED: patchify:Patchify: 1 of 1 properties held in 9 checks on 9 cases (run seed 7)"
    assert main(["merge", "nowhere"]) == 2


def test_what_repeats_a_failure_says_what_is_configured(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_text(f'[tool.patchify]\nscope-margin = 1\nimplementation = "tests.mutants.forward:Negated"\n{CHEAP}')
    name = "tests.mutants.forward:BiasAddedTwice"
    words = ["run", "--implementation", name, "--only", "zero_input_gives_bias", "--scope-margin", "0"]
    assert main([*words, "--jobs", "1", "--no-shrink"]) == 1
    (again,) = (line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  replay"))
    assert again[1:] == (
        f"patchify-verify run --implementation {name} --seed 7 --cases 6 --only zero_input_gives_bias --dtypes float64 "
        "--strength 0 --scope-margin 0"
    ).split(" ")


def test_pytest_takes_it_where_it_judges_the_contract(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(f"[tool.patchify]\n{CHEAP}")
    command = ("--pyargs", "properties", "-p", "no:cacheprovider", "--patchify-cases", "9")
    for result in (pytester.runpytest_inprocess(*command), pytester.runpytest_subprocess(*command, "-n", "1")):
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            [
                "patchify: run seed 7: patchify:Patchify on cpu, float64, level contract, 9 random cases and the *; "
                "from [[]tool.patchify[]]: only, seed, strength, dtypes",
                "PASSED: patchify:Patchify: 1 of 1 properties held in 9 checks on 9 cases (run*",
            ]
        )
    pytester.makepyprojecttoml("[tool.patchify]\nnope = 1\n")
    result = pytester.runpytest_inprocess(*command)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: [[]tool.patchify[]] in *pyproject.toml names 'nope', *"])
    pytester.makepyfile("def test_own():\n    pass\n")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_no_law_is_of_a_version_to_come() -> None:
    installed = metadata.version("patchify-harness").split(".")
    assert all([int(part) for part in prop.since.split(".")] <= [int(part) for part in installed[:2]] for prop in LAWS)


def test_laws_of_an_earlier_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A law that came later is left out, and the report says so."""
    later = tuple(replace(prop, since="1.4") if prop.name == "homogeneous" else prop for prop in LAWS)
    monkeypatch.setattr(properties.runs.plan, "LAWS", later)
    monkeypatch.setattr(properties.runs.selection, "LAWS", later)

    def judged(laws_version: str | None) -> Plan:
        return make_plan("patchify:Patchify", only=["C7"], laws_version=laws_version)

    def names(plan: Plan) -> set[str]:
        return {prop.name for prop in plan.properties}

    pinned = judged("1.3.7")
    assert names(judged(None)) - names(pinned) == {"homogeneous"}
    assert pinned.left_out == {"homogeneous": "since version 1.4"}
    assert Plan.from_json(pinned.to_json()) == pinned
    assert names(judged("1.4")) == names(judged(None))
    report = verify(
        "patchify:Patchify", laws_version="1.0", cases=2, strength=0, jobs=0, only=["zero_input_gives_bias"]
    )
    assert report.passed
    with pytest.raises(CannotRun, match=r"laws_version is '1.5'; this harness has the laws of versions 0.1 to 1.4"):
        judged("1.5")
    with pytest.raises(CannotRun, match=r"laws_version must be a version of the harness, such as 0.1, got 'new'"):
        judged("new")
