"""A run in a domain: what is outside is told and fails nothing, and what is declared is judged."""

import json
from pathlib import Path
from typing import Any

import pytest

from patchify import Patchify
from properties import CannotRun, Domain, Report, verify
from properties.failures.record import read_record
from properties.failures.replay import Outcome, replay
from properties.laws import LAWS
from properties.runs.plan import Plan, make_plan
from tests.helpers.mutant_cases import BY_NAME
from tests.mutants.refusal import OverlapAcceptedThoughExcluded

ONLY = ["values_exact", "uncovered_pixels_ignored", "weight_gradient_exact"]
IMAGES = Domain(data_dims=(2,), stride="patch", bias="always", dtypes=("float32",))


class Images(Patchify):
    """For images, cut into patches, with a bias."""

    domain = IMAGES

    def __init__(
        self, in_features: int, out_features: int, data_dim: int, patch_size: int, *stride_and_bias: Any, **named: Any
    ) -> None:
        super().__init__(in_features, out_features, data_dim, patch_size, *stride_and_bias, **named)
        if data_dim != 2 or self.stride != patch_size or self.conv.bias is None:
            raise ValueError("for images of patches, with a bias")


def check(layer: Any, **changes: Any) -> Report:
    return verify(layer, **{"seed": 7, "cases": 20, "strength": 0, "scope_sample": 40, "jobs": 0, **changes})


def test_a_layer_of_a_domain_passes_in_it() -> None:
    report = check(Images, only=ONLY)
    assert report.passed, report.problems
    assert report.by_declaration[0] == (
        "not judged, by declaration: 1D and 3D; strides other than the patch; layers without a bias; "
        "float64 and bfloat16 and float16"
    )
    assert {level for level, count in report.coverage["data_dim"].items() if count} == {"2"}
    reached, possible = report.reached(1)
    assert 40 < reached < possible < 100
    assert 0 < len(report.landmarks) <= len(report.plan.cases_of("landmarks")) < 60


def test_without_its_domain_it_fails() -> None:
    undeclared = type("Undeclared", (Images,), {"domain": Domain()})
    assert "constructs" in {failure.property for failure in check(undeclared, only=ONLY).failures}


def test_what_is_accepted_though_excluded_is_told_and_fails_at_level_robust_alone() -> None:
    law = "refuses_what_it_declares_unsupported"
    told = check(OverlapAcceptedThoughExcluded, cases=0, levels=("contract",), fail_fast=True)
    assert "accepted, though declared unsupported: stride below the patch" in told.by_declaration
    assert law not in told.checks
    (failure,) = check(OverlapAcceptedThoughExcluded, only=[law]).failures
    assert (failure.property, failure.case.spec.effective_stride) == (law, 1)
    assert BY_NAME[law] in make_plan(Images, levels=("contract", "robust")).properties
    assert check(Images, only=["H10"]).problems == (
        "refuses_what_it_declares_unsupported failed: what the domain excludes is accepted",
    )


def test_laws_that_need_what_the_domain_lacks_are_not_judged() -> None:
    plan = make_plan(Patchify, domain=Domain(gradients=False), levels=("contract", "robust"))
    assert {prop.name for prop in plan.undeclared} == {prop.name for prop in LAWS if "gradients" in prop.needs}
    assert not set(plan.undeclared) & {*plan.properties, *plan.owners}
    # Those that are asked for by their clause are told, too.
    by_clause = make_plan(Patchify, domain=Domain(gradients=False), only=["C7", "C11"]).undeclared
    assert {prop.name for prop in LAWS if "C11" in prop.clauses and "gradients" in prop.needs} <= {
        prop.name for prop in by_clause
    }
    assert all(not case.backward.requires_grad for case in plan.cases_of("random0").values())
    with pytest.raises(
        CannotRun, match=r"weight_gradient_exact \(it does not judge the layer, since it has no gradients\)"
    ):
        make_plan(Patchify, domain=Domain(gradients=False), only=["weight_gradient_exact"])


def test_what_says_nothing_in_a_domain_is_told() -> None:
    covered = Domain(data_dims=(1,), stride="patch", sizes="no remainder")
    report = check(Patchify, domain=covered, only=ONLY)
    assert report.passed, report.problems
    assert "not judged on this domain: uncovered_pixels_ignored (every pixel is covered)" in report.by_declaration
    assert "2 of 2 properties held" in report.verdict_line


def test_one_size_alone() -> None:
    """No law calls a layer at a size that it was not made for."""
    fixed = (8, 12)

    class OneSize(Patchify):
        domain = Domain(data_dims=(2,), sizes=fixed)

        def forward(self, x: Any) -> Any:
            if tuple(x.shape[1:-1]) != fixed:
                raise ValueError(f"sizes must be {fixed}")
            return super().forward(x)

    report = check(OneSize, cases=8)
    assert report.passed, report.problems


def test_plain_data_both_ways() -> None:
    plan = make_plan("tests.integration.test_domains:Images", seed=3, cases=5, strength=0, data_dims=(2, 3))
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert (again.domain, again.asked_domain) == (IMAGES, Domain(data_dims=(2, 3)))
    assert again.cases_of("random0") == plan.cases_of("random0")


def test_axes_are_narrowed() -> None:
    assert make_plan(Patchify, data_dims=[1, 2]).domain == Domain(data_dims=(1, 2))
    with pytest.raises(CannotRun, match="the implementation declares another domain than is asked for: nothing is in"):
        make_plan(Images, data_dims=[1])
    with pytest.raises(CannotRun, match="data_dims must be some of 1, 2 and 3, got"):
        make_plan(Patchify, data_dims=[4])
    with pytest.raises(CannotRun, match="dtypes names float64; the domain has float32 alone"):
        make_plan(Images, dtypes=["float64"])


def test_a_domain_of_another_kind_is_refused() -> None:
    with pytest.raises(CannotRun, match=r"domain of an implementation must be a properties.Domain, got dict"):
        make_plan(type("Odd", (Patchify,), {"domain": {}}))


def test_a_report_is_printed_as_its_verdict() -> None:
    report = check(Images, only=ONLY, cases=0, scope_sample=400)
    assert str(report).splitlines() == [report.verdict_line, *report.problems, *report.by_declaration]


def test_a_record_is_replayed_in_the_domain_of_its_run(tmp_path: Path) -> None:
    law = "refuses_what_it_declares_unsupported"
    domain = Domain(data_dims=(1,), sizes=(8,))
    report = verify("patchify:Patchify", domain=domain, only=[law], seed=7, regressions=tmp_path, jobs=1)
    (failure,) = report.failures
    assert failure.record is not None
    assert read_record(failure.record).domain == domain
    assert replay(failure.record).outcome == Outcome.FAILED
