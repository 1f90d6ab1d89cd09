"""What ``properties.verify`` refuses before it runs anything, and in which words; and the names that it comes with."""

import re
import sys
from inspect import Parameter, signature
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

import properties
from patchify import Patchify
from properties import CannotRun, verify
from properties.laws import LAWS
from properties.runs.options import OPTIONS, Option, check_arguments
from properties.runs.outputs import check_outputs
from properties.runs.plan import make_plan
from properties.trials.implementation import resolve

NAMES = ", ".join(prop.name for prop in LAWS)
CLAUSES = ", ".join([f"C{n}" for n in range(1, 19)] + [f"H{n}" for n in range(1, 11)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ["nope"]}, f"only names 'nope', which is none of: {NAMES}, {CLAUSES}"),
        ({"only": "C7"}, "only must be a sequence of properties and clauses, at least one, got 'C7'"),
        ({"expected_failures": {"C7": "why"}}, f"expected_failures names 'C7', which is none of: {NAMES}"),
        ({"levels": ("all",)}, "levels names 'all', which is none of: contract, robust"),
        ({"levels": "robust"}, "levels must be a sequence of levels, at least one, got 'robust'"),
        ({"levels": ()}, "levels must be a sequence of levels, at least one, got ()"),
        ({"dtypes": []}, "dtypes must be a sequence of dtypes, at least one, got []"),
        ({"dtypes": ["int8"]}, "dtypes names 'int8', which is none of: float64, float32, bfloat16, float16"),
        ({"skip": ["C99"]}, f"skip names 'C99', which is none of: {NAMES}, {CLAUSES}"),
        (
            {"skip": ["runs_forward"]},
            "skip names runs_forward, judged all the same, since where it fails nothing can be said of others: "
            "expect the failure instead",
        ),
        ({"only": ["exports"], "compile": False}, "only names exports (it compiles)"),
        ({"only": ["exports"], "skip": ["H6"]}, "only names exports (skipped)"),
        ({"cases": -1}, "cases must be a number of cases, from 0 to 10,000,000, got -1"),
        ({"cases": True}, "cases must be a number of cases, from 0 to 10,000,000, got True"),
        ({"cases": 1.5}, "cases must be a number of cases, from 0 to 10,000,000, got 1.5"),
        ({"scope_margin": 9}, "scope_margin must be an integer from 0 to 8, got 9"),
        ({"scope_margin": 1.0}, "scope_margin must be an integer from 0 to 8, got 1.0"),
        ({"scope_margin": True}, "scope_margin must be an integer from 0 to 8, got True"),
        ({"strength": 1}, "strength must be 0, 2 for pairs or 3 for triples, got 1"),
        ({"strength": False}, "strength must be 0, 2 for pairs or 3 for triples, got False"),
        ({"strength": "2"}, "strength must be 0, 2 for pairs or 3 for triples, got '2'"),
        ({"seed": -1}, "seed must be an integer, at least 0, got -1"),
        ({"seed": "7"}, "seed must be an integer, at least 0, got '7'"),
        ({"budget": 0}, "budget must be a positive number of seconds, got 0"),
        ({"budget": float("nan")}, "budget must be a positive number of seconds, got nan"),
        ({"case_timeout": 0}, "case_timeout must be a positive number of seconds, got 0"),
        ({"jobs": -1}, "jobs must be a number of processes up to 1024, or 0 for this one, got -1"),
        ({"budget": "90s"}, "budget must be a positive number of seconds, got '90s'"),
        ({"device": ""}, "device must be a text such as cpu or cuda, got ''"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotRun, match=f"^{re.escape(message)}$"):
        verify(Patchify, **changes)


NONSENSE: tuple[Any, ...] = (
    *(None, "", " ", "7", "x" * 5000, "a\0b", b"x", -1, 0, 1.5, inf, nan, 10**30, True, False, object()),
    *([], ["x"], [None], ["values_exact", 7], {}, {"a": 1}, {7: "x"}),
)
# What of it makes sense.
SENSE: dict[str, tuple[Any, ...]] = {
    "seed": (None, 0, 10**30),
    "cases": (0,),
    "only": (None,),
    "skip": (None,),
    "compile": (True, False),
    "dtypes": (None,),
    "domain": (None, {}),
    "data_dims": (None,),
    "laws": (None,),
    "laws_version": (None,),
    "expected_failures": (None, {}),
    "strength": (0,),
    "scope_margin": (0,),
    "scope_sample": (10**30,),
    "regressions": (None, "7"),
    "case_timeout": (1.5, 10**30),
    "budget": (None, 1.5, 10**30),
    "shrink": (True, False),
    "fail_fast": (True, False),
    "jobs": (None, 0),
}


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.kind], ids=lambda option: option.argument)
def test_refuses_nonsense(option: Option) -> None:
    for value in NONSENSE:
        if any(type(value) is type(sense) and value == sense for sense in SENSE.get(option.argument, ())):
            check_arguments({option.argument: value})
            continue
        with pytest.raises(CannotRun) as refused:
            # Cases that are steered take seconds to choose, and some values are refused after that.
            verify(Patchify, **{"strength": 0, option.argument: value})
        assert str(refused.value).startswith(option.argument)
        assert len(str(refused.value).splitlines()) == 1


def test_arguments_are_those_that_are_declared() -> None:
    """Of ``verify``, of plans, and of plans as plain data."""
    arguments = {name: parameter.default for name, parameter in signature(verify).parameters.items()}
    declared = {option.argument: option.default for option in OPTIONS if option.argument}
    assert arguments == declared | {"implementation": Parameter.empty}
    planned = {option.argument for option in OPTIONS if option.argument and option.planned}
    assert signature(make_plan).parameters.keys() == planned | {"regressions"}
    assert make_plan(Patchify).arguments.keys() == planned


def test_plan_is_made_of_its_arguments() -> None:
    plan = make_plan(
        Patchify,
        seed=7,
        cases=3,
        only=["homogeneous", "C8"],
        dtypes=["float16"],
        levels=["robust"],
        expected_failures={"homogeneous": "why"},
        strength=0,
        scope_margin=1,
    )
    assert make_plan(**plan.arguments).to_json() == plan.to_json()


@pytest.mark.parametrize(
    ("implementation", "message"),
    [
        (3, "implementation must be callable or 'package.module:Name', got 3"),
        ("patchify", "implementation must be of the form 'package.module:Name', got 'patchify'"),
        ("patchify:", "implementation must be of the form 'package.module:Name', got 'patchify:'"),
        (":Patchify", "implementation must be of the form 'package.module:Name', got ':Patchify'"),
        (
            "absent.module:Name",
            "cannot import implementation 'absent.module:Name': ModuleNotFoundError: No module named 'absent'",
        ),
        ("patchify:Absent", "cannot import implementation 'patchify:Absent': patchify has no 'Absent'"),
        (
            "patchify:Patchify.absent",
            "cannot import implementation 'patchify:Patchify.absent': patchify has no 'Patchify.absent'",
        ),
        ("patchify:__doc__", "implementation 'patchify:__doc__' must be callable, got str"),
    ],
)
def test_refuses_implementation(implementation: Any, message: str) -> None:
    with pytest.raises(CannotRun, match=f"^{re.escape(message)}$"):
        verify(implementation)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError: invalid syntax (raising.py, line 1)"),
    ],
)
def test_refuses_module_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str) -> None:
    (tmp_path / "raising.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "raising", raising=False)
    with pytest.raises(CannotRun, match=f"^cannot import implementation 'raising:Name': {re.escape(message)}$"):
        verify("raising:Name")


def test_nested_names_and_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here_only.py").write_text("import patchify\nclass Outer:\n    Inner = patchify.Patchify\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert resolve("here_only:Outer.Inner") == (Patchify, "here_only:Outer.Inner")


@pytest.mark.parametrize("device", ["cuda:99", "toaster"])
def test_refuses_absent_device(device: str) -> None:
    with pytest.raises(CannotRun, match=f"^device '{device}' is not available: [^\n]+$"):
        verify(Patchify, device=device, strength=0)


def test_public_names() -> None:
    assert sorted(properties.__all__) == [
        *("ByHand", "CannotRun", "Case", "Domain", "Failure", "OracleError", "Report", "Trial", "VerificationFailed"),
        *("adapt", "law", "parametrize_with_laws", "print_report", "verify", "verify_instance"),
    ]
    assert {name: getattr(properties, name).__name__ for name in properties.__all__} == {
        name: name for name in properties.__all__
    }
    with pytest.raises(AttributeError, match=r"^module 'properties' has no attribute 'nope'$"):
        _ = properties.nope


def test_outputs_are_tried_before_the_run(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    check_outputs(json=tmp_path / "new" / "report.json", regressions=tmp_path / "records")
    with pytest.raises(CannotRun, match=f"^json must be the path of a file, and {tmp_path} is a folder$"):
        check_outputs(json=tmp_path)
    for given in ({"json": file / "report.json"}, {"regressions": file / "records"}, {"regressions": file}):
        with pytest.raises(CannotRun, match=r" cannot be written: Not a directory: "):
            check_outputs(**given)
    assert list(tmp_path.iterdir()) == [file]
