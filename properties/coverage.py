"""Which cells of the parameter space a case falls into."""

import math

from properties.case import COMPILED, COTANGENTS, DTYPES, FILLS, LAYOUTS, WEIGHT_LAYOUTS, Case

CELLS: dict[str, tuple[str, ...]] = {
    "data_dim": ("1", "2", "3"),
    "stride": ("1", "< P, divides P", "< P, does not divide P", "= P", "> P"),
    "patch_size": ("1", "2", "prime", "other"),
    "remainder": ("no axis", "some axes", "all axes"),
    "sizes": ("equal", "unequal"),
    "in_features": ("1", "= P", "other"),
    "out_features": ("1", "= in_features", "other"),
    "batch": ("1", "few", "huge"),
    "bias": ("no", "yes"),
    "dtype": DTYPES,
    "layout": LAYOUTS,
    "weight layout": WEIGHT_LAYOUTS,
    "fill": FILLS,
    "gradients": ("none", "some", "all"),
    "cotangent": COTANGENTS,
    "compiled": COMPILED,
}


def cells(case: Case) -> dict[str, str]:
    """The cell of a case along every axis of ``CELLS``."""
    spec, given = case.spec, case.input
    left_over = [(size - spec.patch_size) % spec.step > 0 for size in given.sizes]
    wanted = len(case.backward.requires_grad)
    return {
        "data_dim": str(spec.data_dim),
        "stride": _stride(spec.patch_size, spec.step),
        "patch_size": _patch_size(spec.patch_size),
        "remainder": "all axes" if all(left_over) else "some axes" if any(left_over) else "no axis",
        "sizes": "equal" if len(set(given.sizes)) == 1 else "unequal",
        "in_features": "1" if spec.in_features == 1 else "= P" if spec.in_features == spec.patch_size else "other",
        "out_features": (
            "1" if spec.out_features == 1 else "= in_features" if spec.out_features == spec.in_features else "other"
        ),
        "batch": "1" if given.batch == 1 else "huge" if given.batch > 65_535 else "few",
        "bias": "yes" if spec.bias else "no",
        "dtype": given.dtype,
        "layout": given.layout,
        "weight layout": case.weight_layout,
        "fill": case.fill.name,
        "gradients": "none" if wanted == 0 else "all" if wanted == 2 + spec.bias else "some",
        "cotangent": case.backward.cotangent,
        "compiled": case.compiled,
    }


def _stride(patch_size: int, step: int) -> str:
    if step == patch_size:
        return "= P"
    if step > patch_size:
        return "> P"
    if step == 1:
        return "1"
    return "< P, divides P" if patch_size % step == 0 else "< P, does not divide P"


def _patch_size(patch_size: int) -> str:
    if patch_size <= 2:
        return str(patch_size)
    return "prime" if all(patch_size % n for n in range(2, math.isqrt(patch_size) + 1)) else "other"
