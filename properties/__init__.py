"""Verifies implementations of Patchify against the contract."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oracles.agreement import OracleError
    from properties.cases.case import Case
    from properties.cases.domain import Domain
    from properties.laws.law import law
    from properties.pytest_plugin.law_items import parametrize_with_laws
    from properties.reports.text import print_report
    from properties.runs.failure import Failure
    from properties.runs.instance import verify_instance
    from properties.runs.report import Report, VerificationFailed
    from properties.runs.verify import verify
    from properties.trials.adapter import ByHand, adapt
    from properties.trials.implementation import CannotRun
    from properties.trials.trial import Trial

__all__ = [
    "ByHand",
    "CannotRun",
    "Case",
    "Domain",
    "Failure",
    "OracleError",
    "Report",
    "Trial",
    "VerificationFailed",
    "adapt",
    "law",
    "parametrize_with_laws",
    "print_report",
    "verify",
    "verify_instance",
]

# Imported when first asked for: pytest loads this package, for its plugin, in runs that have nothing to do with it.
_HOMES = {
    "ByHand": "properties.trials.adapter",
    "CannotRun": "properties.trials.implementation",
    "Case": "properties.cases.case",
    "Domain": "properties.cases.domain",
    "Failure": "properties.runs.failure",
    "OracleError": "oracles.agreement",
    "Report": "properties.runs.report",
    "VerificationFailed": "properties.runs.report",
    "adapt": "properties.trials.adapter",
    "parametrize_with_laws": "properties.pytest_plugin.law_items",
    "print_report": "properties.reports.text",
    "Trial": "properties.trials.trial",
    "law": "properties.laws.law",
    "verify": "properties.runs.verify",
    "verify_instance": "properties.runs.instance",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
