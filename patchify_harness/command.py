"""The command ``patchify-verify``."""

import sys
from collections.abc import Sequence

from patchify_harness.packages import ShadowedError, import_harness


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``properties.command.main``)."""
    try:
        command = import_harness("properties.command.main")
    except ShadowedError as error:
        print(f"patchify-verify: could not run: {error}", file=sys.stderr)
        return 2
    code: int = command.main(arguments)
    return code
