"""Cases of other layers that have much in common with a case, which what layers share mixes up."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from properties.cases.case import Case
from properties.cases.error import CaseError


def of_other_layers(case: Case) -> dict[str, Case]:
    """Cases of layers that differ in one thing, by what that is, as far as there are such cases.

    The input has the same sizes, but where the channels differ.
    """
    spec = case.spec
    others: dict[str, dict[str, Any]] = {
        f"stride {spec.effective_stride + 1}": {"stride": spec.effective_stride + 1},
        f"in_features {spec.in_features + 1}": {"in_features": spec.in_features + 1},
        f"out_features {spec.out_features + 1}": {"out_features": spec.out_features + 1},
        "no bias" if spec.bias else "a bias": {"bias": not spec.bias},
        "other parameters": {},
    }
    if spec.patch_size > 1:
        smaller = {"patch_size": spec.patch_size - 1, "stride": spec.effective_stride}
        others[f"patch_size {spec.patch_size - 1}"] = smaller
    # Numbers that have to fit the case are left to itself.
    name = case.fill.name if case.fill.name in ("exact", "real", "sparse") else "exact"
    fill = replace(case.fill, name=name, seed=case.fill.seed + 1)
    backward = replace(case.backward, requires_grad=())
    found = {}
    for what, change in others.items():
        with suppress(CaseError):
            found[what] = replace(case, spec=replace(spec, **change), fill=fill, backward=backward)
    return found
