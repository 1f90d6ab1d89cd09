"""Cases with something in common with a case, which what a layer keeps from one call for the next mixes up."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from properties.cases.case import Case
from properties.cases.error import CaseError


def at_other_sizes(case: Case) -> list[Case]:
    """The case at other sizes, as far as there are such cases.

    Another batch; as many pixels in another shape; the same grid with another remainder.
    """
    sizes, stride = case.input.sizes, case.spec.effective_stride
    others = [tuple(reversed(sizes))]
    if others == [sizes]:
        others = [(sizes[0] + stride, *sizes[1:]), (*sizes[:-1], sizes[-1] + stride)]
    if stride > 1:
        remainder = (sizes[-1] - case.spec.patch_size) % stride
        others.append((*sizes[:-1], sizes[-1] + (1 if remainder + 1 < stride else -1)))
    changes: list[dict[str, Any]] = [{"sizes": other} for other in dict.fromkeys(others)]
    found = []
    for change in [{"batch": case.input.batch + 1}, *changes]:
        with suppress(CaseError):
            found.append(replace(case, input=replace(case.input, **change)))
    return found
