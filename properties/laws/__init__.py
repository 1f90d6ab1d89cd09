"""The properties, one file per family."""

from properties.laws import (
    ambience,
    compiled,
    functional,
    gradients,
    interface,
    purity,
    rejection,
    relations,
    samples,
    shape,
    state,
    uncovered,
    values,
)
from properties.laws.law import Property

# In the order in which they are judged and reported: what is basic first.
_FAMILIES = (
    interface,
    shape,
    values,
    relations,
    uncovered,
    gradients,
    compiled,
    state,
    purity,
    samples,
    rejection,
    ambience,
    functional,
)

PROPERTIES: tuple[Property, ...] = tuple(
    prop for family in _FAMILIES for prop in vars(family).values() if isinstance(prop, Property)
)
