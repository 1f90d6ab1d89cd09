"""How the number of windows comes about, and by how much they are moved, measured at several sizes."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from properties.cases.case import Case
from properties.diagnosis.probe import Look
from properties.diagnosis.reading import Reading, read, resized, table_of
from properties.trials.trial import Raised


def shift_in_words(case: Case, look: Look, reading: Reading, axis: int, shift: int) -> str:
    """Whether windows are moved by what is left over, by half of it, or by the same number everywhere."""
    step, patch_size = case.spec.step, case.spec.patch_size
    base = patch_size + 2 * step
    seen = {}
    for rest in range(min(step, 5)):
        sizes = list(reading.given.x.shape[1:-1])
        sizes[axis] = base + rest
        other = resized(reading.given, sizes)
        again = read(case, look, other)
        table = None if again is None else table_of(again.source, case.spec.data_dim, axis)
        firsts = [] if table is None else [pixel - k - i * step for i, row in enumerate(table)
                                           for k, pixel in enumerate(row) if pixel is not None]  # fmt: skip
        if len(set(firsts)) != 1:
            return f"every window is moved by {shift}"
        seen[rest] = firsts[0]
    if len(seen) > 1 and all(found == rest for rest, found in seen.items()):
        return "the first pixels of the axis are dropped instead of the last"
    if len(seen) > 1 and all(found == rest // 2 for rest, found in seen.items()):
        return "half of what is left over is dropped on either side"
    if len(seen) > 1 and all(found == -(-rest // 2) for rest, found in seen.items()):
        return "half of what is left over is dropped on either side, the larger half in front"
    pixels = "1 pixel" if abs(shift) == 1 else f"{abs(shift)} pixels"
    return f"every window begins {pixels} {'late' if shift > 0 else 'early'}"


def count_in_words(
    case: Case, look: Look, reading: Reading, axis: int, starts: Sequence[int | None], expected: list[int]
) -> str:
    """How the number of windows comes about, measured at several sizes."""
    patch_size = case.spec.patch_size
    gap = len(starts) - len(expected)
    for words in _formulas(case, look, reading, axis):
        if gap == 1 and starts[-1] is not None and len(starts) > 1 and starts[-1] == starts[-2]:
            return f"{words}, and the last one repeats the one before it"
        return words
    for other, count in enumerate(case.grid if len(set(case.grid)) > 1 else ()):
        if other != axis and len(starts) == count:
            return f"there are as many as there should be on axis {other}"
    if list(starts[: len(expected)]) == expected:
        more = len(starts) - len(expected)
        over = [start is None or start + patch_size > reading.given.x.shape[1 + axis] for start in starts[-more:]]
        hangs = ", past the end of the axis" if all(over) else ""
        return f"{'one window' if more == 1 else f'{more} windows'} too many{hangs}"
    if expected[: len(starts)] == list(starts):
        fewer = len(expected) - len(starts)
        return "the last one is missing" if fewer == 1 else f"the last {fewer} are missing"
    return ""


def _formulas(case: Case, look: Look, reading: Reading, axis: int) -> list[str]:
    """What gives the number of windows on an axis at several sizes, where only one formula does.

    Formulas that agree at the stride of the case are told apart at others, where the layer takes them.
    """
    patch_size, step = case.spec.patch_size, case.spec.step
    fitting = list(_COUNTS)
    for stride in (step, *(other for other in (2, 3, 4, 5) if other != step)):
        square = len(set(reading.given.x.shape[1:-1])) == 1
        counts = {}
        for size in range(patch_size, patch_size + 3 * stride + 2)[:12]:
            sizes = [size if square or other == axis else n for other, n in enumerate(reading.given.x.shape[1:-1])]
            with suppress(Raised, IndexError):
                counts[size] = look(replace(resized(reading.given, sizes), stride=stride)).shape[1 + axis]
        fits = [
            words
            for words in fitting
            if all(_COUNTS[words](size, patch_size, stride) == count for size, count in counts.items())
        ]
        if stride == step or fits:
            fitting = fits
        if len(fitting) < 2:
            return fitting
    return []


# Windows by size, patch and stride, as layers get it wrong.
_COUNTS: dict[str, Callable[[int, int, int], int]] = {
    "their number is rounded up instead of down": lambda s, p, n: -(-(s - p) // n) + 1,
    "their number is rounded to the nearest instead of down": lambda s, p, n: (2 * (s - p) + n) // (2 * n) + 1,
    "the last one is missing where it fits exactly": lambda s, p, n: max(1, -(-(s - p) // n)),
    "the last one is always missing": lambda s, p, n: (s - p) // n,
    "an odd size is taken for one pixel less": lambda s, p, n: (max(p, s - s % 2) - p) // n + 1,
    "an even size is taken for one pixel less": lambda s, p, n: (max(p, s - 1 + s % 2) - p) // n + 1,
    "there is one for every whole stride of the size": lambda s, p, n: s // n,
    "there is one for every stride of the size, the last one past the end": lambda s, p, n: -(-s // n),
    "there is one for every whole patch of the size": lambda s, p, n: s // p,
    "there is always one more": lambda s, p, n: (s - p) // n + 2,
}
