"""The input of a failed case as a grid of pixels, in plain text: windows, what they leave out, and what is wrong."""

from dataclasses import dataclass
from typing import Any

from rich.text import Text

from oracles.windows import origins
from properties.cases.case import Case
from properties.laws.law import Law
from properties.trials.verdict import Failed, Place

# Clauses about windows and the grid: their failures are worth a picture even where no single value is to blame.
_ABOUT_WINDOWS = {"C5", "C6", "C8"}
_MOST_ROWS, _MOST_COLUMNS = 12, 24
FIRST_LINE = "  picture   "
_MARGIN = 16
# Characters of a line, the margin apart.
_ROOM = 80 - _MARGIN - 1


@dataclass(frozen=True)
class _Axis:
    """One spatial axis: which window starts at a pixel, how many cover it, and which pixels stand in brackets."""

    number: int
    starts: dict[int, int]
    counts: list[int]
    marked: range

    def shown(self, most: int) -> range:
        """The pixels that there is room for, those in brackets among them."""
        first = max(0, min(self.marked.start - 2, len(self.counts) - most))
        return range(first, min(first + most, len(self.counts)))


def pixels(prop: Law, case: Case, verdict: Failed) -> list[dict[str, Any]]:
    """What ``picture`` draws, as plain data, an entry for each axis; none where there is nothing to see.

    Of each axis ``first`` is the first pixel that is shown, ``counts`` the windows that cover each pixel from there on,
    ``starts`` the window that begins at a pixel, by its number, and ``marked`` the pixels that stand out.
    """
    found = []
    for axis in _axes(prop, case, verdict):
        shown = axis.shown(_MOST_COLUMNS)
        found.append(
            {
                "axis": axis.number,
                "size": len(axis.counts),
                "first": shown.start,
                "counts": axis.counts[shown.start : shown.stop],
                "starts": {str(pixel): window for pixel, window in axis.starts.items() if pixel in shown},
                "marked": [pixel for pixel in axis.marked if pixel in shown],
            }
        )
    return found


def picture(prop: Law, case: Case, verdict: Failed) -> list[str]:
    """Lines of text; none where there is nothing to see.

    Every pixel is shown as the number of windows that cover it, ``.`` where none does. The window of the wrong token,
    or the wrong pixel, stands in brackets. Of a volume one slice is shown, of a long axis the part around the brackets.
    """
    axes = _axes(prop, case, verdict)
    if not axes:
        return []
    *others, columns = axes
    rows = others.pop() if others else None
    width = max(3, len(str(len(columns.counts) - 1)) + 1)
    across = columns.shown(min(_MOST_COLUMNS, _ROOM // width))
    down = rows.shown(_MOST_ROWS) if rows else range(1)
    legend = [f"{verdict.where} in brackets"] if columns.marked else []
    legend += [f"pixel {axis.marked.start} of axis {axis.number}" for axis in others]
    legend += [f"rows are axis {rows.number}"] if rows else []
    for axis, pixels in ((rows, down), (columns, across)):
        if axis and len(pixels) < len(axis.counts):
            legend.append(f"axis {axis.number} has {len(axis.counts)} pixels")
    legend.append("a number counts the windows on a pixel, . is none")
    lines = [FIRST_LINE + "; ".join(legend)]
    for name, numbers in (("window", columns.starts), ("pixel", {x: x for x in across})):
        labels = "".join(f"{numbers.get(x, ''):>{width - 1}} " for x in across)
        lines.append(f"{f'{name}, axis {columns.number}':>{_MARGIN}} {labels}".rstrip())
    behind = min((axis.counts[axis.marked.start] for axis in others), default=1)
    for y in down:
        label = f"{rows.starts.get(y, '')!s:>{_MARGIN - 5}}{y:>5}" if rows else ""
        above = behind * (rows.counts[y] if rows else 1)
        bracketed = columns.marked if rows is None or y in rows.marked else range(0)
        cells = "".join(_cell(above * columns.counts[x], x in bracketed, width) for x in across)
        lines.append(f"{label:>{_MARGIN}} {cells}".rstrip())
    return lines


def paint(message: str) -> Text:
    """A message for a terminal: in its picture, what is wrong and what is left out stand out by colour."""
    text, picture_begins = Text(message), message.find(f"\n{FIRST_LINE}")
    if picture_begins >= 0:
        drawn = text[picture_begins:]
        drawn.highlight_regex(r"\[[\d. ]+\]", "bold red")
        drawn.highlight_regex(r"(?<= )\.(?= |$)", "yellow")
        text = text[:picture_begins] + drawn
    return text


def _axes(prop: Law, case: Case, verdict: Failed) -> list[_Axis]:
    """The axes of the input, none where there is nothing to see."""
    # What fails compiled may fail at a later size than that of the case, and be a place in that.
    marked = _marked(case, verdict.where) if prop.on != "compiled" else None
    if max(case.input.sizes) == 1 or (marked is None and not _ABOUT_WINDOWS & set(prop.clauses)):
        return []
    return [_axis(case, axis, marked[axis] if marked else range(0)) for axis in range(case.spec.data_dim)]


def _marked(case: Case, where: Place | str) -> tuple[range, ...] | None:
    """Along each axis, the pixels of the place: a pixel of the input, or the window of a token."""
    if not isinstance(where, Place) or where.tensor not in ("output", "input"):
        return None
    index, (patch, step) = where.index, (case.spec.patch_size, case.spec.effective_stride)
    shape = case.output_shape if where.tensor == "output" else case.input_shape
    # A place can be one in a larger batch than that of the case.
    if len(index) != len(shape) or any(i >= n for i, n in zip(index[1:], shape[1:], strict=True)):
        return None
    if where.tensor == "output":
        return tuple(range(i * step, i * step + patch) for i in index[1:-1])
    return tuple(range(i, i + 1) for i in index[1:-1])


def _axis(case: Case, number: int, marked: range) -> _Axis:
    firsts = origins(case.input.sizes[number], case.spec.patch_size, case.spec.effective_stride)
    counts = [0] * case.input.sizes[number]
    for first in firsts:
        for pixel in range(first, first + case.spec.patch_size):
            counts[pixel] += 1
    return _Axis(number, {first: window for window, first in enumerate(firsts)}, counts, marked)


def _cell(windows: int, marked: bool, width: int) -> str:
    text = str(windows or ".")
    return f"[{text}]".rjust(width) if marked else f"{text} ".rjust(width)
