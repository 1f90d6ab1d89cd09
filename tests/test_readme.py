"""What the README shows is what the commands print."""

from pathlib import Path

import pytest

from properties.command import main

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_failure_in_the_readme_is_what_its_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    command = next(
        line for line in README.splitlines() if line.startswith("patchify-verify run --implementation tests.")
    )

    assert main(command.split()[1:]) == 1

    printed = capsys.readouterr().out
    shown = README.split(command, 1)[1].split("```")[0].strip()
    assert shown.startswith("uncovered_pixels_ignored failed")
    assert shown in printed
