"""The page on torch's faults shows the scripts that the harness runs, and they run."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import properties

SCRIPTS = sorted(
    path
    for path in Path(properties.__file__).parent.joinpath("trials", "torch_faults").glob("*.py")
    if path.stem != "__init__"
)
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "torch-faults.md"


def test_page_shows_every_script() -> None:
    sections = dict(re.findall(r"^## (\w+)\n.*?^```python\n(.*?)```$", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    assert sections == {script.stem: script.read_text() for script in SCRIPTS}


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """What runs scripts for the harness: a process of its own for each, in which torch has been imported."""
    command = [sys.executable, "-m", "properties.trials.fault_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield process


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_needs_torch_alone_and_ends_as_promised(script: Path, server: subprocess.Popen[str]) -> None:
    """With the arguments that it has by itself."""
    code = [line for line in script.read_text().splitlines()[1:] if line.strip()]
    assert len(code) <= 15
    assert set(re.findall(r"^import (\w+)", script.read_text(), re.MULTILINE)) <= {"sys", "torch"}
    assert server.stdin is not None
    assert server.stdout is not None
    print(json.dumps([1, str(script)]), file=server.stdin, flush=True)
    status = int(server.stdout.readline())
    assert status in (0, 3) or status < 0
