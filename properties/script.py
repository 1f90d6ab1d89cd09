"""Stub."""

from properties.case import Case
from properties.verdict import Failed


def standalone_script(prop: str, implementation: str, device: str, case: Case, verdict: Failed) -> str:
    """Stub."""
    return ""
