"""Domains: cases are moved inside, one step outside is outside, and nonsense is refused."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from properties import Domain
from properties.cases.case import Case, Input, Spec
from properties.cases.covering import steered
from properties.cases.domain import WHOLE, DomainError
from properties.cases.drawing import draw_cases
from properties.cases.drawing_histories import draw_histories
from properties.cases.factors import levels
from properties.cases.history import Backward, Forward
from properties.cases.landmarks import inside, landmarks
from properties.cases.numbers import MOST_ELEMENTS
from properties.cases.outside import excluded, just_outside
from properties.cases.small_scope import count, small_scope
from properties.cases.space import Space, possible

DOMAINS: dict[str, Domain] = {
    "images of patches": Domain(data_dims=(2,), stride="patch", bias="always"),
    "sequences and volumes": Domain(data_dims=(1, 3), stride="at least the patch", bias="never"),
    "one window": Domain(data_dims=(3,), sizes="one patch", stride="patch"),
    "no remainder": Domain(sizes="no remainder", dtypes=("float32",), gradients=False),
    "one size": Domain(data_dims=(2,), sizes=(32, 48)),
    "one layer": Domain((2,), (3,), (768,), (16,), "patch", "always", (64, 48), ("float32",)),
    "spectrograms": Domain(data_dims=(2,), in_features=(1,), patch_sizes=(4, 16), stride=3),
}
each_domain = pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)


@cache
def drawn() -> tuple[Case, ...]:
    return (*draw_cases("domain", 300), *draw_histories("domain", 100, copies=True))


@each_domain
def test_every_case_has_a_nearest_one_inside(domain: Domain) -> None:
    found = [domain.nearest(case) for case in drawn()]
    assert all(map(domain.holds, found))
    assert [domain.nearest(case) for case in found] == found
    assert len(set(found)) > len(found) * 0.9


def test_the_whole_changes_nothing() -> None:
    assert all(WHOLE.nearest(case) == case for case in drawn())
    assert just_outside(WHOLE) == {}
    assert excluded(WHOLE) == []


def test_nearest_keeps_what_may_stay() -> None:
    case = Case(Spec(3, 5, 1, 4, stride=3), Input(2, (9,), layout="sliced"))
    assert Domain(data_dims=(2,)).nearest(case) == replace(
        case, spec=replace(case.spec, data_dim=2), input=replace(case.input, sizes=(9, 9))
    )
    # Two windows and a remainder of 2, as before.
    assert Domain(stride="patch").nearest(case).input.sizes == (10,)
    assert Domain(stride="patch", sizes="no remainder").nearest(case).input.sizes == (8,)
    assert Domain(patch_sizes=(2,), bias="always").nearest(case).spec == Spec(3, 5, 1, 2, stride=2, bias=True)


def test_what_would_cost_too_much_is_made_smaller() -> None:
    (case,) = [case for name, case in landmarks().items() if name.startswith("sequence, 65,537 windows, exact 1001")]
    found = Domain(data_dims=(3,), out_features=(64,)).nearest(case)
    assert found.spec.out_features == 64
    assert found.elements <= MOST_ELEMENTS


def test_a_domain_without_gradients_has_no_backward_pass() -> None:
    steps = [step for case in drawn() for step in DOMAINS["no remainder"].nearest(case).history]
    assert any(isinstance(step, Forward) for step in steps)
    assert not any(isinstance(step, Backward) or getattr(step, "mode", "") == "grad" for step in steps)


@each_domain
def test_just_outside_is_outside_by_one_thing(domain: Domain) -> None:
    assert len(just_outside(domain)) >= len(excluded(domain)) > 0
    for what, case in just_outside(domain).items():
        assert not domain.holds(case), what


@each_domain
def test_plain_data_both_ways(domain: Domain) -> None:
    assert Domain.from_json(json.loads(json.dumps(domain.to_json()))) == domain
    assert domain.within(WHOLE) == WHOLE.within(domain) == domain.within(domain) == domain


@each_domain
def test_all_that_is_possible_is_inside_and_is_reached(domain: Domain) -> None:
    space = Space(domain.dtypes, compiled=False, emptied=False, domain=domain)
    assert 0 < possible(space, 2).sum() < possible(Space(WHOLE.dtypes, compiled=False, emptied=False), 2).sum()
    found = steered((), domain.dtypes, 2, "domain", compiled=False, domain=domain)
    assert all(map(domain.holds, found))


def test_levels_are_those_of_the_domain() -> None:
    domain = DOMAINS["images of patches"]
    singles = {case_level for case in drawn() for case_level in levels(domain.nearest(case)).items()}
    assert {level for factor, level in singles if factor in ("data_dim", "stride", "bias")} == {"2", "= P", "yes"}


@each_domain
def test_landmarks_and_small_scope_are_those_inside(domain: Domain) -> None:
    every = landmarks(domain.dtypes)
    some = inside(every, domain)
    assert all(map(domain.holds, some.values()))
    assert len(some) < len(every)
    for data_dim in (1, 2, 3):
        shapes = list(small_scope(data_dim, domain.dtypes, domain=domain))
        assert len(shapes) == count(data_dim, domain=domain)
        assert all(map(domain.holds, shapes))


def test_small_scope_has_every_shape_of_the_domain() -> None:
    patches = Domain(data_dims=(1,), stride="patch", sizes="no remainder")
    assert count(1, domain=patches) == sum(32 // patch_size for patch_size in range(1, 9))
    assert count(2, domain=patches) == 0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no axes": ({"data_dims": ()}, "data_dims must be a tuple of some of 1, 2, 3, in that order, got ()"),
    "four axes": ({"data_dims": (4,)}, "data_dims must be"),
    "a list": ({"data_dims": [2]}, "data_dims must be a tuple"),
    "stride": ({"stride": "half"}, "stride must be one of 'any', 'at least the patch', 'patch', or one stride, got"),
    "no stride": ({"stride": 0}, "stride must be one of"),
    "true": ({"stride": True}, "stride must be one of"),
    "bias": ({"bias": True}, "bias must be one of 'either', 'always', 'never', got True"),
    "channels": ({"in_features": ()}, "in_features must be a tuple of numbers from 1"),
    "sizes of other axes": ({"sizes": (8, 8)}, r"sizes has 2 axes, \[8, 8\], but data_dims is \[1, 2, 3\]"),
    "patch past the sizes": (
        {"data_dims": (2,), "sizes": (8, 8), "patch_sizes": (16,)},
        "no patch of 16 fits into the sizes 8, 8",
    ),
    "too large": ({"in_features": (2**20,), "out_features": (2**20,)}, "holds no case that can be judged: the weight"),
    "dtype": ({"dtypes": ("int8",)}, "dtypes must be a tuple of some of float64"),
    "gradients": ({"gradients": 1}, "gradients must be true or false, got 1"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_nonsense_is_refused(arguments: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message.replace("()", r"\(\)") if "got ()" in message else message):
        Domain(**arguments)


def test_json_of_another_kind_is_refused() -> None:
    with pytest.raises(DomainError, match="has no field 'dims'; its fields are data_dims, "):
        Domain.from_json({"dims": [2]})
    with pytest.raises(DomainError, match="must be an object"):
        Domain.from_json([2])


def test_domains_with_nothing_in_common_are_refused() -> None:
    with pytest.raises(DomainError, match="nothing is in both domains: their data_dims are 1 and 2"):
        Domain(data_dims=(1,)).within(Domain(data_dims=(2,)))
    with pytest.raises(DomainError, match="their bias are 'always' and 'never'"):
        Domain(bias="always").within(Domain(bias="never"))
    assert Domain(stride="patch").within(Domain(stride="at least the patch")).stride == "patch"
