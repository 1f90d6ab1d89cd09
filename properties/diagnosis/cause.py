"""A cause, before it is made a sentence."""

from dataclasses import dataclass

from properties.diagnosis.features import Judge


@dataclass(frozen=True)
class Cause:
    """A cause in words, and what judges whether another case has it too; None means the property.

    ``features`` are those that may matter, where others cannot: what is rounded shows on some values and not on others.
    """

    words: str
    fails: Judge | None = None
    features: tuple[str, ...] | None = None
