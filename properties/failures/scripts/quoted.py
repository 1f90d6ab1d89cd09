"""What a script takes over from a record: text that anyone may have written, and that must not become code.

Into code goes only what a property itself could have said, a value of the type that is meant; all else of a verdict
stands in comments, on one line each.
"""

import keyword
import re

import torch

from properties.failures.record import printable
from properties.trials.implementation import CannotRun

# As ``str`` writes the values of a type.
_FORMS: dict[type, str] = {
    bool: "True|False",
    int: "0|[1-9][0-9]*",
    float: r"-?(nan|inf|[0-9]+\.[0-9]+)",
    str: "[a-z]+",
    torch.dtype: "|".join(re.escape(str(dtype)) for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)),
}
_MOST_SHOWN = 1000


def value(field: str, text: str, kind: type) -> str:
    """A value that a verdict tells, to be written into code; a string, to be written between quotes.

    Args:
        field: where the verdict tells it.
        text: the value as it stands there.
        kind: its type.

    Raises:
        CannotRun: where a property would not have told it so.
    """
    if not re.fullmatch(_FORMS[kind], text):
        raise _refusal(f"verdict.{field}", text, f"no {kind.__name__}")
    return text


def importable(implementation: str) -> tuple[str, list[str]]:
    """The module of a layer, and the names that lead to the layer from there.

    Raises:
        CannotRun: where no import statement can name the layer.
    """
    module, _, name = implementation.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if module == "__main__" or not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise CannotRun(
            f"no script can import {printable(implementation)}: define the layer at the top level of a module and "
            "verify it there by its name, 'package.module:Name'"
        )
    return module, name.split(".")


def check_device(device: str) -> None:
    """Refuse what is no name of a device.

    Raises:
        CannotRun: where it is none.
    """
    if not re.fullmatch("[a-z]+(:[0-9]+)?", device):
        raise _refusal("device", device, "no device")


def comment(text: str) -> str:
    """Text as it may stand in a comment."""
    # Python takes the encoding of a file from the first lines of comment, where they name one.
    return re.sub("coding(?=[:=])", "coding ", printable(text, _MOST_SHOWN))


def _refusal(field: str, text: str, what: str) -> CannotRun:
    return CannotRun(
        f"{field} of the record would become code of the script, but is {what}: {printable(repr(text))}; "
        "no script is made of it, replay takes it as it is"
    )
