"""Cases for one's own tests: a strategy of Hypothesis."""

from collections.abc import Sequence

from hypothesis import strategies as st

from properties.cases import drawing
from properties.cases.case import Case
from properties.cases.domain import WHOLE, Domain


def cases(
    domain: Domain = WHOLE, *, dtypes: Sequence[str] | None = None, small: bool = False
) -> st.SearchStrategy[Case]:
    """Cases of a domain, as a run draws them: ``@given(cases(Domain(data_dims=(2,))))``.

    Args:
        domain: what the layer is for.
        dtypes: names of dtypes to draw from; None means those of the domain.
        small: whether all numbers are small.
    """
    return drawing.cases(tuple(dtypes or domain.dtypes), small=small).map(domain.nearest)
