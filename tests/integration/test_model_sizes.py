"""Both layers at the sizes of real models: values and gradients are those of the oracle, in eager mode and compiled."""

import subprocess
import sys

import pytest

from properties.trials.settings import undisturbed
from tests.helpers.model_sizes import DTYPES, LAYERS, LINEAR, MODELS, PATCHIFY, WANTED, wrong


# Layers come first, so that they share what is right.
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_eager(layer: str, model: str, dtype: str) -> None:
    for wanted in WANTED if dtype == "float32" else ("all gradients",):
        with undisturbed("cpu"):
            assert wrong(layer, model, dtype, wanted, compiled=False) == ""


@pytest.mark.parametrize(
    ("layer", "models"),
    [
        *(
            (PATCHIFY, [name for name, model in MODELS.items() if model.spec.data_dim == data_dim])
            for data_dim in (1, 2, 3)
        ),
        # With overlap and without.
        (LINEAR, ["ViT-B/16", "overlapping volumes"]),
    ],
)
def test_compiled(layer: str, models: list[str]) -> None:
    """In processes of their own: Inductor's backward pass of unfold ended it for the first layer at these sizes."""
    command = [sys.executable, "-m", "tests.helpers.model_sizes", layer, *models]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-200:] + finished.stderr[-2000:]
    assert all(f"{model}, float32, all gradients" in finished.stdout for model in models)


def test_the_comparison_can_fail() -> None:
    with undisturbed("cpu"):
        found = wrong("tests.mutants.forward:BiasAddedTwice", "ViT-B/16", "float32", "inference", compiled=False)
    assert found.startswith("output at [8, 224, 224, 3]: ")
    assert "values are wrong" in found
