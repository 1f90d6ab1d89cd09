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
from properties.cases.drawing import draw_cases
from properties.failures.scripts import standalone_script
from properties.failures.scripts.standalone import _tensor
from properties.laws import LAWS
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
# Those make other cases of the one that failed, whose numbers NumPy makes.
NEEDS_NUMPY = {
    *("second_derivative", "second_derivative_numerically", "right_after_any_history", "right_after_copying"),
    *("follows_parametrization", "follows_reset", "vmap_over_parameters_agrees", "func_gradients_agree"),
}


def test_every_law_has_a_script_of_torch_and_the_layer() -> None:
    for law in LAWS:
        text = standalone_script(law.name, SHIPPED, "cpu", Case(backward=replace(ALL, requires_grad=())), FAILED)
        imported = {
            name.partition(".")[0]
            for node in ast.walk(ast.parse(text))
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else
                         [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
        }  # fmt: skip
        assert "from patchify import Patchify as Layer" in text
        assert not imported & {"oracles", "properties", "hypothesis"}
        assert text.startswith(f"# {law.name} ({', '.join(law.clauses)}): ")


@pytest.mark.parametrize("mutant", ONE_EACH.values(), ids=ONE_EACH)
def test_fails_for_a_mutant_and_passes_without_it(mutant: Mutant) -> None:
    case = load_cases()[mutant.name]
    layer = f"{mutant.layer.__module__}:{mutant.layer.__qualname__}"
    text = standalone_script(mutant.detected_by, layer, "cpu", case, FAILED)
    right = standalone_script(mutant.detected_by, SHIPPED, "cpu", case, FAILED)

    with pytest.raises(Exception) as failed:  # noqa: PT011 - whatever the layer raises
        execute(text)

    assert not isinstance(failed.value, NameError | SyntaxError)
    execute(right)
    # The law's part is the same for both.
    assert [line for line in text.splitlines() if not line.startswith(("#", "from "))] == [
        line for line in right.splitlines() if not line.startswith(("#", "from "))
    ]


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
    assert wrong.stderr.splitlines()[-1].startswith(("AssertionError: ", "Violation: "))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", FILLS)
def test_tensors_are_the_cases_bit_for_bit(dtype: str, fill: str) -> None:
    spec = Spec(2, 9, 2, 3, 4, bias=True) if fill != "address" else Spec(2, 18, 2, 3, 4, bias=True)
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
    assert "from acme.nn import Layers\nLayer = Layers.Patch\n" in text
    assert "Layer(in_features=1, out_features=1, data_dim=1, patch_size=2, stride=None, bias=True)" in text
    assert "torch.tensor([[[-3.0], [9.0], [-9.0]]], dtype=torch.float32)" in text
    for other in ("float16", "channels_last", "sliced", "autocast", "numpy", "match ", "cuda"):
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


def test_numpy_is_needed_where_a_law_makes_other_cases() -> None:
    assert {law.name for law in LAWS if law.name in EAGER and "import numpy" in standalone_script(
        law.name, SHIPPED, "cpu", draw_cases("numpy", 1)[0], FAILED)} == NEEDS_NUMPY  # fmt: skip


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
