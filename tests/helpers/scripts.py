"""What the tests of standalone scripts share."""

from typing import Any

from properties.trials.settings import undisturbed
from properties.trials.verdict import Failed, Place

CORRECT = "patchify.layer:Patchify"
FAILED = Failed("something is wrong", Place("output", (0, 0, 0)), "1", "2", "0")


def execute(text: str) -> dict[str, Any]:
    """Run a script here, and give its variables."""
    variables: dict[str, Any] = {"__name__": "script"}
    with undisturbed("cpu"):
        exec(compile(text, "<script>", "exec"), variables)
    return variables
