"""The old place of ``properties.runs.engine``; it goes with the next release."""

import warnings

from properties.runs.engine import carry_out

__all__ = ["carry_out"]

warnings.warn("properties.carry_out has moved to properties.runs.engine", DeprecationWarning, stacklevel=2)
