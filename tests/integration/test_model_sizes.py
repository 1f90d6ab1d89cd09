"""Both layers at the sizes of real models: values and gradients are those of the oracle, in eager mode and compiled."""

import subprocess
import sys

import pytest

from properties.trials.settings import undisturbed
from tests.helpers.model_sizes import DTYPES, LAYERS, LINEAR, MODELS, PATCHIFY, WANTED, wrong


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layer", LAYERS)
def test_eager(layer: str, model: str, dtype: str) -> None:
    for wanted in WANTED if dtype == "float32" else ("all gradients",):
        with undisturbed("cpu"):
            assert wrong(layer, model, dtype, wanted, compiled=False) == ""


@pytest.mark.parametrize(
    ("layer", "model"),
    [
        *((PATCHIFY, model) for model in MODELS),
        # With overlap and without, of every dimensionality.
        *((LINEAR, model) for model in ("ViT-B/16", "AST 16/10", "sequence, patch 16", "overlapping volumes")),
    ],
)
def test_compiled(layer: str, model: str) -> None:
    """In a process of its own: Inductor's backward pass of unfold ended it for the first layer at these sizes."""
    command = [sys.executable, "-m", "tests.helpers.model_sizes", layer, model]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]


def test_the_comparison_can_fail() -> None:
    with undisturbed("cpu"):
        found = wrong("tests.mutants.forward:BiasAddedTwice", "ViT-B/16", "float32", "inference", compiled=False)
    assert found.startswith("output at [8, 224, 224, 3]: Failed")
