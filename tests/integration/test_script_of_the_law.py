"""Every law has a script; those made of its own source judge as it does; the shipped layer is imported, not copied."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import patchify
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Input, Spec
from properties.failures.scripts import BODIES, standalone_script
from properties.laws import LAWS
from tests.helpers.mutant_cases import first_failure
from tests.helpers.scripts import FAILED, execute
from tests.mutants import MUTANTS, Mutant

SHIPPED = "patchify:Patchify"
# Found on a CPU; compilations take seconds each.
NEWER = {law.name for law in LAWS if law.name not in BODIES and law.on != "compiled"}
ONE_EACH = {mutant.detected_by: mutant for mutant in reversed(MUTANTS) if mutant.detected_by in NEWER}


def test_every_law_has_a_script() -> None:
    """One that is written by hand, or one of its own source."""
    for law in (law for law in LAWS if law.name not in BODIES):
        text = standalone_script(law.name, SHIPPED, "cpu", Case(), FAILED)
        compile(text, law.name, "exec")
        assert "from patchify import Patchify as Layer" in text
        assert "import properties" not in text
        assert "from properties" not in text


@pytest.mark.parametrize("mutant", ONE_EACH.values(), ids=ONE_EACH)
def test_fails_for_a_mutant_and_passes_without_it(mutant: Mutant) -> None:
    case = first_failure(mutant)
    assert case is not None
    layer = f"{mutant.layer.__module__}:{mutant.layer.__qualname__}"

    with pytest.raises(Exception) as failed:  # noqa: PT011 - the script's own classes
        execute(standalone_script(mutant.detected_by, layer, "cpu", case, FAILED))

    assert type(failed.value).__name__ in ("Violation", "Raised")
    execute(standalone_script(mutant.detected_by, SHIPPED, "cpu", case, FAILED))


ALL = Backward(PARAMETERS_AND_INPUT, "random")
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
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


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
    assert wrong.stderr.splitlines()[-1].startswith("AssertionError: ")
