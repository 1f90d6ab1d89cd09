"""The front doors in a project that has packages of its own which are called as the harness's are."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

NEEDED = "patchify_harness needs its own package 'oracles', in *, but */oracles comes first under that name: *"


@pytest.fixture(autouse=True)
def _project(pytester: pytest.Pytester) -> None:
    for name in ("oracles", "patchify", "properties"):
        folder = pytester.mkpydir(name)
        (folder / "models.py").write_text("VALUE = 3\n")
    pytester.makepyfile(
        test_own="""
        import sys

        import oracles.models
        import patchify.models
        from properties.models import VALUE

        def test_own():
            assert oracles.models.VALUE == patchify.models.VALUE == VALUE
            assert "torch" not in sys.modules
        """,
        own_layers="from properties.models import VALUE",
    )


def python(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run Python, with the current folder first among those that it imports from."""
    return pytester.run(sys.executable, *arguments)


@pytest.mark.parametrize("arguments", [("-m", "pytest"), ("-P", "-m", "pytest"), ("-m", "pytest", "-n", "1")])
def test_their_suite_runs(pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    result = python(pytester, *arguments, "-p", "no:cacheprovider", "test_own.py")
    result.assert_outcomes(passed=1)


def test_laws_in_their_suite_are_refused_in_a_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_laws="from patchify_harness import parametrize_with_laws")
    result = python(pytester, "-m", "pytest", "-p", "no:cacheprovider", "test_laws.py")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"E *{NEEDED}"])


@pytest.mark.parametrize(
    ("arguments", "before"),
    [
        (("-m", "pytest", "-p", "no:cacheprovider", "--pyargs", "properties"), "ERROR: "),
        (("-m", "patchify_harness", "--version"), "patchify-verify: could not run: "),
        (("-c", "from patchify_harness import verify"), "patchify_harness.packages.ShadowedError: "),
    ],
)
def test_what_shadows_what_is_told(pytester: pytest.Pytester, arguments: tuple[str, ...], before: str) -> None:
    result = python(pytester, *arguments)
    assert result.ret != 0
    result.stderr.fnmatch_lines([f"{before}{NEEDED}"])


def test_command_has_the_harness_and_tells_of_theirs(pytester: pytest.Pytester) -> None:
    command = (Path(sys.executable).with_name("patchify-verify"), "run", "--implementation", "own_layers:Layer")
    # Not by pytester, which puts the folder first among those that everything is imported from.
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=pytester.path)
    assert found.returncode == 2
    assert found.stderr.startswith(
        "patchify-verify: could not run: cannot import implementation 'own_layers:Layer': ModuleNotFoundError: No "
        "module named 'properties.models'; ./oracles cannot be imported beside the harness's package of that name: "
    )


def test_names_are_those_of_properties(tmp_path: Path) -> None:
    code = """if True:
        import sys
        import patchify_harness
        assert "properties" not in sys.modules
        import properties
        assert all(getattr(patchify_harness, name) is getattr(properties, name) for name in properties.__all__)
        from patchify_harness import *
        assert verify is properties.verify
        try:
            patchify_harness.importlib
        except AttributeError as error:
            print(error)
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout == "module 'patchify_harness' has no attribute 'importlib'\n"
