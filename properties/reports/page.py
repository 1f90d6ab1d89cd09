"""The report as a page: one file that asks for nothing else, made of the report as JSON alone."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from properties.cases.factors import LEVELS
from properties.cases.small_scope import shapes
from properties.runs.result import EXCLUDED, FAILED, HELD, NOT_RUN, SILENT
from properties.runs.shard_names import LANDMARKS, is_small

# Of what was not reached, and of shapes that failed, so many are named.
_MOST_NAMED = 60
_CLASSES = {HELD: "c-good", FAILED: "c-bad", SILENT: "c-doubt", NOT_RUN: "c-none", EXCLUDED: "c-out"}
_WORDS = {HELD: "held", FAILED: "failed", SILENT: "nothing said", NOT_RUN: "not run", EXCLUDED: "outside the domain"}


def page_of(report: Mapping[str, Any]) -> str:
    """The page of a report, as ``report_json`` gives it."""
    return rendered(
        "page.html.jinja",
        report=report,
        laws_of={clause["id"]: _laws_of(report, clause["id"]) for clause in report["clauses"]},
        factors=list(LEVELS),
        shares=_shares(report),
        scopes=[_scope(scope) for scope in report["small_scope"]],
        errors=list(_error_rows(report)),
        most_seconds=max((part["seconds"] for part in report["parts"]), default=0) or 1,
        named=_MOST_NAMED,
    )


def rendered(template: str, **names: Any) -> str:
    """A template of this package with names filled in; whatever they hold stays text."""
    return _environment().get_template(template).render(names)


@cache
def _environment() -> Environment:
    here = files("properties.reports")
    environment = Environment(
        loader=FunctionLoader(lambda name: here.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["as_json"] = lambda data: json.dumps(data, indent=2)
    environment.filters["shade"] = _shade
    return environment


def _laws_of(report: Mapping[str, Any], clause: str) -> list[Mapping[str, Any]]:
    return [law for law in report["properties"] if clause in law["clauses"]]


def _shares(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By two factors, in both orders, the pairs of their levels that were reached."""
    found: dict[str, dict[str, Any]] = {}
    for pair in report["coverage"]["factor_pairs"]:
        first, second = pair["factors"]
        for one, other in ((first, second), (second, first)):
            found.setdefault(one, {})[other] = pair
    return found


@dataclass(frozen=True)
class _Panel:
    """A part of the small scope as a picture: a cell for each shape.

    ``paths`` are the cells by what came of them; ``counts`` counts them.
    """

    title: str
    width: int
    height: int
    paths: dict[str, str]
    counts: dict[str, int]


@dataclass(frozen=True)
class _Scope:
    """The small scope of one number of axes: its panels, and the shapes that failed."""

    data_dim: int
    limits: str
    legend: str
    counts: dict[str, int]
    panels: list[_Panel]
    failed: list[str]


def _shapes(scope: Mapping[str, Any]) -> list[tuple[int, int, tuple[int, ...]]]:
    return list(shapes(scope["data_dim"], scope["patch_size"], scope["stride"], scope["size"]))


def _scope(scope: Mapping[str, Any]) -> _Scope:
    data_dim, most = scope["data_dim"], scope["size"]
    every = list(zip(_shapes(scope), scope["verdicts"], strict=True))

    def panel_of(one: tuple[tuple[int, int, tuple[int, ...]], str]) -> tuple[int, ...]:
        (patch, stride, _), _ = one
        return (patch,) if data_dim == 1 else (patch, stride)

    panels = []
    for key, found in groupby(every, panel_of):
        title = f"P {key[0]}" if data_dim == 1 else f"P {key[0]}, S {key[1]}"
        cells = [(_cell(stride, sizes, most), letter) for (_, stride, sizes), letter in found]
        panels.append(_panel(title, cells))
    failed = [
        f"patch_size {patch}, stride {stride}, sizes {' x '.join(map(str, sizes))}"
        for (patch, stride, sizes), letter in every
        if letter == FAILED
    ]
    legend = {
        1: "a panel for each patch size; down the stride, across the size",
        2: "a panel for each patch size and stride; down the first size, across the second",
        3: "a panel for each patch size and stride; a square for each first size, down the second, across the third",
    }
    limits = f"patch_size <= {scope['patch_size']}, stride <= {scope['stride']}, sizes <= {most}"
    return _Scope(data_dim, limits, legend[data_dim], _counted(scope["verdicts"]), panels, failed)


def _cell(stride: int, sizes: tuple[int, ...], most: int) -> tuple[int, int]:
    """Column and row of a shape in its panel."""
    if len(sizes) == 1:
        return sizes[0] - 1, stride - 1
    if len(sizes) == 2:
        return sizes[1] - 1, sizes[0] - 1
    # Squares, four in a row.
    across, down = (sizes[0] - 1) % 4, (sizes[0] - 1) // 4
    return across * (most + 1) + sizes[2] - 1, down * (most + 1) + sizes[1] - 1


def _panel(title: str, cells: Sequence[tuple[tuple[int, int], str]]) -> _Panel:
    paths: dict[str, str] = {}
    for letter, name in _CLASSES.items():
        rows = sorted((y, x) for (x, y), found in cells if found == letter)
        if rows:
            paths[name] = "".join(f"M{x} {y}h{length}v.9h-{length}z" for y, x, length in _runs(rows))
    width, height = (max(cell[axis] for cell, _ in cells) + 1 for axis in (0, 1))
    return _Panel(title, width, height, paths, _counted("".join(letter for _, letter in cells)))


def _runs(cells: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Cells that stand side by side, as row, first column and length."""
    for (row, _), found in groupby(enumerate(cells), lambda one: (one[1][0], one[1][1] - one[0])):
        run = [cell for _, cell in found]
        yield row, run[0][1], len(run)


def _counted(letters: str) -> dict[str, int]:
    counts = Counter(letters)
    return {word: counts[letter] for letter, word in _WORDS.items()}


def _error_rows(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each law and dtype, the checks by how near to their bound they came, the nearest last."""
    false_pass: dict[str, float] = {}
    for part in (part for part in report["parts"] if part["kind"] == LANDMARKS or is_small(part["kind"])):
        for name, chance in part["false_pass"].items():
            false_pass[name] = max(chance, false_pass.get(name, 0.0))
    for law in report["properties"]:
        for dtype, counts in law["errors"].items():
            most = max(counts) or 1
            bars = [count / most for count in reversed(counts)]
            nearest = next((doublings for doublings, count in enumerate(counts) if count), 0)
            yield {"law": law, "dtype": dtype, "checks": sum(counts), "bars": bars, "nearest": nearest}
        if law["name"] in false_pass:
            yield {"law": law, "dtype": "exact", "false_pass": false_pass[law["name"]]}


def _shade(text: str, most: float) -> float:
    """How dark a number is drawn, from 0 to 1."""
    size = abs(float(text))
    return min(size / most, 1.0) if size == size and most else 1.0
