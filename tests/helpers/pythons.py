"""Other Pythons of this machine, each in a virtual environment with NumPy and nothing else."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository's root; no variable that is meant for this Python reaches another one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def with_numpy(version: str, folder: Path) -> Path:
    """The interpreter of an environment with NumPy alone, which is kept in the folder; skips where there cannot be one.

    Args:
        version: of Python, such as ``3.12``.
        folder: where environments are kept.
    """
    python = next((found for found in _candidates(version) if _works(found, version)), None)
    if python is None:
        pytest.skip(
            f"no Python {version} that runs and has venv: looked at the running Python, "
            f"for python{version} on PATH, and for {version}.* under pyenv"
        )
    constraints = ROOT / "constraints.txt"
    identity = hashlib.sha256(f"{python}\n{constraints.read_text()}".encode()).hexdigest()
    kept = folder / f"{version}-{identity[:12]}"
    if not kept.exists():
        # Made aside and moved into place as a whole, since another process may be making the same one.
        with TemporaryDirectory(dir=folder) as aside:
            made = Path(aside, "environment")
            run(python, "-m", "venv", made).check_returncode()
            installed = run(
                *(made / "bin/python", "-m", "pip", "install", "--disable-pip-version-check", "--retries", "1"),
                *("--no-compile", "--only-binary", "numpy", "--constraint", constraints, "numpy"),
            )
            if installed.returncode:
                pytest.skip(f"pip could not install NumPy for Python {version}: {' '.join(installed.stderr.split())}")
            with suppress(OSError):
                made.rename(kept)
    return kept / "bin/python"


def _candidates(version: str) -> Iterator[str]:
    """Where a Python of that version may be."""
    yield sys.executable
    for folder in os.get_exec_path():
        if found := shutil.which(f"python{version}", path=folder):
            yield found
    if pyenv := shutil.which("pyenv"):
        root = run(pyenv, "root").stdout.strip()
        yield from map(str, sorted(Path(root).glob(f"versions/{version}.*/bin/python")))


def _works(python: str, version: str) -> bool:
    """Whether a Python runs, as a shim of pyenv's may not, is of that version, and can make environments."""
    found = run(python, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.')")
    return found.returncode == 0 and found.stdout.strip() == version
