"""``python -m patchify_harness``: the command ``patchify-verify``."""

import sys

from patchify_harness.command import main

sys.exit(main())
