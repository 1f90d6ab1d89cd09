"""The picture of a failed case, line by line."""

import pytest
from rich.style import Style

from properties.cases.case import Case, Input, Spec
from properties.failures.picture import paint, picture
from properties.laws import LAWS
from properties.trials.verdict import Failed, Place

PROP = {prop.name: prop for prop in LAWS}


def drawn(case: Case, where: Place | str = "", prop: str = "values_exact") -> str:
    return "\n".join(picture(PROP[prop], case, Failed("it is wrong", where)))


def test_sequence_with_overlapping_windows() -> None:
    case = Case(Spec(1, 1, 1, 3, 2), Input(1, (8,)))
    assert (
        drawn(case, Place("output", (0, 1, 0)))
        == """\
  picture   sample 0, token (1), channel 0 in brackets; a number counts the windows on a pixel, . is none
  window, axis 0  0     1     2
   pixel, axis 0  0  1  2  3  4  5  6  7
                  1  1 [2][1][2] 1  1  ."""
    )


def test_image_with_a_remainder() -> None:
    case = Case(Spec(1, 1, 2, 2), Input(1, (4, 5)))
    assert (
        drawn(case, Place("output", (0, 1, 0, 0)))
        == """\
  picture   sample 0, token (1, 0), channel 0 in brackets; rows are axis 0; \
a number counts the windows on a pixel, . is none
  window, axis 1  0     1
   pixel, axis 1  0  1  2  3  4
          0    0  1  1  1  1  .
               1  1  1  1  1  .
          1    2 [1][1] 1  1  .
               3 [1][1] 1  1  ."""
    )


def test_uncovered_pixel_of_an_image_with_gaps() -> None:
    case = Case(Spec(1, 1, 2, 1, 2), Input(2, (3, 4)))
    assert (
        drawn(case, Place("input", (1, 2, 3, 0)), "uncovered_gradient_zero")
        == """\
  picture   sample 1, pixel (2, 3), channel 0 in brackets; rows are axis 0; \
a number counts the windows on a pixel, . is none
  window, axis 1  0     1
   pixel, axis 1  0  1  2  3
          0    0  1  .  1  .
               1  .  .  .  .
          1    2  1  .  1 [.]"""
    )


def test_slice_of_a_volume() -> None:
    case = Case(Spec(1, 1, 3, 2, 1), Input(1, (5, 2, 3)))
    assert (
        drawn(case, Place("output", (0, 3, 0, 1, 0)))
        == """\
  picture   sample 0, token (3, 0, 1), channel 0 in brackets; pixel 3 of axis 0; rows are axis 1; \
a number counts the windows on a pixel, . is none
  window, axis 2  0  1
   pixel, axis 2  0  1  2
          0    0  2 [4][2]
               1  2 [4][2]"""
    )


def test_part_of_a_long_axis() -> None:
    lines = drawn(Case(Spec(1, 1, 1, 2, 2), Input(1, (3000,))), Place("output", (0, 1100, 0))).splitlines()
    assert "axis 0 has 3000 pixels" in lines[0]
    assert lines[2].split()[3:6] == ["2198", "2199", "2200"]
    assert lines[3].split() == ["1", "1", "[1]", "[1]", *["1"] * 8]
    assert max(map(len, lines)) < 150


def test_wrong_grid_shows_the_windows_that_there_should_be() -> None:
    lines = drawn(Case(Spec(1, 1, 1, 2, 3), Input(1, (5,))), prop="grid_shape").splitlines()
    assert lines == [
        "  picture   a number counts the windows on a pixel, . is none",
        "  window, axis 0  0        1",
        "   pixel, axis 0  0  1  2  3  4",
        "                  1  1  .  1  1",
    ]


@pytest.mark.parametrize(
    ("case", "where", "prop"),
    [
        # A single pixel, a place in no grid of pixels, no place, and a place that belongs to another size.
        (Case(), Place("output", (0, 0, 0)), "values_exact"),
        (Case(Spec(), Input(1, (4,))), Place("weight", (0, 0, 0)), "weight_gradient_exact"),
        (Case(Spec(), Input(1, (4,))), "", "runs_forward"),
        (Case(Spec(), Input(1, (4,))), Place("output", (0, 7, 0)), "values_exact"),
        (Case(Spec(), Input(1, (4,))), Place("output", (0, 1, 0)), "compiled_later_sizes"),
    ],
)
def test_no_picture(case: Case, where: Place | str, prop: str) -> None:
    assert drawn(case, where, prop) == ""


def test_sample_of_a_larger_batch() -> None:
    assert "[1]" in drawn(Case(Spec(), Input(1, (4,))), Place("output", (65_536, 1, 0)), "huge_batch")


def test_every_window_is_drawn() -> None:
    """What stands in brackets are the pixels that the oracle's window covers, for every token."""
    case = Case(Spec(1, 1, 2, 2, 3), Input(1, (9, 6)))
    for token in ((row, column) for row in range(3) for column in range(2)):
        cells = [line.replace("[", " [").split() for line in drawn(case, Place("output", (0, *token, 0))).splitlines()]
        pixels = {(y, x) for y, row in enumerate(cells[3:]) for x, cell in enumerate(row[-6:]) if cell.startswith("[")}
        assert pixels == {(3 * token[0] + i, 3 * token[1] + j) for i in range(2) for j in range(2)}


def test_colour() -> None:
    case = Case(Spec(1, 1, 1, 1, 2), Input(1, (4,)))
    message = f"  as JSON   [1, 2] .\n{drawn(case, Place('output', (0, 1, 0)))}"
    painted = paint(message)
    assert painted.plain == message
    coloured = [(message[span.start : span.end], Style.parse(str(span.style)).color) for span in painted.spans]
    assert [(text, color.name if color else None) for text, color in coloured] == [
        *(("[1]", "red"), (".", "yellow"), (".", "yellow"), (".", "yellow"))
    ]
