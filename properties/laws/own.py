"""Laws of one's own: where they are found."""

from properties.laws import LAWS
from properties.laws.law import Law
from properties.trials.implementation import CannotRun, import_module, said


def place_of(prop: Law) -> str:
    """Where a law is imported from, ``package.module:name``; empty for those of the contract."""
    return "" if prop in LAWS else f"{prop.judge.__module__}:{prop.name}"


def laws_from(place: str) -> tuple[Law, ...]:
    """The laws of a module, ``package.module``, or the one that is named after a colon.

    Raises:
        CannotRun: where there are none.
    """
    module_name, _, name = place.partition(":")
    try:
        found = vars(import_module(module_name))
    # A module may raise anything while it is imported, SystemExit included.
    except (Exception, SystemExit) as error:
        raise CannotRun(
            f"laws names {place!r}, which cannot be imported: {type(error).__name__}: {said(error)}"
        ) from error
    laws = tuple(one for one in found.values() if isinstance(one, Law) and (one.name == name or not name))
    own = tuple(one for one in laws if one not in LAWS)
    if not own:
        raise CannotRun(
            f"laws names {place!r}, where there are none: a law is a function of a trial under @law, with a docstring"
        )
    return own
