"""Which laws a run judges, of those that there are, and why not others."""

from collections.abc import Mapping, Sequence

from properties.cases.domain import NEEDS, Domain
from properties.laws import LAWS
from properties.laws.law import Law
from properties.laws.retired import RETIRED
from properties.trials.implementation import CannotRun
from properties.trials.sources import harness_version


def name_today(name: str) -> str:
    """The name of a property today."""
    return RETIRED[name][0].name if name in RETIRED else name


def is_named(prop: Law, selectors: Sequence[str]) -> bool:
    """Whether a property, or one of its clauses, is among some names."""
    return not {prop.name, *prop.clauses}.isdisjoint(selectors)


def is_asked_for(prop: Law, only: Sequence[str], levels: Sequence[str]) -> bool:
    """Whether a property is asked for: by name or clause whatever its level, or by its level."""
    return is_named(prop, only) if only else prop.level in levels


def why_not(
    prop: Law, device: str, skip: Sequence[str], compile: bool, domain: Domain, laws_version: str | None
) -> str:
    """Why a property that is asked for is not judged; empty where it is."""
    if is_later(prop, laws_version):
        return f"since version {prop.since}"
    if missing := prop.lacks(domain):
        return f"it does not judge the layer, since {NEEDS[missing[0]]}"
    if is_named(prop, skip):
        return "skipped"
    if prop.on == "compiled" and not compile:
        return "it compiles"
    return "" if prop.runs_on(device) else f"on {prop.device} alone"


def is_later(prop: Law, laws_version: str | None) -> bool:
    """Whether a law of the contract is of a later version than that which is asked for; one's own have none."""
    return laws_version is not None and prop in LAWS and _numbers(prop.since) > _numbers(laws_version)


def check_version(laws_version: str | None) -> None:
    """Refuse a version whose laws are not known here: before the first, or after this one."""
    here = harness_version()
    installed = {_numbers(here)} if here[0].isdigit() else set()
    versions = sorted({_numbers(prop.since) for prop in LAWS} | installed)
    if laws_version is not None and not versions[0] <= _numbers(laws_version) <= versions[-1]:
        first, last = (".".join(map(str, version)) for version in (versions[0], versions[-1]))
        raise CannotRun(f"laws_version is {laws_version!r}; this harness has the laws of versions {first} to {last}")


def check_known(option: str, given: Sequence[str] | Mapping[str, str], allowed: Sequence[str]) -> None:
    """Refuse names that are none of those that an option may name."""
    for name in given:
        if name not in allowed:
            raise CannotRun(f"{option} names {name!r}, which is none of: {', '.join(allowed)}")


def clause_order(clause: str) -> tuple[str, int, str]:
    """What clauses are sorted by: C2 before C10."""
    number = clause[1:]
    return clause[0], int(number) if number.isdecimal() else 0, clause


def _numbers(version: str) -> tuple[int, int]:
    """What laws depend on: a patch release changes none."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
