"""The source distribution and the wheel: whole, and of use in a project elsewhere, which they leave alone."""

import shlex
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path, code: int = 0) -> str:
    """What a command prints that ends with a code."""
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=cwd)
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both; the wheel is built from the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def project(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose virtual environment, in its folder, has the wheel; what the wheel needs comes from this one's."""
    folder = tmp_path_factory.mktemp("project")
    run(sys.executable, "-m", "venv", "--without-pip", ".venv", cwd=folder)
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", ".venv", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    (packages,) = folder.glob(".venv/lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "own.py").write_text("from patchify import LinearPatchify as Layer\n")
    (folder / "conftest.py").write_text(
        "from hypothesis import settings\nfor name in ('ci', 'quick'):\n"
        "    settings.register_profile(name, max_examples=7)\n"
    )
    (folder / "test_own.py").write_text(
        "from hypothesis import settings\n\ndef test_own():\n    assert settings().max_examples == 7\n"
    )
    return folder


def test_source_distribution_is_the_repository(built: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("what is in the repository is known in a clone alone")
    tracked = set(run("git", "ls-files", cwd=ROOT).split())
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        packed = {name.partition("/")[2] for name in opened.getnames()}
    assert tracked - packed == set()


def test_source_distribution_runs_its_own_tests(built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    printed = run(
        sys.executable, "-m", "pytest", "-q", "tests/unit/test_case.py", "tests/unit/test_text.py", cwd=folder
    )
    assert " passed in " in printed


def test_wheel_gives_the_command(project: Path) -> None:
    command = project / ".venv/bin/patchify-verify"
    assert run(command, "--version", cwd=project / ".venv").startswith("patchify-harness ")
    asked = ("--implementation", "own:Layer", "--only", "homogeneous", "--cases", "3", "--strength", "0", "--seed", "7")
    printed = run(command, "run", *asked, "--jobs", "1", "--html", "page.html", cwd=project)
    assert "PASSED: own:Layer: 1 of 1 properties held" in printed
    assert "(patchify-harness " in printed
    assert ".venv/lib/" in "".join(printed.split())
    assert (project / "page.html").read_text().startswith("<!doctype html>")


def test_wheel_gives_the_plugin_and_leaves_the_project_alone(project: Path) -> None:
    """The environment is in the folder that is collected; a Hypothesis profile of the project is as it was."""
    python = project / ".venv/bin/python"
    for profile in ("ci", "quick"):
        printed = run(python, "-m", "pytest", "--hypothesis-profile", profile, cwd=project)
        assert "1 passed" in printed
        assert "patchify:" not in printed
    asked = ("--pyargs", "properties", "--patchify-implementation", "own:Layer", "--patchify-only", "homogeneous")
    printed = run(python, "-m", "pytest", *asked, "--patchify-cases", "3", "--patchify-strength", "0", cwd=project)
    assert "PASSED: own:Layer: 1 of 1 properties held" in printed


def test_readme_as_written(project: Path) -> None:
    """What a stranger types, where the wheel is installed; but for the first command with fewer cases."""
    section = (ROOT / "README.md").read_text().split("## Your own layer\n")[1].split("\n## ")[0]
    layer, suite = (block.split("```")[0] for block in section.split("```python\n")[1:])
    (project / "my_layer.py").write_text(layer)
    (commands,) = (block for block in section.split("```\n") if block.startswith("patchify-verify run "))
    by_command, by_pytest = map(shlex.split, commands.splitlines())
    python = project / ".venv/bin/python"
    printed = run(python, "-m", "patchify_harness", *by_command[1:], cwd=project)
    assert "PASSED: my_layer:layer: " in printed
    few = ("--patchify-cases", "5", "--patchify-only", "values_exact")
    assert "PASSED: my_layer:layer: " in run(python, "-m", *by_pytest, *few, cwd=project)
    assert '"cases": 60' in suite
    suite = suite.replace('"cases": 60', '"cases": 5, "only": ["homogeneous"]')
    (project / "test_layer.py").write_text(suite)
    assert " passed" in run(python, "-m", "pytest", "-q", "test_layer.py", cwd=project)
    (configured,) = (block.split("```")[0] for block in section.split("```toml\n")[1:])
    (project / "pyproject.toml").write_text(configured)
    fewest = ("--cases", "3", "--strength", "0", "--only", "homogeneous")
    printed = run(python, "-m", "patchify_harness", "run", *fewest, cwd=project)
    assert "from [tool.patchify]: implementation, level, laws-version" in printed
    assert "PASSED: my_layer:layer: 1 of 1 properties held" in printed
