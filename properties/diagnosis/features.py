"""The features of a failing case, each with its alternatives."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from properties.cases.case import (
    COTANGENTS,
    DTYPES,
    LAYOUTS,
    PARAMETERS_AND_INPUT,
    WEIGHT_LAYOUTS,
    Backward,
    Case,
)
from properties.cases.error import CaseError
from properties.diagnosis.growth import reshaped, rests, with_axis
from properties.diagnosis.words import listed

# Fails, passes, or says nothing, of a case.
Judge = Callable[[Case], bool | None]
# Windows along an axis, in a case that was made small, that must each be there for a failure to show.
_MANY_WINDOWS = 9


def _choices(fails: Judge, cases: dict[str, Case]) -> list[str] | None:
    """Of the alternatives, those that fail; None where none passes, so that there is no choice."""
    judged = {name: fails(case) for name, case in cases.items()}
    if not any(failed is False for failed in judged.values()):
        return None
    return [name for name, failed in judged.items() if failed]


def _necessary(fails: Judge, alternatives: Iterator[Case | None]) -> bool:
    """Whether every alternative on which something is said passes."""
    judged = [fails(case) for case in alternatives if case is not None]
    return False in judged and True not in judged


def _dtype(case: Case, fails: Judge) -> str | None:
    cases = {}
    for name in DTYPES:
        changed = _changed(case, input=replace(case.input, dtype=name), tf32=False)
        if changed:
            cases[name] = changed
    failing = _choices(fails, cases)
    return f"in {listed(failing)}" if failing else None


def _data_dim(case: Case, fails: Judge) -> str | None:
    def fails_in(data_dim: int) -> bool | None:
        if data_dim == case.spec.data_dim:
            return True
        judged = []
        left = (rests(case) * 3)[:data_dim]
        for more in (0, 1):
            grid = (*case.grid, max(case.grid) + more, max(case.grid) + 2 * more)[:data_dim]
            changed = reshaped(case, replace(case.spec, data_dim=data_dim), grid, left)
            judged.append(None if changed is None else fails(changed))
        return True if True in judged else False if False in judged else None

    judged = {f"{data_dim}D": fails_in(data_dim) for data_dim in (1, 2, 3)}
    failing = [name for name, failed in judged.items() if failed]
    return f"in {listed(failing)}" if False in judged.values() else None


def _layout(case: Case, fails: Judge) -> str | None:
    names = [name for name in LAYOUTS if name != "expanded" or case.input.batch > 1]
    failing = _choices(fails, {name: replace(case, input=replace(case.input, layout=name)) for name in names})
    if failing and set(names) - set(failing) <= {"expanded"}:
        return None  # An expanded batch repeats one sample: it shows less.
    # With sizes of 1 an odd stride is the only thing that is odd: such a tensor still counts as contiguous.
    contiguous = {"contiguous"} if 1 in case.input_shape else {"contiguous", "odd_strides"}
    if failing and contiguous.isdisjoint(failing) and set(failing) | contiguous >= set(names) - {"odd_strides"}:
        return "for inputs that are not contiguous"
    if failing == ["odd_strides"]:
        return "for inputs with an odd stride along an axis of size 1"
    if failing and set(failing) <= {"contiguous", "odd_strides"}:
        return "for contiguous inputs"
    return f"for {listed([name.replace('_', ' ') for name in failing])} inputs" if failing else None


def _weight_layout(case: Case, fails: Judge) -> str | None:
    if case.spec.data_dim == 1:
        return None
    failing = _choices(fails, {name: replace(case, weight_layout=name) for name in WEIGHT_LAYOUTS})
    return f"where the weight is {failing[0]}" if failing else None


def _stride(case: Case, fails: Judge) -> str | None:
    """Smaller than the patch, equal or larger: by another stride, and by another patch."""
    spec, step = case.spec, case.spec.step

    def kind_of(patch_size: int, stride: int) -> str:
        return "larger than" if stride > patch_size else "smaller than" if stride < patch_size else "equal to"

    judged: dict[str, set[bool | None]] = {kind_of(spec.patch_size, step): {True}}
    strides = {(spec.patch_size, stride) for stride in range(max(1, spec.patch_size - 2), spec.patch_size + 3)}
    patches = {(patch_size, step) for patch_size in range(max(1, step - 1), step + 3)}
    for patch_size, stride in sorted(strides | patches):
        other = replace(spec, patch_size=patch_size, stride=stride)
        kind = kind_of(patch_size, stride)
        if kind != kind_of(spec.patch_size, step):
            for left in {tuple(min(n, stride - 1) for n in rests(case)), (stride - 1,) * spec.data_dim}:
                changed = reshaped(case, other, case.grid, left)
                judged.setdefault(kind, set()).add(None if changed is None else fails(changed))
    failing = [kind for kind, outcomes in judged.items() if True in outcomes]
    passing = [kind for kind, outcomes in judged.items() if False in outcomes and True not in outcomes]
    if len(failing) == 2 and len(passing) == 1:
        return f"where the stride is not {passing[0]} the patch"
    return f"where the stride is {failing[0]} the patch" if passing and len(failing) == 1 else None


def _remainder(case: Case, fails: Judge) -> str | None:
    step, data_dim = case.spec.step, case.spec.data_dim
    if any(rests(case)):
        # At other sizes as well, so that no equality of them passes for its cause.
        grids = (case.grid, tuple(g + axis for axis, g in enumerate(case.grid)))
        if _necessary(fails, (reshaped(case, case.spec, grid, (0,) * data_dim) for grid in grids)):
            return "where pixels are left over after the last window"
        return None
    if step > 1 and _necessary(
        fails, (reshaped(case, case.spec, case.grid, (left,) * data_dim) for left in {1, step - 1})
    ):
        return "where no pixels are left over after the last window"
    return None


def _sizes(case: Case, fails: Judge) -> str | None:
    if case.spec.data_dim == 1:
        return None
    left = rests(case)
    alike = (left[0],) * len(left)
    unequal = [
        reshaped(case, case.spec, tuple(g + more * axis for axis, g in enumerate(case.grid)), rest)
        for more in (1, 2)
        for rest in (left, alike)
    ]
    equal = [reshaped(case, case.spec, (g,) * len(case.grid), alike) for g in {*case.grid, 3}]
    if len(set(case.input.sizes)) > 1 and _necessary(fails, iter(equal)):
        return "where the sizes of the axes differ"
    if len(set(case.grid)) == 1:
        if not _necessary(fails, iter(unequal)):
            return None
        square = reshaped(
            case, case.spec, case.grid, (0, *left[1:]) if left[0] else (min(1, case.spec.step - 1), *left[1:])
        )
        differs = square is not None and len(set(square.input.sizes)) > 1 and fails(square) is True
        return "where all axes have as many windows" if differs else "where the sizes of all axes are equal"
    return None


def _windows(case: Case, fails: Judge) -> str | None:
    """So many that a kernel makes more than one tile of them, or an index becomes too wide."""
    most = max(case.grid)
    if most < _MANY_WINDOWS:
        return None
    axis = case.grid.index(most)

    def judged(windows: int) -> bool | None:
        changed = reshaped(case, case.spec, with_axis(case.grid, axis, windows), rests(case))
        return None if changed is None else fails(changed)

    begins = [judged(most - 1), judged(most - 2)] == [False, False] and True in (judged(most + 1), judged(most + 2))
    return f"from {most:,} windows on" if begins else None


def _channels(case: Case, fails: Judge) -> str | None:
    spec = case.spec
    if case.fill.name == "address":
        return None
    if spec.in_features == spec.out_features:
        others = [_changed(case, spec=replace(spec, out_features=spec.out_features + more)) for more in (1, 2)]
        others.append(_changed(case, spec=replace(spec, in_features=spec.in_features + 1)))
        return "where C_in = C_out" if _necessary(fails, iter(others)) else None
    same = [
        _changed(case, spec=replace(spec, in_features=n, out_features=n)) for n in (spec.in_features, spec.out_features)
    ]
    return "where C_in and C_out differ" if _necessary(fails, iter(same)) else None


def _bias(case: Case, fails: Judge) -> str | None:
    wanted = tuple(name for name in case.backward.requires_grad if name != "bias")
    if not case.spec.bias:
        other = _changed(case, spec=replace(case.spec, bias=True))
        return "without a bias" if _necessary(fails, iter([other])) else None
    other = _changed(case, spec=replace(case.spec, bias=False), backward=replace(case.backward, requires_grad=wanted))
    return "with a bias" if _necessary(fails, iter([other])) else None


def _gradients(case: Case, fails: Judge) -> str | None:
    wanted = case.backward.requires_grad
    if not wanted:
        return None
    every = tuple(name for name in PARAMETERS_AND_INPUT if name != "bias" or case.spec.bias)
    for name in every:
        if name in wanted:
            rest = tuple(other for other in wanted if other != name)
            words = f"where the {name} needs a gradient"
        else:
            rest = tuple(other for other in every if other in (*wanted, name))
            words = f"where the {name} needs no gradient"
        if rest and _necessary(fails, iter([replace(case, backward=Backward(rest, case.backward.cotangent))])):
            return words
    return None


def _cotangent(case: Case, fails: Judge) -> str | None:
    if not case.backward.requires_grad:
        return None
    cases = {kind: replace(case, backward=replace(case.backward, cotangent=kind)) for kind in COTANGENTS}
    failing = _choices(fails, cases)
    if not failing or set(failing) >= set(COTANGENTS) - {"zero", "ones"}:
        return None
    named = {"channels_first": "stored channels first", "expanded": "expanded", "zero": "zero", "ones": "all ones",
             "random": "dense and random", "summed": "that of a sum", "pooled": "that of a mean over the grid",
             "sliced": "cut from behind a class token", "transposed": "transposed"}  # fmt: skip
    return f"for a cotangent that is {' or '.join(named[kind] for kind in failing)}"


Change = Callable[[Case, int], Case | None]


def number_in_words(
    name: str, now: Callable[[Case], int], at: Change, case: Case, smallest: Case, fails: Judge, least: int
) -> str | None:
    """A feature that is a number: where the failure begins, whether it takes an odd one, or that one alone."""
    n = now(smallest)

    def judged(number: int, of: Case) -> bool | None:
        changed = at(of, number) if number > 0 else None
        return None if changed is None else fails(changed)

    above = [judged(n + more, smallest) for more in (1, 2, 3, 4)]
    if above == [False, True, False, True] and judged(now(case) + 1, case) is not True:
        return f"where {name} is {'odd' if n % 2 else 'even'}"
    if (
        now(case) == n
        and True not in above
        and above.count(False) >= 2
        and not any(judged(n + more, case) for more in (1, 2, 3))
    ):
        return f"where {name} is {n}" if judged(n - 1, smallest) is not True else None
    below = [judged(n - less, of) for less in (1, 2) for of in (smallest, case)]
    if n >= least and above.count(True) >= 2 and False not in above and below[0] is False and True not in below:
        return f"from {name} {n} on"
    return None


def _patch(case: Case, patch_size: int) -> Case | None:
    return reshaped(case, replace(case.spec, patch_size=patch_size), case.grid, rests(case))


def _into(case: Case, channels: int) -> Case | None:
    return _changed(case, spec=replace(case.spec, in_features=channels))


def _out(case: Case, channels: int) -> Case | None:
    return None if case.fill.name == "address" else _changed(case, spec=replace(case.spec, out_features=channels))


def _batch(case: Case, batch: int) -> Case | None:
    return _changed(case, input=replace(case.input, batch=batch))


def _changed(case: Case, **changes: object) -> Case | None:
    try:
        return replace(case, **changes)  # type: ignore[arg-type]
    except CaseError:
        return None


FEATURES: dict[str, Callable[[Case, Judge], str | None]] = {
    "dtype": _dtype,
    "data_dim": _data_dim,
    "layout": _layout,
    "weight_layout": _weight_layout,
    "stride": _stride,
    "remainder": _remainder,
    "sizes": _sizes,
    "windows": _windows,
    "channels": _channels,
    "bias": _bias,
    "gradients": _gradients,
    "cotangent": _cotangent,
}


NUMBERS: dict[str, tuple[str, Callable[[Case], int], Change]] = {
    "patch": ("patch_size", lambda case: case.spec.patch_size, _patch),
    "in_features": ("in_features", lambda case: case.spec.in_features, _into),
    "out_features": ("out_features", lambda case: case.spec.out_features, _out),
    "batch": ("the batch", lambda case: case.input.batch, _batch),
}
