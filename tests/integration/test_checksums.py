"""Stored cases give the same tensors, bit for bit, under every version of Python, NumPy, torch and Hypothesis.

``python -m tests.integration.test_checksums`` stores the checksums anew: for a case that is new in the file, or after
``generator.VERSION`` was raised.
"""

import json

import pytest
import torch
from torch import Tensor

from properties.cases.case import Case
from properties.cases.factors import LEVELS, levels
from properties.trials.trial import Trial
from tests.helpers import pythons
from tests.helpers.checksums import CASES, FILE, STORED, checksum, of_values

# Integers of a dtype's size; NumPy has no bfloat16.
BITS = {8: torch.int64, 4: torch.int32, 2: torch.int16}
PYTHONS = ("3.11", "3.12", "3.13")
# Prints what Python and which of our dependencies are there, and what this Python makes of the stored cases.
CHECK = """
import json, sys
from importlib.util import find_spec
from tests.helpers.checksums import CASES, of_values
there = [name for name in ("hypothesis", "numpy", "torch") if find_spec(name)]
print(json.dumps(["%d.%d" % sys.version_info[:2], there, {name: of_values(case) for name, case in CASES.items()}]))
"""


def of_tensors(case: Case) -> dict[str, str]:
    """Checksums of the bits that an implementation is given, in the case's dtype."""
    trial = Trial(case, lambda: None)
    given: dict[str, Tensor | None] = {
        "x": trial.make_input(),
        "weight": trial.values.weight,
        "cotangent": trial.make_cotangent(),
        "bias": trial.values.bias,
    }
    return {
        name: checksum(tensor.detach().contiguous().view(BITS[tensor.itemsize]).numpy())
        for name, tensor in given.items()
        if tensor is not None
    }


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    assert of_values(CASES[name]) == STORED[name]["values"]


@pytest.mark.parametrize("name", CASES)
def test_tensors(name: str) -> None:
    assert of_tensors(CASES[name]) == STORED[name]["tensors"]


@pytest.mark.parametrize("version", PYTHONS)
def test_values_under(version: str, cache: pytest.Cache) -> None:
    python = pythons.with_numpy(version, cache.mkdir("numpy-alone"))
    checked = pythons.run(python, "-c", CHECK)
    assert checked.stderr == ""
    assert json.loads(checked.stdout) == [version, ["numpy"], {name: STORED[name]["values"] for name in CASES}]


@pytest.mark.parametrize(
    "axis", ["data_dim", "bias", "dtype", "layout", "weight layout", "fill", "gradients", "cotangent", "compiled"]
)
def test_stored_cases_reach_every_cell(axis: str) -> None:
    reached = {levels(case, compiled=compiled)[axis] for case in CASES.values() for compiled in (False, True)}
    assert reached == set(LEVELS[axis])


if __name__ == "__main__":
    anew = {
        name: {"case": case.to_json(), "values": of_values(case), "tensors": of_tensors(case)}
        for name, case in CASES.items()
    }
    FILE.write_text(json.dumps(anew, indent=2) + "\n")
