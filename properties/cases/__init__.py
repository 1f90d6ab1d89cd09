"""What is tried: cases, their values, and where they come from (drawn, covering, small, landmarks, shrunk)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from properties.cases.strategy import cases

__all__ = ["cases"]


def __getattr__(name: str) -> Any:
    # Hypothesis is imported where something is drawn: a record is replayed without it.
    if name != "cases":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from properties.cases import strategy

    return strategy.cases
