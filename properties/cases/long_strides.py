"""Cases of long strides whose windows just fit, where a grid that is worked out by rounded numbers lacks one."""

from contextlib import suppress
from dataclasses import replace

from properties.cases.case import Backward, Case, Fill, Spec
from properties.cases.error import CaseError

# Every stride up to here is due, a few in each case.
_LONGEST = 128
_IN_A_CASE = 4
# The most taps of a patch that is as large as its stride.
_MOST_TAPS = 2**12


def of_long_strides(case: Case) -> list[Case]:
    """Cases of one channel with two or three windows along the last axis, after which no pixel is left.

    Which strides follows from the data seed. Patches are as long as the stride where that is cheap, or of one pixel.
    """
    found = []
    for number in range(_IN_A_CASE):
        turn = case.fill.seed * _IN_A_CASE + number
        stride, windows = turn % _LONGEST + 1, turn // _LONGEST % 2 + 2
        patch_size = stride if turn % 3 and stride**case.spec.data_dim <= _MOST_TAPS else 1
        spec = Spec(1, 1, case.spec.data_dim, patch_size, stride, bias=False)
        sizes = (*[patch_size] * (case.spec.data_dim - 1), (windows - 1) * stride + patch_size)
        given = replace(case.input, batch=1, sizes=sizes, layout="contiguous", origin="leaf")
        with suppress(CaseError):
            found.append(
                replace(
                    case,
                    spec=spec,
                    input=given,
                    fill=Fill("exact", case.fill.seed),
                    weight_layout="plain",
                    backward=Backward((), "random"),
                )
            )
    return found
