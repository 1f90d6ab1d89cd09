"""The laws, one file per family: each a function of a trial that raises where it does not hold."""

from properties.laws import (
    ambience,
    compiled,
    cuda,
    functional,
    gradients,
    histories,
    interface,
    parameters,
    purity,
    rejection,
    relations,
    samples,
    shape,
    uncovered,
    values,
)
from properties.laws.law import Law

# In the order in which they are judged and reported: what is basic first.
_FAMILIES = (
    interface,
    parameters,
    shape,
    values,
    relations,
    uncovered,
    gradients,
    compiled,
    histories,
    purity,
    samples,
    rejection,
    ambience,
    functional,
    cuda,
)

LAWS: tuple[Law, ...] = tuple(prop for family in _FAMILIES for prop in vars(family).values() if isinstance(prop, Law))
