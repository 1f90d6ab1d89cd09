"""Layers that people use, where their packages are installed: what each is judged by, and what is wrong with some."""

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from properties import Report, verify
from properties.runs.plan import make_plan
from properties.trials.implementation import resolve

LAYERS = {
    "huggingface_vit:layer": "transformers",
    "huggingface_videomae:layer": "transformers",
    "huggingface_ast:layer": "transformers",
    "huggingface_qwen2_vl:layer": "transformers",
    "monai_vit:images": "monai",
    "monai_vit:linear": "monai",
    "monai_swin:layer": "monai",
    "timm_vit:layer": "timm",
    "einops_linear:layer": "einops",
    "onnx_export:layer": "onnxruntime",
    "nvsubquadratic_patchify:layer": "nvsubquadratic",
}
# MONAI's "none" still adds a position embedding that is trained.
DEFECTS = {
    "monai_vit:images": {"holds_no_other_parameters"},
    "monai_vit:linear": {"holds_no_other_parameters"},
}
ONLY = (
    *("values_exact", "values_bounded", "grid_shape", "holds_no_other_parameters"),
    *("input_gradient_exact", "weight_gradient_exact", "uncovered_pixels_ignored", "right_after_any_history"),
)
pytestmark = pytest.mark.filterwarnings("ignore")


def layer_of(name: str) -> Any:
    package = LAYERS[name]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'patchify-harness[examples]'")
    return resolve(f"examples.{name}")[0]


def check(layer: Any, *only: str) -> Report:
    asked = [prop.name for prop in make_plan(layer).properties if prop.name in ONLY]
    return verify(layer, only=only or asked, seed=7, cases=8, strength=0, scope_sample=150, jobs=0, shrink=False)


@pytest.mark.parametrize("name", LAYERS)
def test_verdict(name: str) -> None:
    report = check(layer_of(name))
    assert {failure.property for failure in report.failures} == DEFECTS.get(name, set()), report.verdict_line
    assert report.checks["values_exact"] > 3


def test_an_unbatched_image_is_read_as_a_batch_by_two_of_them() -> None:
    for name in ("huggingface_vit:layer", "nvsubquadratic_patchify:layer"):
        (failure,) = verify(layer_of(name), only=["rejects_wrong_rank"], seed=7, cases=8, strength=0, jobs=0).failures
        assert "an unbatched input whose first size equals in_features is accepted" in failure.message


PAGE = (Path(__file__).parents[2] / "docs/defects.md").read_text()


@pytest.mark.parametrize("section", PAGE.split("\n## ")[1:], ids=lambda section: section.partition(":")[0])
def test_scripts_of_defects_print_what_is_said(section: str) -> None:
    """For their maintainers: of the version that is named, by the package alone."""
    package, release = section.partition(":")[0].lower().split()
    if find_spec(package) is None or version(package) != release:
        pytest.skip(f"{package} {release} is not installed")
    code, printed = section.split("```python\n")[1].split("```\n\n```\n")
    command = [sys.executable, "-W", "ignore", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == printed.split("```")[0]


def test_an_adapter_with_axes_in_the_wrong_order(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of("huggingface_ast:layer")
    monkeypatch.setattr(layer, "input", "b s0 s1")
    assert "values_exact" in {failure.property for failure in check(layer, "values_exact").failures}


def test_an_adapter_with_a_weight_in_the_wrong_order(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of("einops_linear:layer")
    monkeypatch.setattr(layer, "weight", "o (i t)")
    assert "values_exact" in {failure.property for failure in check(layer, "values_exact").failures}


def test_tokens_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of("huggingface_vit:layer")
    embeddings = import_module("transformers.models.vit.modeling_vit").ViTPatchEmbeddings
    monkeypatch.setattr(embeddings, "forward", lambda self, x: self.projection(x).transpose(2, 3).flatten(2).mT)
    assert {"values_exact"} == {failure.property for failure in check(layer, "values_exact").failures}


def test_a_remainder_that_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which MONAI's Swin does, so that its domain leaves those sizes out."""
    layer = layer_of("monai_swin:layer")
    monkeypatch.setattr(layer, "domain", replace(layer.domain, sizes="any"))
    assert {"grid_shape"} == {failure.property for failure in check(layer, "values_exact").failures}
