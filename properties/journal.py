"""The old place of ``properties.runs.journal``; it goes with the next release."""

import warnings

from properties.runs.journal import Journal

__all__ = ["Journal"]

warnings.warn("properties.journal has moved to properties.runs.journal", DeprecationWarning, stacklevel=2)
