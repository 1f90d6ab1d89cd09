"""Verifies implementations of Patchify against the contract."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oracles.agreement import OracleError
    from properties.case import Case
    from properties.failure import Failure
    from properties.implementation import CannotRun
    from properties.report import Report, VerificationFailed
    from properties.run import verify

__all__ = ["CannotRun", "Case", "Failure", "OracleError", "Report", "VerificationFailed", "verify"]

# Imported when first asked for: pytest loads this package, for its plugin, in runs that have nothing to do with it.
_HOMES = {
    "CannotRun": "properties.implementation",
    "Case": "properties.case",
    "Failure": "properties.failure",
    "OracleError": "oracles.agreement",
    "Report": "properties.report",
    "VerificationFailed": "properties.report",
    "verify": "properties.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
