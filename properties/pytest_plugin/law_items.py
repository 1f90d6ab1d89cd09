"""The laws as items of one's own test suite: ``@parametrize_with_laws(Layer)``."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import pytest

from properties.diagnosis.words import gist
from properties.laws.law import Law
from properties.runs.failure import Failure
from properties.runs.options import PLANNED
from properties.runs.plan import make_plan
from properties.runs.report import Report
from properties.runs.verify import verify
from properties.trials.implementation import Implementation

_Test = TypeVar("_Test", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Run:
    """One run of ``verify``, which the items of all laws share."""

    implementation: Implementation | str
    options: Mapping[str, Any]

    @cached_property
    def report(self) -> Report:
        return verify(self.implementation, **self.options)

    @cached_property
    def told(self) -> dict[str, Failure]:
        """The failures that are told: of those with one cause the first, since one bug is one failing item."""
        found: dict[str, Failure] = {}
        for failure in self.report.failures:
            found.setdefault(gist(failure.known.cause) or failure.property, failure)
        return {failure.property: failure for failure in found.values()}


@dataclass(frozen=True)
class LawItem:
    """One law, to be called by the test."""

    run: _Run
    law: Law

    def __call__(self) -> None:
        """Pass where the law holds, fail with the smallest case where it does not, skip where it says nothing."""
        __tracebackhide__ = True
        report, name = self.run.report, self.law.name
        failures = {failure.property: failure for failure in report.failures}
        if name in self.run.told:
            pytest.fail(failures[name].message, pytrace=False)
        if name in failures:
            cause = gist(failures[name].known.cause)
            same = next(other for other, failure in self.run.told.items() if gist(failure.known.cause) == cause)
            pytest.skip(f"fails for the same cause as {same}: {cause}")
        tally = report.tallies[name]
        if tally.not_judged:
            pytest.fail(f"{name} was not judged: {'; '.join(tally.not_judged)}", pytrace=False)
        if tally.checks:
            return
        reasons = "; ".join(tally.inapplicable)
        # Whose breakage it is may be judged along with what was asked for, without an item of its own.
        owners = [failure for failure in report.failures if failure.property not in _names(report.plan.properties)]
        if tally.broken and owners and name == report.plan.properties[0].name:
            pytest.fail(owners[0].message, pytrace=False)
        if tally.broken or tally.lost or name in report.outside:
            pytest.skip(f"says nothing: {reasons}")
        pytest.fail(f"{name} ran no check: {reasons or 'no case was run'}", pytrace=False)


def _names(laws: tuple[Law, ...]) -> set[str]:
    return {law.name for law in laws}


def parametrize_with_laws(
    implementation: Implementation | str,
    *,
    expected_failures: Mapping[str, str] | None = None,
    **options: Any,
) -> Callable[[_Test], _Test]:
    """Parametrize a test with one item for each law that judges an implementation, by its name::

        @parametrize_with_laws(Layer, domain=Domain(data_dims=(2,)), expected_failures={"values_bounded": "why"})
        def test_layer(law):
            law()

    The first item has all of them judged. Failures of one cause fail one item, and the others are skipped with it.

    Args:
        implementation: as ``verify`` takes it.
        expected_failures: law to the reason why it fails; one that then passes fails.
        options: of ``verify``, such as ``cases``, ``seed``, ``levels`` and ``domain``.

    Raises:
        CannotRun: where a name is none, with the names that there are, or the options do not fit.
    """
    expected = dict(expected_failures or {})
    if unknown := options.keys() - inspect.signature(verify).parameters.keys():
        raise TypeError(f"parametrize_with_laws has no option {', '.join(sorted(unknown))}")
    planned = {option.argument for option in PLANNED}
    plan = make_plan(
        implementation,
        expected_failures=expected,
        **{name: value for name, value in options.items() if name in planned},
    )
    if idle := expected.keys() - _names(plan.properties):
        raise TypeError(f"expected_failures names {', '.join(sorted(idle))}, which is not judged here")
    run = _Run(implementation, {"jobs": 1, **options, "seed": plan.seed})

    def marks(law: Law) -> tuple[pytest.MarkDecorator, ...]:
        if law.name not in expected:
            return ()
        return (pytest.mark.xfail(reason=expected[law.name], strict=True),)

    items = [pytest.param(LawItem(run, law), id=law.name, marks=marks(law)) for law in plan.properties]
    return pytest.mark.parametrize("law", items)
