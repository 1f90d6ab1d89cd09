"""A failed case as a file."""

import hashlib
import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

from properties import generator
from properties.case import Case
from properties.plan import Plan
from properties.property import Property
from properties.verdict import Failed

FORMAT = 1


def write_record(folder: Path, plan: Plan, prop: Property, case: Case, verdict: Failed) -> Path:
    """Write a failure as JSON, whole or not at all; the same failure gives the same file.

    Returns:
        The file, named by the property and by what identifies the failure: property, implementation and case.
    """
    identity = json.dumps([prop.name, plan.name, case.to_json()], sort_keys=True)
    path = folder / f"{prop.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.json"
    record = {
        "format": FORMAT,
        "property": prop.name,
        "clauses": list(prop.clauses),
        "implementation": plan.name,
        "device": plan.device,
        "case": case.to_json(),
        "generator": generator.VERSION,
        "verdict": {
            "what": verdict.what,
            "where": str(verdict.where),
            "observed": verdict.observed,
            "expected": verdict.expected,
            "bound": verdict.bound,
        },
        "run_seed": plan.seed,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "hypothesis": version("hypothesis"),
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{path.stem}-")
    with os.fdopen(descriptor, "w") as file:
        json.dump(record, file, indent=2)
        file.write("\n")
    os.replace(temporary, path)
    return path
