"""What a run is to do, settled and checked before it starts."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from properties.cases.case import DTYPES, Case
from properties.cases.domain import WHOLE, Domain, DomainError
from properties.cases.landmarks import huge, in_tf32, inside, landmarks
from properties.cases.outside import just_outside
from properties.cases.space import Space
from properties.contract import LEVELS
from properties.failures.record import Record, printable, read_folder, versions
from properties.laws import LAWS
from properties.laws.law import Law
from properties.laws.own import laws_from, place_of
from properties.runs import sharding
from properties.runs.options import PLANNED, check_arguments, given_arguments
from properties.runs.profiles import DEFAULT_PROFILE, DEFAULT_STRENGTH, PROFILES
from properties.runs.selection import (
    check_known,
    check_version,
    clause_order,
    is_asked_for,
    is_later,
    is_named,
    name_today,
    why_not,
)
from properties.runs.shard_names import (
    COMPILED_STEERED,
    COPIES,
    HISTORIES,
    HUGE,
    LANDMARKS,
    OUTSIDE,
    REGRESSIONS,
    STEERED,
    is_compiled,
    is_random,
    is_small,
    kind_of,
)
from properties.trials.declaration import Declared, domain_of
from properties.trials.implementation import (
    DEFAULT_IMPLEMENTATION,
    CannotRun,
    Implementation,
    importable,
    resolve,
)
from properties.trials.sources import fingerprint, harness_fingerprint, origin


@dataclass(frozen=True)
class Plan:
    """A run: on what, with which properties, and how many cases from which seed.

    ``part`` is which of how many parts of the run this is, each with its share of the shards. ``chosen`` are the
    steered cases by the kind of their shards, where another process has chosen them: that takes seconds. ``domain`` is
    what the layer is for, and ``asked_domain`` what whoever asked made of it.
    ``examples`` are landmarks of this layer alone, and ``own_laws`` laws beside those of the contract.
    """

    implementation: Implementation
    name: str
    cases: int
    seed: int
    device: str
    dtypes: tuple[str, ...]
    levels: tuple[str, ...]
    properties: tuple[Law, ...]
    only: tuple[str, ...]
    skip: tuple[str, ...]
    compile: bool
    expected_failures: Mapping[str, str]
    scope_margin: int = 0
    scope_sample: int = 1
    strength: int = DEFAULT_STRENGTH
    regressions: Mapping[str, Record] = field(default_factory=dict)
    part: tuple[int, int] = (1, 1)
    chosen: Mapping[str, tuple[Case, ...]] = field(default_factory=dict, compare=False, repr=False)
    examples: Mapping[str, Case] = field(default_factory=dict)
    own_laws: tuple[Law, ...] = ()
    laws_version: str | None = None
    domain: Domain = WHOLE
    asked_domain: Domain | None = None

    @cached_property
    def importable(self) -> bool:
        """Whether other processes can import the implementation: no local function, no lambda, nothing of a script."""
        return importable(self.implementation, self.name) and all(
            importable(prop, place_of(prop)) for prop in self.own_laws
        )

    @cached_property
    def origin(self) -> str:
        """The file that the implementation comes from, and the distribution that installed it."""
        return origin(self.implementation, self.name)

    @property
    def replayed(self) -> dict[str, Record]:
        """The records that this run replays before anything else: whose property and dtype it asks for."""
        names = {prop.name for prop in self.properties}
        return {
            file: record
            for file, record in self.regressions.items()
            if record.prop.name in names and record.case.input.dtype in self.dtypes
        }

    @property
    def left_out(self) -> dict[str, str]:
        """The properties that are asked for and that this run does not judge, for another reason than the domain."""
        every = (*LAWS, *self.own_laws)
        asked = [prop for prop in every if is_asked_for(prop, self.only, self.levels) and not prop.lacks(self.domain)]
        given = (self.device, self.skip, self.compile, self.domain, self.laws_version)
        why = {prop.name: why_not(prop, *given) for prop in asked}
        return {name: reason for name, reason in why.items() if reason}

    @property
    def declared(self) -> Implementation:
        """The implementation, with the domain of this run."""
        return self.implementation if self.asked_domain is None else Declared(self.implementation, self.domain)

    @property
    def undeclared(self) -> dict[Law, tuple[str, ...]]:
        """The properties that are asked for, and what they need that the domain says the layer has not."""
        asked = (prop for prop in (*LAWS, *self.own_laws) if is_asked_for(prop, self.only, self.levels))
        return {prop: lacking for prop in asked if (lacking := prop.lacks(self.domain))}

    @property
    def told(self) -> tuple[Law, ...]:
        """The properties that were not asked for, and whose failures are told alone: those outside the domain."""
        return tuple(
            prop
            for prop in LAWS
            if prop.on == OUTSIDE
            and just_outside(self.domain)
            and not self.only
            and prop not in self.properties
            and not is_later(prop, self.laws_version)
        )

    @cached_property
    def owners(self) -> tuple[Law, ...]:
        """The properties that are judged along with those of the run, since one of them may say nothing for another.

        None where all of these are somebody's own: they may be about another map.
        """
        if self.properties and all(prop in self.own_laws for prop in self.properties):
            return ()
        asked = {prop.name for prop in self.properties}
        clauses = {clause for prop in self.properties for clause in prop.clauses}
        return tuple(
            prop
            for prop in LAWS
            if prop.name not in asked
            and not prop.lacks(self.domain)
            and not is_later(prop, self.laws_version)
            and (prop.owns == "everything" or (prop.owns == "clause" and prop.clauses[0] in clauses))
        )

    @property
    def shards(self) -> tuple[str, ...]:
        """The names of the shards of this part, in the order in which one worker runs them."""
        number, parts = self.part
        return self.all_shards[number - 1 :: parts]

    @property
    def all_shards(self) -> tuple[str, ...]:
        """The names of the shards of the whole run: records first, then a shard of every kind, the cheap ones first.

        So the rest adds to what is known of everything, and a wrong layer is told soon.
        """
        found = [shard for shard in (REGRESSIONS, LANDMARKS, HUGE, OUTSIDE) if self.properties_of(shard)]
        found += [
            shard for kind in sharding.KINDS if self.properties_of(kind) for shard in sharding.shards(self.asked, kind)
        ]
        return tuple(sorted(found, key=sharding.turn))

    @property
    def asked(self) -> sharding.Asked:
        """What its cases follow from."""
        return sharding.Asked(**{one.name: getattr(self, one.name) for one in fields(sharding.Asked)})

    @property
    def space(self) -> Space:
        """Which levels of the parameter space this run can reach."""
        on = {prop.on for prop in self.properties}
        return Space(
            self.dtypes,
            eager="cases" in on or ("drawn" in on and self.cases > 0),
            compiled="compiled" in on and self.cases > 0,
            autocast=any(prop.autocast for prop in self.properties),
            emptied=self.cases > 0 and any(prop.empty_batch for prop in self.properties),
            domain=self.domain,
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data, from which any process that can import the implementation makes the same plan."""
        return {
            **self.arguments,
            "properties": [prop.name for prop in self.properties],
            "regressions": {file: record.to_json() for file, record in self.regressions.items()},
            "part": list(self.part),
            "steered": self.steered,
            "versions": versions(),
            "harness": harness_fingerprint(),
            "fingerprint": fingerprint(self.name) if self.importable else "",
        }

    @property
    def steered(self) -> dict[str, Any]:
        """The steered cases by the kind of their shards, as plain data."""
        kinds = [kind for kind in (STEERED, COMPILED_STEERED) if self.properties_of(kind)]
        return {kind: [case.to_json() for case in sharding.steered_cases(self.asked, kind)] for kind in kinds}

    def with_steered(self, data: Mapping[str, Any]) -> "Plan":
        """The plan with steered cases from plain data.

        Raises:
            CaseError: where one is no case.
        """
        return replace(self, chosen={kind: tuple(map(Case.from_json, cases)) for kind, cases in data.items()})

    @property
    def arguments(self) -> dict[str, Any]:
        """What was asked for, as plain data that ``make_plan`` makes the same plan of, the records apart."""
        return {
            "implementation": self.name,
            "seed": self.seed,
            "cases": self.cases,
            "only": list(self.only) or None,
            "skip": list(self.skip) or None,
            "compile": self.compile,
            "device": self.device,
            "dtypes": None if self.dtypes == tuple(DTYPES) else list(self.dtypes),
            "levels": list(self.levels),
            "expected_failures": dict(self.expected_failures),
            "strength": self.strength,
            "scope_margin": self.scope_margin,
            "scope_sample": self.scope_sample,
            "domain": None if self.asked_domain is None else self.asked_domain.to_json(),
            "data_dims": None,
            "laws": [place_of(prop) for prop in self.own_laws] or None,
            "laws_version": self.laws_version,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Plan":
        """The plan that plain data describe.

        Raises:
            CannotRun: where the implementation cannot be imported here, or the same seed may give other cases.
        """
        if data["versions"] != versions():
            planned, here = (
                ", ".join(f"{name} {v}" for name, v in of.items()) for of in (data["versions"], versions())
            )
            raise CannotRun(f"the run was begun with {planned}; here is {here}: use the same versions for all of a run")
        if data["harness"] != harness_fingerprint():
            raise CannotRun("the source of the harness is another one than when the run was begun: begin a new one")
        records = {file: Record.from_json(record) for file, record in data["regressions"].items()}
        asked = {option.argument: data[option.argument] for option in PLANNED}
        plan = make_plan(**asked, regressions=records)
        if data["fingerprint"] != fingerprint(plan.name):
            raise CannotRun(f"the source of {plan.name} is another one than when the run was begun: begin a new one")
        properties = tuple(prop for prop in plan.properties if prop.name in data["properties"])
        number, parts = data["part"]
        if not (type(number) is type(parts) is int and 1 <= number <= parts):
            raise ValueError(f"part is {data['part']!r}")
        return replace(plan, properties=properties, part=(number, parts)).with_steered(data["steered"])

    def properties_of(self, shard: str) -> tuple[Law, ...]:
        """The properties that are judged on the cases of a shard, or of a kind of shard."""
        if shard == REGRESSIONS:
            failed = {record.prop.name for record in self.replayed.values()}
            return tuple(prop for prop in self.properties if prop.name in failed)
        if is_compiled(shard):
            return tuple(prop for prop in self.properties if prop.on == "compiled")
        if is_small(shard):
            return tuple(prop for prop in self.properties if prop.small_scope)
        if shard == OUTSIDE:
            return tuple(prop for prop in (*self.properties, *self.told) if prop.on == OUTSIDE)
        if kind_of(shard) in (HISTORIES, COPIES, HUGE):
            return tuple(prop for prop in self.properties if prop.on == kind_of(shard))
        on = ("cases",) if shard == LANDMARKS else ("cases", "drawn")
        return tuple(prop for prop in self.properties if prop.on in on)

    def owners_of(self, shard: str) -> tuple[Law, ...]:
        """The owners that are judged on the cases of a shard."""
        on = ("cases", "compiled") if is_compiled(shard) else () if shard == OUTSIDE else ("cases",)
        return tuple(prop for prop in self.owners if prop.on in on and (prop.small_scope or not is_small(shard)))

    def properties_on(self, shard: str, case: str) -> tuple[Law, ...]:
        """The properties that are judged on one case of a shard: of a record, only the one that failed."""
        return (self.replayed[case].prop,) if shard == REGRESSIONS else self.properties_of(shard)

    def draws(self, shard: str) -> bool:
        """Whether the cases of a shard are a random sample."""
        return is_random(shard)

    def cases_of(self, shard: str) -> dict[str, Case]:
        """The cases of a shard, by name.

        A function of seed, domain, dtypes, number of cases, strength, margin and committed records alone: what is
        judged on them makes no difference.
        """
        if shard == REGRESSIONS:
            return {name: record.case for name, record in self.replayed.items()}
        if shard == LANDMARKS:
            found = {**self.examples, **inside(landmarks(self.dtypes), self.domain)}
            return found | (in_tf32(found) if self.device.startswith("cuda") else {})
        if shard == HUGE:
            return inside(huge(self.dtypes), self.domain)
        if shard == OUTSIDE:
            return just_outside(self.domain)
        return {f"{shard}/{i}": case for i, case in enumerate(sharding.cases_of(self.asked, shard))}


def make_plan(
    implementation: Implementation | str,
    *,
    cases: int = 300,
    seed: int | None = None,
    device: str = "cpu",
    dtypes: Sequence[str] | None = None,
    levels: Sequence[str] = ("contract",),
    only: Sequence[str] | None = None,
    skip: Sequence[str] | None = None,
    compile: bool = True,
    expected_failures: Mapping[str, str] | None = None,
    scope_margin: int = 0,
    scope_sample: int = 1,
    strength: int = DEFAULT_STRENGTH,
    domain: Domain | Mapping[str, Any] | None = None,
    data_dims: Sequence[int] | None = None,
    laws: Sequence[Law | str] | None = None,
    laws_version: str | None = None,
    regressions: Path | Mapping[str, Record] | None = None,
) -> Plan:
    """Check what was asked for; ``properties.verify`` says what each argument means.

    ``regressions`` may be what a folder holds, too: records by the names of their files.

    Raises:
        CannotRun: where something does not exist here, or does not fit together.
    """
    # The records may be given as such, where a plan is read again.
    check_arguments({name: value for name, value in locals().items() if name != "regressions"})
    check_version(laws_version)
    found, name = resolve(implementation)
    given = (laws_from(one) if isinstance(one, str) else (one,) for one in laws or ())
    own = tuple(dict.fromkeys(prop for some in given for prop in some))
    if twice := {prop.name for prop in own} & {prop.name for prop in LAWS}:
        raise CannotRun(f"laws names {', '.join(sorted(twice))}, which a law of the contract is called already")
    every = (*LAWS, *own)
    names = [prop.name for prop in every]
    only, skip = (tuple(map(name_today, names or ())) for names in (only, skip))
    expected_failures = {name_today(name): reason for name, reason in (expected_failures or {}).items()}
    clauses = sorted({clause for prop in every for clause in prop.clauses}, key=clause_order)
    check_known("only", only, [*names, *clauses])
    check_known("skip", skip, [*names, *clauses])
    check_known("expected_failures", expected_failures, names)
    check_known("levels", levels, LEVELS)
    check_known("dtypes", dtypes or (), DTYPES)
    asked = _asked_domain(domain, data_dims)
    of_layer = _within(domain_of(found), asked)
    allowed = tuple(dtype for dtype in dtypes or DTYPES if dtype in of_layer.dtypes)
    if not allowed:
        raise CannotRun(f"dtypes names {', '.join(dtypes or ())}; the domain has {', '.join(of_layer.dtypes)} alone")
    why = {
        prop: why_not(prop, device, skip, compile, of_layer, laws_version)
        for prop in every
        if is_asked_for(prop, only, levels)
    }
    if refused := {prop.name: reason for prop, reason in why.items() if reason and prop.name in only}:
        raise CannotRun("only names " + ", ".join(f"{name} ({reason})" for name, reason in refused.items()))
    records = regressions if isinstance(regressions, Mapping) else _records(regressions)
    plan = Plan(
        found,
        name,
        cases,
        secrets.randbits(32) if seed is None else seed,
        device,
        allowed,
        tuple(levels),
        tuple(prop for prop, reason in why.items() if not reason and (prop.on != OUTSIDE or just_outside(of_layer))),
        only,
        skip,
        compile,
        expected_failures,
        scope_margin,
        scope_sample,
        strength,
        records,
        domain=of_layer,
        asked_domain=asked,
        own_laws=own,
        laws_version=laws_version,
    )
    if owners := [prop.name for prop in plan.owners if is_named(prop, skip)]:
        raise CannotRun(
            f"skip names {', '.join(owners)}, judged all the same, since where it fails nothing can be said of others: "
            "expect the failure instead"
        )
    return plan


def _asked_domain(domain: Domain | Mapping[str, Any] | None, data_dims: Sequence[int] | None) -> Domain | None:
    """The domain that arguments describe, None where none does."""
    try:
        asked = Domain.from_json(dict(domain)) if isinstance(domain, Mapping) else domain
    except DomainError as error:
        raise CannotRun(f"domain cannot be used: {error}") from error
    if data_dims is None:
        return asked
    try:
        return (asked or WHOLE).within(Domain(data_dims=tuple(sorted(set(data_dims)))))
    except DomainError as error:
        raise CannotRun(str(error)) from error


def _within(declared: Domain, asked: Domain | None) -> Domain:
    """What an implementation declares, as far as it is asked for."""
    try:
        return declared if asked is None else declared.within(asked)
    except DomainError as error:
        raise CannotRun(f"the implementation declares another domain than is asked for: {error}") from error


def _records(folder: Path | None) -> dict[str, Record]:
    try:
        if folder is not None and folder.exists() and not folder.is_dir():
            raise CannotRun(f"regressions must be the path of a folder, and {folder} is none")
        records, problems = read_folder(folder)
    except OSError as error:
        raise CannotRun(f"regressions cannot be read: {printable(error)}") from error
    if problems:
        raise CannotRun("\n  ".join(["some of the records to replay first cannot be read:", *problems]))
    return records


def plan_from_options(option: Callable[[str], Any]) -> Plan:
    """The plan that options describe.

    Args:
        option: gives the value of an option by its flag.

    Raises:
        CannotRun: where they do not fit.
    """
    profile = PROFILES[option("profile") or DEFAULT_PROFILE]
    usual = {"implementation": DEFAULT_IMPLEMENTATION, **asdict(profile)}
    return make_plan(**(usual | given_arguments(option, PLANNED)), regressions=option("regressions"))
