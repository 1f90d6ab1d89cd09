"""What the README shows is what the commands print."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from properties.command.main import main

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_failure_in_the_readme_is_what_its_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    command = next(
        line for line in README.splitlines() if line.startswith("patchify-verify run --implementation tests.")
    )

    assert main(command.split()[1:]) == 1

    printed = capsys.readouterr().out
    shown = README.split(command, 1)[1].split("```")[0].strip()
    assert shown.startswith("uncovered_pixels_ignored failed")
    assert shown in printed


def test_run_by_an_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block.split("```")[0] for block in README.split("```python\n")[1:]]
    (code,) = [block for block in blocks if "executor" in block]
    few = 'cases=10, strength=0, only=["homogeneous"]'
    for shown, tried in {"package.module:Name": "patchify:Patchify", "cases=100_000": few}.items():
        assert shown in code
        code = code.replace(shown, tried)
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(1) as executor:
        names: dict[str, Any] = {"executor": executor}
        exec(code, names)
    assert (names["report"].passed, names["report"].cases) == (True, 10)
