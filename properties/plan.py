"""The old place of ``properties.runs.plan``; it goes with the next release."""

import warnings

from properties.runs.plan import make_plan

__all__ = ["make_plan"]

warnings.warn("properties.plan has moved to properties.runs.plan", DeprecationWarning, stacklevel=2)
