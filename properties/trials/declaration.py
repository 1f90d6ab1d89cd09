"""What an implementation says that it is for, or someone else for it."""

from dataclasses import dataclass
from typing import Any

from properties.cases.domain import WHOLE, Domain
from properties.trials.implementation import CannotRun, Implementation


@dataclass(frozen=True)
class Declared:
    """An implementation with a domain, which someone else declares for it."""

    implementation: Implementation
    domain: Domain

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Build the layer."""
        return self.implementation(*arguments, **named)


def domain_of(implementation: Implementation) -> Domain:
    """What an implementation says that it is for: its attribute ``domain``, else everything.

    Raises:
        CannotRun: where the attribute is something else.
    """
    found = getattr(implementation, "domain", WHOLE)
    if not isinstance(found, Domain):
        raise CannotRun(f"domain of an implementation must be a properties.Domain, got {type(found).__name__}")
    return found
