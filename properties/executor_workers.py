"""The old place of ``properties.runs.executor_workers``; it goes with the next release."""

import warnings

from properties.runs.executor_workers import ExecutorWorkers

__all__ = ["ExecutorWorkers"]

warnings.warn(
    "properties.executor_workers has moved to properties.runs.executor_workers", DeprecationWarning, stacklevel=2
)
