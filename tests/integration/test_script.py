"""A script is made of the law's own source: it fails for the layer that failed and for no other, with torch alone."""

import ast
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import patchify
from patchify import Patchify
from properties.cases.case import DTYPES, FILLS, PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.failures.scripts import standalone_script
from properties.failures.scripts.standalone import _tensor
from properties.laws import LAWS
from properties.laws.law import Law
from properties.trials import tensors
from properties.trials.implementation import CannotRun
from properties.trials.trial import Trial
from tests.helpers.mutant_cases import load_cases
from tests.helpers.scripts import FAILED, execute
from tests.mutants import MUTANTS, Mutant

SHIPPED = "patchify:Patchify"
ALL = Backward(PARAMETERS_AND_INPUT, "random")
# Compilations take seconds each, and some laws need CUDA.
EAGER = {law.name for law in LAWS if law.on != "compiled" and not law.device}
ONE_EACH = {mutant.detected_by: mutant for mutant in reversed(MUTANTS) if mutant.detected_by in EAGER}
# What makes no other cases of the one that failed: torch alone makes and judges the numbers.
TORCH_ALONE = {
    law.name
    for law in LAWS
    if law.judge.__module__.rpartition(".")[2] in ("values", "shape", "relations", "purity", "interface", "rejection")
    or law.name.startswith(("input_gradient_", "weight_gradient_", "bias_gradient_"))
} - {"grid_at_long_strides"}


@pytest.mark.parametrize("mutant", ONE_EACH.values(), ids=ONE_EACH)
def test_fails_for_a_mutant_and_passes_without_it(mutant: Mutant) -> None:
    case, (module, name) = load_cases()[mutant.name], (mutant.layer.__module__, mutant.layer.__qualname__)
    text = standalone_script(mutant.detected_by, f"{module}:{name}", "cpu", case, FAILED)
    imported = f"from {module} import {name} as Layer"
    assert text.count(imported) == 1
    right = text.replace(imported, "from patchify import Patchify as Layer")

    with pytest.raises(Exception) as failed:  # noqa: PT011 - whatever the layer raises
        execute(text)

    assert not isinstance(failed.value, NameError | SyntaxError)
    execute(right)
    assert modules_of(right) & {"oracles", "properties", "hypothesis"} == set()
    if mutant.detected_by in TORCH_ALONE:
        assert "numpy" not in modules_of(right)


@pytest.mark.parametrize("law", [law for law in LAWS if law.name not in ONE_EACH], ids=lambda law: law.name)
def test_other_laws_have_a_script(law: Law) -> None:
    """Those that compile, or that need CUDA."""
    text = standalone_script(law.name, SHIPPED, "cuda" if law.device else "cpu", SMALL_ELSEWHERE, FAILED)
    assert "from patchify import Patchify as Layer" in text
    assert modules_of(text) & {"oracles", "properties", "hypothesis"} == set()
    assert text.startswith(f"# {law.name} ({', '.join(law.clauses)}): ")


def modules_of(script: str) -> set[str]:
    """The packages that a script imports."""
    found = set()
    for node in ast.walk(ast.parse(script)):
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
    return found


ONE_WINDOW = Case(Spec(1, 2, 2, 2, bias=True), Input(1, (2, 2)), backward=ALL)
SMALL_ELSEWHERE = Case(Spec(1, 2, 2, 2, bias=True), Input(1, (4, 4)), backward=ALL)
# What is changed in the shipped layer: the law and the case that tell, the text, and what it becomes.
SUM = "convolve)(x, weight, bias, self.stride)"
CHANGES = {
    "one window wide": ("values_exact", ONE_WINDOW, SUM, f"{SUM} + (x.shape[1] == self.patch_size)"),
    "compiled": ("compiled_values", SMALL_ELSEWHERE, SUM, f"{SUM} + torch.compiler.is_compiling()"),
    "constructor": ("rejects_data_dim", ONE_WINDOW, "isinstance(data_dim, bool) or ", ""),
}


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script where there is a package ``patchify`` and nothing of the harness."""
    command = [sys.executable, "-I", "-c", RUNNER, str(folder), script]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


RUNNER = """
import sys
for name in ("oracles", "properties", "tests", "hypothesis"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
exec(compile(sys.argv[2], "script", "exec"), {"__name__": "script"})
"""


@pytest.mark.parametrize("change", CHANGES)
def test_fails_for_the_shipped_layer_where_it_is_changed(change: str, tmp_path: Path) -> None:
    law, case, before, after = CHANGES[change]
    script = standalone_script(law, SHIPPED, "cpu", case, FAILED)
    package = shutil.copytree(Path(patchify.__file__).parent, tmp_path / "patchify")
    right = run(tmp_path, script)
    assert right.returncode == 0, right.stderr

    source = (package / "layer.py").read_text()
    assert source.count(before) == 1
    (package / "layer.py").write_text(source.replace(before, after))

    wrong = run(tmp_path, script)
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1].startswith("script.Violation: ")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", FILLS)
def test_tensors_are_the_cases_bit_for_bit(dtype: str, fill: str) -> None:
    spec = Spec(2, 9, 2, 3, 4, bias=True) if fill != "address" else Spec(1, 9, 2, 3, 4, bias=True)
    for case in (
        Case(spec, Input(3, (7, 9), dtype, "expanded"), Fill(fill, 1234), backward=replace(ALL, cotangent="expanded")),
        Case(Spec(1, 1, 1, 1, bias=True), Input(1, (2,), dtype), Fill(fill, 3), backward=ALL),
    ):
        for tensor in vars(Trial(case, Patchify).values).values():
            made = eval(_tensor(tensor), {"torch": torch, "math": __import__("math"), "unpacked": tensors.unpacked})
            assert (made.dtype, made.shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(made.contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8))


def test_what_a_case_decides_is_worked_out() -> None:
    """A reader meets no layout, dtype or branch but the case's, and no more lines than it takes."""
    case = Case(Spec(1, 1, 1, 2, bias=True), Input(1, (3,), "float32"), backward=ALL)
    text = standalone_script("values_exact", "acme.nn:Layers.Patch", "cpu", case, FAILED)
    assert "\nfrom acme.nn import Layers\n" in text
    assert "\nLayer = Layers.Patch\n" in text
    assert "Layer(in_features=1, out_features=1, data_dim=1, patch_size=2, stride=None, bias=True)" in text
    assert "torch.tensor([[[-3.0], [9.0], [-9.0]]], dtype=torch.float32)" in text
    for other in ("channels_last", "sliced", "autocast", "numpy", "match ", "cuda"):
        assert other not in text
    assert len([line for line in text.splitlines() if line.strip()]) <= MOST_LINES


MOST_LINES = 180


def test_device_is_kept() -> None:
    """Tensors and layer are made there, with the precision that the harness sets there."""
    case = Case(input=Input(dtype="float32"), fill=Fill("real"), tf32=True)
    text = standalone_script("values_bounded", "acme:Layer", "cuda:1", case, FAILED)
    assert ".to('cuda:1', torch.float32)" in text
    assert "torch.backends.cudnn.allow_tf32 = True\n" in text
    assert "allow_tf32" not in standalone_script("values_bounded", "acme:Layer", "cpu", case, FAILED)


def test_needs_no_hypothesis() -> None:
    """A record can be made a script of where Hypothesis is not installed."""
    code = "import sys; sys.modules['hypothesis'] = None; import properties.failures.scripts"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["here:make.<locals>.Layer", "here:<lambda>", "__main__:Layer"])
def test_layers_without_an_importable_name(name: str) -> None:
    with pytest.raises(CannotRun, match="no script can import") as refused:
        standalone_script("values_exact", name, "cpu", Case(), FAILED)
    assert name in str(refused.value)
    assert "define the layer at the top level of a module" in str(refused.value)


def test_unknown_property() -> None:
    with pytest.raises(CannotRun, match="there is no property 'nope'; the properties are constructs, "):
        standalone_script("nope", SHIPPED, "cpu", Case(), FAILED)
