"""What is printed, as it is compared."""

import re


def unfolded(text: str) -> list[str]:
    """The lines of a text that was folded at 80 columns: what a line goes on with is indented by four or twelve."""
    return re.sub(r"\n(?: {4}| {12})(?! )", " ", text).splitlines()
