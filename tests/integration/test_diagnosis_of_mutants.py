"""No message contradicts the case below it, and nearly all mutants get the evidence that is declared beside them."""

import pytest

from properties.diagnosis.evidence import LEVELS
from tests.helpers.diagnoses import EXPLAINED, diagnosis_of, share
from tests.helpers.mutant_cases import BY_NAME
from tests.mutants import Mutant

# A compilation takes seconds: one in four here, all by ``python -m tests.helpers.diagnoses``.
_EAGER = [mutant for mutant in EXPLAINED if BY_NAME[mutant.detected_by].on != "compiled"]
DIAGNOSED = [*_EAGER, *[mutant for mutant in EXPLAINED if mutant not in _EAGER][::4]]


@pytest.mark.parametrize("mutant", DIAGNOSED, ids=lambda mutant: mutant.name)
def test_every_feature_that_is_named_holds_for_the_case_that_is_shown(mutant: Mutant) -> None:
    found = diagnosis_of(mutant)
    if found.evidence is None:
        assert found.cause == ""
        return
    measured_on = found.evidence.measured_on

    for only in found.evidence.only_when:
        assert only.holds(found.case), (only, found.cause)
        assert only.relation != "in" or LEVELS[only.factor](found.case) in only.levels
    # Axes, dtype and bits that a cause speaks of are those of the case.
    assert measured_on.spec.data_dim == found.case.spec.data_dim
    assert measured_on.input.dtype == found.case.input.dtype
    axes = found.evidence.parameters.get("axes", ())
    assert isinstance(axes, tuple)
    assert all(0 <= axis < found.case.spec.data_dim for axis in axes)
    other_shape = (measured_on.spec, measured_on.input) != (found.case.spec, found.case.input)
    assert not other_shape or "(measured with " in found.cause


def test_nearly_all_mutants_get_the_evidence_that_is_declared(capsys: pytest.CaptureFixture[str]) -> None:
    found = [diagnosis_of(mutant) for mutant in DIAGNOSED]
    right, declared = share(found)
    others = {each.mutant.name: each.id for each in found if not each.as_declared}
    with capsys.disabled():
        print(f"\n{right} of {declared} mutants get the evidence declared, {right / declared:.0%}; others: {others}")

    assert declared > 180
    assert right >= 0.8 * declared
    # What is declared to be said by the verdict gets no cause, rather than any.
    unwanted = [each.mutant.name for each in found if each.mutant.evidence is None and each.evidence is not None]
    assert len(unwanted) <= 0.2 * (len(found) - declared)
