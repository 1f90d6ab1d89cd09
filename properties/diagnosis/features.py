"""Which features of a case a failure takes, found by changing one factor at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from properties.cases import case as cases
from properties.cases.case import PARAMETERS_AND_INPUT, Case
from properties.diagnosis.evidence import LEVELS, Only, remainders
from properties.diagnosis.growth import affordable, changed, reshaped

# Whether a case fails; None where it says nothing, since it could not fail in this way, or cannot be run.
Judge = Callable[[Case], bool | None]
_NUMBERS = ("patch_size", "in_features", "out_features", "batch", "windows")
_CHOICES = {
    "dtype": cases.DTYPES,
    "layout": cases.LAYOUTS,
    "weight_layout": cases.WEIGHT_LAYOUTS,
    "cotangent": cases.COTANGENTS,
    "mode": cases.MODES,
    "origin": cases.ORIGINS,
    "autocast": cases.AUTOCAST[1:],
}
# Factors whose levels change with another.
_WITH = {"data_dim": ("sizes",), "bias": ("bias_gradient",)}
# What a compiler takes notice of: more would take too many compilations.
COMPILED = ("dtype", "data_dim", "layout", "stride", "sizes", "mode", "input_gradient", "patch_size")


def features(case: Case, shown: Case, fails: Judge, factors: Sequence[str] | None = None) -> Iterator[Only]:
    """The features that a failure takes, of which each holds for both cases: both fail.

    Args:
        case: on which it was measured.
        shown: the case that is shown, as small as there is: its numbers are where a failure begins.
        fails: judges other cases.
        factors: what is changed; None means everything.
    """
    known: dict[Case, bool | None] = {case: True, shown: True}
    found: list[Only] = []

    def judge(of: Case, factor: str, other: Case | None) -> bool | None:
        if other is None or not (affordable(other) or other.elements <= 2 * shown.elements):
            return None
        free = (*_NUMBERS, factor, *_WITH.get(factor, ()))
        # A patch of one pixel has no smaller stride; where the stride does not matter, it may change.
        if factor == "patch_size" and not any(only.factor == "stride" for only in found):
            free += ("stride",)
        same = (name for name in LEVELS if name not in free)
        if any(LEVELS[name](of) != LEVELS[name](other) for name in same):
            return None
        if other not in known:
            known[other] = fails(other)
        return known[other]

    for factor in LEVELS if factors is None else factors:
        only = _number(factor, shown, judge) if factor in _NUMBERS else _choice(factor, case, judge)
        if only is not None and only.holds(shown) and only.holds(case):
            found.append(only)
            yield only


_Judge = Callable[[Case, str, Case | None], bool | None]


def _choice(factor: str, case: Case, judge: _Judge) -> Only | None:
    """The levels of a factor at which the failure is there, where it is not there at some other."""
    judged: dict[str | int, set[bool | None]] = {LEVELS[factor](case): {True}}
    for other in _variants(factor, case):
        if other is not None:
            judged.setdefault(LEVELS[factor](other), set()).add(judge(case, factor, other))
    failing = tuple(level for level, outcomes in judged.items() if True in outcomes)
    passing = [level for level, outcomes in judged.items() if False in outcomes and True not in outcomes]
    return Only(factor, failing) if passing else None


def _variants(factor: str, case: Case) -> Iterator[Case | None]:
    """The case at other levels of a factor, by one change each."""
    spec, after, grid, wanted = case.spec, remainders(case), case.grid, case.backward.requires_grad
    dims, alike = spec.data_dim, (max(after),) * spec.data_dim
    match factor:
        case "data_dim":
            for other in {1, 2, 3} - {dims}:
                for more in (0, 1):
                    windows = (*grid, max(grid) + more, max(grid) + 2 * more)[:other]
                    yield reshaped(case, replace(spec, data_dim=other), windows, (after * 3)[:other])
        case "stride":
            for stride in {max(1, spec.patch_size - 1), spec.patch_size, spec.patch_size + 1, spec.patch_size + 2}:
                yield reshaped(case, replace(spec, stride=stride), grid, after)
        case "remainder" if any(after):
            # With other windows as well, so that no equality of sizes passes for its cause.
            yield from (reshaped(case, spec, tuple(g + more for g in grid), (0,) * dims) for more in (0, 1))
        case "remainder":
            yield from (reshaped(case, spec, grid, (rest,) * dims) for rest in (1, spec.effective_stride - 1))
        case "sizes" if dims > 1:
            yield from (reshaped(case, spec, (windows,) * dims, alike) for windows in (max(grid), min(grid), 3))
            for more in (1, 2):
                yield reshaped(case, spec, tuple(g + more * axis for axis, g in enumerate(grid)), after)
        case "channels":
            for into, out in ((1, 0), (0, 1), (0, 2)):
                yield changed(case, in_features=spec.in_features + into, out_features=spec.out_features + out)
            yield changed(case, in_features=spec.out_features)
            yield changed(case, out_features=spec.in_features)
        case "bias":
            rest = tuple(name for name in wanted if name != "bias")
            yield changed(replace(case, backward=replace(case.backward, requires_grad=rest)), bias=not spec.bias)
        case "input_gradient" | "weight_gradient" | "bias_gradient" if wanted:
            others = set(wanted) ^ {factor.removesuffix("_gradient")}
            yield changed(case, requires_grad=tuple(name for name in PARAMETERS_AND_INPUT if name in others))
        case "cotangent" if not wanted:
            return
        case _ if factor in _CHOICES:
            yield from (changed(case, tf32=False, **{factor: level}) for level in _CHOICES[factor])


def _number(factor: str, shown: Case, judge: _Judge) -> Only | None:
    """A number from which on there is a failure, or that must be odd or even, or that one alone."""
    number, spec, grid, after = LEVELS[factor](shown), shown.spec, shown.grid, remainders(shown)
    assert isinstance(number, int)

    def made(other: int) -> Case | None:
        match factor:
            case "patch_size":
                stride = spec.stride and max(1, spec.stride + other - number)
                return reshaped(shown, replace(spec, patch_size=other, stride=stride), grid, after)
            case "windows":
                axes = range(len(grid)) if len(set(grid)) == 1 else [grid.index(number)]
                return reshaped(shown, spec, tuple(other if a in axes else g for a, g in enumerate(grid)), after)
            case "in_features" if spec.in_features == spec.out_features:
                return changed(shown, in_features=other, out_features=other)
            case _:
                return changed(shown, **{factor: other})

    def at(other: int) -> bool | None:
        return judge(shown, factor, made(other)) if other > 0 else None

    above, below = [at(number + more) for more in (1, 2, 3, 4)], [at(number - less) for less in (1, 2)]
    if above == [False, True, False, True]:
        return Only(factor, (), "odd" if number % 2 else "even")
    if True in above and False not in above and below[0] is False and True not in below:
        return Only(factor, (number,), "from")
    if True not in above and above.count(False) >= 2 and True not in below:
        return Only(factor, (number,))
    return None
