"""When a layer is wrong: which features of a failing case it takes, found by changing them one at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from properties.case import COTANGENTS, DTYPES, LAYOUTS, PARAMETERS_AND_INPUT, WEIGHT_LAYOUTS, Backward, Case, CaseError
from properties.explanation.growth import reshaped, rests
from properties.explanation.probe import Subject
from properties.explanation.words import listed
from properties.verdict import Failed, Passed

# Fails, passes, or says nothing, of a case.
Judge = Callable[[Case], bool | None]


def judging(subject: Subject) -> Judge:
    """Whether the property fails on a case, None where it says nothing."""
    known: dict[Case, bool | None] = {}

    def judge(case: Case) -> bool | None:
        if case not in known:
            verdict = subject.verdict(case)
            known[case] = isinstance(verdict, Failed) if isinstance(verdict, Failed | Passed) else None
        return known[case]

    return judge


def context(case: Case, smallest: Case, fails: Judge, implied: Sequence[str] = ()) -> list[str]:
    """The features that the failure takes, each in words that follow "only".

    Args:
        case: a failing case, as large as is useful.
        smallest: a failing case, as small as there is: its numbers are where the failure begins.
        fails: judges other cases.
        implied: kinds of features that go without saying.
    """
    found = []
    for kind, feature in _FEATURES.items():
        if kind not in implied:
            words = feature(smallest if kind in _AT_SMALLEST else case, fails)
            if words:
                found.append(words)
    return found


def only(found: Sequence[str]) -> str:
    """One clause of several features: ``only in 2D and only where the stride is larger than the patch``."""
    return f"only {listed(found)}" if found else ""


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
    cases = {}
    for data_dim in (1, 2, 3):
        grid = (case.grid * 3)[:data_dim]
        left = (rests(case) * 3)[:data_dim]
        spec = replace(case.spec, data_dim=data_dim)
        changed = case if data_dim == case.spec.data_dim else reshaped(case, spec, grid, left)
        if changed:
            cases[f"{data_dim}D"] = changed
    failing = _choices(fails, cases)
    return f"in {listed(failing)}" if failing else None


def _layout(case: Case, fails: Judge) -> str | None:
    names = [name for name in LAYOUTS if name != "expanded" or case.input.batch > 1]
    failing = _choices(fails, {name: replace(case, input=replace(case.input, layout=name)) for name in names})
    # With sizes of 1 an odd stride is the only thing that is odd: such a tensor still counts as contiguous.
    contiguous = {"contiguous"} if 1 in case.input_shape else {"contiguous", "odd_strides"}
    if failing and contiguous.isdisjoint(failing) and set(failing) | contiguous >= set(names) - {"odd_strides"}:
        return "for inputs that are not contiguous"
    if failing and set(failing) <= {"contiguous", "odd_strides"}:
        return "for contiguous inputs"
    return f"for {listed([name.replace('_', ' ') for name in failing])} inputs" if failing else None


def _weight_layout(case: Case, fails: Judge) -> str | None:
    if case.spec.data_dim == 1:
        return None
    failing = _choices(fails, {name: replace(case, weight_layout=name) for name in WEIGHT_LAYOUTS})
    return f"where the weight is {failing[0]}" if failing else None


def _stride(case: Case, fails: Judge) -> str | None:
    spec = case.spec
    patch = spec.patch_size
    kinds = {
        "smaller than the patch": [patch - 1, patch - 2, 1],
        "equal to the patch": [patch],
        "larger than the patch": [patch + 1, patch + 2],
    }

    def kind_of(stride: int) -> str:
        return next(name for name, (low, high) in {
            "smaller than the patch": (1, patch - 1), "equal to the patch": (patch, patch),
            "larger than the patch": (patch + 1, math.inf)}.items() if low <= stride <= high)  # fmt: skip

    judged: dict[str, set[bool | None]] = {}
    for name, strides in kinds.items():
        for stride in dict.fromkeys(n for n in strides if n > 0 and kind_of(n) == name):
            judged.setdefault(name, set()).add(_reshaped_fails(case, fails, stride))
    judged.setdefault(kind_of(spec.step), set()).add(True)
    failing = [name for name, outcomes in judged.items() if True in outcomes]
    passing = [name for name, outcomes in judged.items() if False in outcomes and True not in outcomes]
    if not passing:
        return None
    if len(failing) == 2 and len(passing) == 1:
        return f"where the stride is not {passing[0]}"
    return f"where the stride is {failing[0]}" if len(failing) == 1 else None


def _reshaped_fails(case: Case, fails: Judge, stride: int) -> bool | None:
    """At another stride, with and without pixels left over."""
    outcomes = set()
    for left in (rests(case), tuple(min(n, stride - 1) for n in rests(case)), (stride - 1,) * case.spec.data_dim):
        if max(left) < stride:
            spec = replace(case.spec, stride=stride)
            changed = reshaped(case, spec, tuple(max(2, g) for g in case.grid), left)
            if changed:
                outcomes.add(fails(changed))
    return True if True in outcomes else False if False in outcomes else None


def _remainder(case: Case, fails: Judge) -> str | None:
    step, data_dim = case.spec.step, case.spec.data_dim
    if any(rests(case)):
        if _necessary(fails, iter([reshaped(case, case.spec, case.grid, (0,) * data_dim)])):
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
    unequal = (reshaped(case, case.spec, tuple(g + more * axis for axis, g in enumerate(case.grid)), left)
               for more in (1, 2))  # fmt: skip
    equal = (reshaped(case, case.spec, (g,) * len(case.grid), (left[0],) * len(left)) for g in {*case.grid, 3})
    if len(set(case.input.sizes)) == 1:
        return "where the sizes of all axes are equal" if _necessary(fails, unequal) else None
    return "where the sizes of the axes differ" if _necessary(fails, equal) else None


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
             "random": "dense and random"}  # fmt: skip
    return f"for a cotangent that is {' or '.join(named[kind] for kind in failing)}"


def _number(
    kind: str, now: Callable[[Case], int], at: Callable[[Case, int], Case | None]
) -> Callable[[Case, Judge], str | None]:
    """A feature that is a number: where the failure begins, whether it takes an odd one, or that one alone."""

    def feature(case: Case, fails: Judge) -> str | None:
        n = now(case)
        judged = {}
        for other in (n - 2, n - 1, n + 1, n + 2, n + 3, n + 4):
            changed = at(case, other) if other > 0 else None
            judged[other] = None if changed is None else fails(changed)
        if judged[n + 1] is False and judged[n + 3] is False and judged[n + 2] is True and judged[n + 4] is True:
            return f"where {kind} is {'odd' if n % 2 else 'even'}"
        above = [judged[other] for other in (n + 1, n + 2, n + 3, n + 4)]
        if True not in above and above.count(False) >= 2 and judged[n - 1] is not True:
            return f"where {kind} is {n}"
        if n > 2 and judged[n - 1] is False and judged[n - 2] is not True and above.count(True) >= 2:
            return f"from {kind} {n} on" if False not in above else None
        return None

    return feature


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


_FEATURES: dict[str, Callable[[Case, Judge], str | None]] = {
    "dtype": _dtype,
    "data_dim": _data_dim,
    "layout": _layout,
    "weight_layout": _weight_layout,
    "stride": _stride,
    "remainder": _remainder,
    "sizes": _sizes,
    "channels": _channels,
    "bias": _bias,
    "gradients": _gradients,
    "cotangent": _cotangent,
    "patch": _number("patch_size", lambda case: case.spec.patch_size, _patch),
    "in_features": _number("in_features", lambda case: case.spec.in_features, _into),
    "out_features": _number("out_features", lambda case: case.spec.out_features, _out),
    "batch": _number("the batch", lambda case: case.input.batch, _batch),
}
_AT_SMALLEST = ("patch", "in_features", "out_features", "batch")
