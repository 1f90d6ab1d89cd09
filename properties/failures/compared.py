"""What a failing law compared, around the wrong element: the layer is run on the case once more, in another process."""

import os
from typing import Any

import torch
from torch import Tensor

from properties.failures.isolation import PIPE_LOST, Died, Pipe, PipeLost, ended_process, forked
from properties.failures.record import Record
from properties.trials.comparison import ALL, Expectation
from properties.trials.implementation import resolve
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Place

# Seconds after which there is nothing to show.
TIMEOUT = 60.0
# Elements along each axis that are shown.
_MOST = 12


class _Watched(Trial):
    """A trial that remembers what a law compared last."""

    last: tuple[str, Tensor, Tensor] | None = None

    def close(self, what: str, found: Tensor, expected: Expectation, tensor: str = "output", which: str = ALL) -> None:
        """Expect values to be within their bounds, and remember both."""
        self.last = tensor, found.detach().double().cpu(), expected.values.detach().double().cpu()
        super().close(what, found, expected, tensor, which)


def compared(record: Record, timeout: float = TIMEOUT) -> dict[str, Any] | None:
    """Both sides of the comparison that failed, as plain data: two axes of the tensor, around the place.

    Returns:
        ``axes``, their names; ``first``, the indices that they begin at; ``at``, the row and column of the wrong
        element; ``observed`` and ``expected``, rows of numbers as text. None where the law compared no tensors, or the
        layer does not fail so again, or not in time.
    """
    if ended_process(record.verdict) or not isinstance(record.verdict.where, Place):
        return None
    child = forked(_look, record.to_json())
    try:
        found: dict[str, Any] | None = child.answer(timeout)
    except Died:
        return None
    child.end()
    return found


def _look(pipe: Pipe, told: dict[str, Any]) -> None:
    """Say what a record's law compares."""
    torch.set_num_threads(1)
    record = Record.believed(told)
    try:
        implementation, _ = resolve(record.implementation)
        with undisturbed(record.device, tf32=record.case.tf32):
            trial = _Watched(record.case, implementation, record.device)
            verdict = record.prop(trial)
        pipe.send(_around(trial, verdict.where) if isinstance(verdict, Failed) else None)
    except PipeLost:
        os._exit(PIPE_LOST)


def _around(trial: _Watched, where: Place | str) -> dict[str, Any] | None:
    if trial.last is None or not isinstance(where, Place):
        return None
    tensor, observed, expected = trial.last
    if tensor != where.tensor or observed.shape != expected.shape or observed.dim() != len(where.index):
        return None
    names = _names(tensor, observed.dim())
    rows, columns = _shown(tensor, observed.dim())
    cut: list[int | slice] = list(where.index)
    for axis in {rows, columns}:
        first = max(0, min(where.index[axis] - _MOST // 2, observed.shape[axis] - _MOST))
        cut[axis] = slice(first, first + _MOST)
    first_row, first_column = (one.start if isinstance(one := cut[axis], slice) else 0 for axis in (rows, columns))
    return {
        "axes": [names[rows] if rows != columns else "", names[columns]],
        "first": [first_row if rows != columns else 0, first_column],
        "at": [where.index[rows] - first_row if rows != columns else 0, where.index[columns] - first_column],
        "observed": _texts(observed[tuple(cut)]),
        "expected": _texts(expected[tuple(cut)]),
    }


def _names(tensor: str, axes: int) -> list[str]:
    if tensor in ("output", "input"):
        of = "tokens" if tensor == "output" else "pixels"
        return ["sample", *(f"{of}, axis {axis}" for axis in range(axes - 2)), "channel"]
    return ["output channel", "input channel", *(f"tap, axis {axis}" for axis in range(axes - 2))][:axes]


def _shown(tensor: str, axes: int) -> tuple[int, int]:
    """The axes that rows and columns are: the last two of space where there are two, else space and channels."""
    if tensor in ("output", "input"):
        return (axes - 3, axes - 2) if axes > 3 else (1, 2)
    return max(axes - 2, 0), axes - 1


def _texts(values: Tensor) -> list[list[str]]:
    """JSON knows neither NaN nor infinity."""
    return [[f"{value:.6g}" for value in row] for row in values.reshape(-1, values.shape[-1]).tolist()]
