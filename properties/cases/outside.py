"""What is outside a domain: cases that miss it by one thing, and what it excludes in words."""

from dataclasses import replace
from functools import cache
from typing import Any

from properties.cases.case import DTYPES, Case
from properties.cases.domain import DATA_DIMS, Domain


@cache
def just_outside(domain: Domain) -> dict[str, Case]:
    """Cases that are outside by one thing, by what that is."""
    found: dict[str, Case] = {}
    patch_size = domain.smallest.spec.patch_size if domain.patch_sizes or isinstance(domain.sizes, tuple) else 2
    stride = domain.nearest_stride(patch_size, patch_size)
    windows = 1 if domain.sizes == "one patch" else 2
    sizes = domain.sizes if isinstance(domain.sizes, tuple) else (patch_size + (windows - 1) * stride,)
    spec = replace(domain.smallest.spec, patch_size=patch_size, stride=stride)
    axes = spec.data_dim
    inside = replace(
        domain.smallest, spec=spec, input=replace(domain.smallest.input, sizes=sizes * (axes // len(sizes)))
    )

    def outside(what: str, *, of_input: dict[str, Any] | None = None, **of_spec: Any) -> None:
        other = replace(inside.spec, **of_spec)
        found[what] = replace(inside, spec=other, input=replace(inside.input, **of_input or {}))

    for data_dim in DATA_DIMS:
        if data_dim not in domain.data_dims:
            outside(f"{data_dim}D", of_input={"sizes": (inside.input.sizes * 3)[:data_dim]}, data_dim=data_dim)
    for name, values in (("in_features", domain.in_features), ("out_features", domain.out_features)):
        if values is not None:
            more: dict[str, Any] = {name: max(values) + 1}
            outside(f"{name} {max(values) + 1}", **more)
    if domain.patch_sizes is not None and domain.sizes == "any" and not isinstance(domain.stride, int):
        other = next(n for n in range(1, len(domain.patch_sizes) + 2) if n not in domain.patch_sizes)
        bigger = (max(other, inside.input.sizes[0]),) * axes
        outside(f"patch_size {other}", of_input={"sizes": bigger}, patch_size=other, stride=other)
    if not isinstance(domain.sizes, tuple):
        at = (windows * patch_size,) * axes
        if isinstance(domain.stride, int):
            outside(f"stride {domain.stride + 1}", of_input={"sizes": at}, stride=domain.stride + 1)
        elif domain.stride != "any" and patch_size > 1 and domain.sizes != "one patch":
            outside("stride below the patch", of_input={"sizes": at}, stride=patch_size - 1)
        if domain.stride == "patch" and domain.sizes != "one patch":
            outside("stride past the patch", of_input={"sizes": (2 * patch_size + 1,) * axes}, stride=patch_size + 1)
    if domain.bias != "either":
        outside("no bias" if domain.bias == "always" else "a bias", bias=domain.bias == "never")
    if domain.sizes != "any":
        what = "other sizes" if isinstance(domain.sizes, tuple) else "sizes with a remainder"
        outside(what, of_input={"sizes": (*inside.input.sizes[:-1], inside.input.sizes[-1] + 1)})
    for dtype in DTYPES:
        if dtype not in domain.dtypes:
            outside(dtype, of_input={"dtype": dtype})
    return found


def excluded(domain: Domain) -> list[str]:
    """What is not judged, by declaration, in words."""
    told = []
    if missing := [f"{data_dim}D" for data_dim in DATA_DIMS if data_dim not in domain.data_dims]:
        told.append(" and ".join(missing))
    for name, values in (
        ("in_features", domain.in_features),
        ("out_features", domain.out_features),
        ("patch sizes", domain.patch_sizes),
    ):
        if values is not None:
            told.append(f"{name} other than {_listed(values)}")
    if domain.stride != "any":
        others = {"patch": "the patch", "at least the patch": "at least the patch"}.get(str(domain.stride))
        told.append(f"strides other than {others or domain.stride}")
    if domain.bias != "either":
        told.append("layers without a bias" if domain.bias == "always" else "layers with a bias")
    if domain.sizes == "no remainder":
        told.append("sizes that leave a remainder")
    elif domain.sizes != "any":
        told.append(f"sizes other than {'one patch' if domain.sizes == 'one patch' else _listed(domain.sizes, ' x ')}")
    if missing := [dtype for dtype in DTYPES if dtype not in domain.dtypes]:
        told.append(" and ".join(missing))
    for what, bits in (("weights", domain.weight_bits), ("inputs", domain.input_bits)):
        if bits is not None:
            told.append(f"what comes of {what} that are rounded to {bits} bits")
    return told


def _listed(values: tuple[int, ...] | str, between: str = ", ") -> str:
    return between.join(map(str, values))
