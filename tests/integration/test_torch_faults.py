"""The page on torch's faults shows the scripts that the harness runs, and they run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import properties

SCRIPTS = sorted(
    path
    for path in Path(properties.__file__).parent.joinpath("trials", "torch_faults").glob("*.py")
    if path.stem != "__init__"
)
PAGE = Path(__file__).parents[2] / "docs" / "torch-faults.md"


def test_page_shows_every_script() -> None:
    sections = dict(re.findall(r"^## (\w+)\n.*?^```python\n(.*?)```$", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    assert sections == {script.stem: script.read_text() for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_needs_torch_alone_and_ends_as_promised(script: Path) -> None:
    code = [line for line in script.read_text().splitlines()[1:] if line.strip()]
    assert len(code) <= 15
    assert set(re.findall(r"^import (\w+)", script.read_text(), re.MULTILINE)) <= {"sys", "torch"}
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3) or done.returncode < 0, done.stderr
