"""Checksums of the values of the stored cases: NumPy alone is imported here, as other Pythons may have nothing else."""

import hashlib
import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from properties.cases.case import Case
from properties.cases.fill import values

FILE = Path(__file__).with_name("stored_cases.json")
STORED: dict[str, Any] = json.loads(FILE.read_text())
CASES = {name: Case.from_json(stored["case"]) for name, stored in STORED.items()}


def checksum(array: NDArray[Any]) -> str:
    """SHA-256 of the elements' bytes, each little-endian, in C order."""
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def of_values(case: Case) -> dict[str, str]:
    """Of the arrays of a case, by name."""
    return {name: checksum(array) for name, array in values(case).items()}
