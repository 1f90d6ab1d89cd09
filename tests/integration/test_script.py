"""The text of standalone scripts: those that are written by hand are tidy, and import no more than they must."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.failures.scripts import BODIES, standalone_script
from properties.laws import LAWS
from properties.trials.verdict import Failed, Place
from tests.helpers.scripts import CORRECT, FAILED


def test_every_script_is_tidy(tmp_path: Path) -> None:
    """No line too long, no unused import or name, at most three lines of comment at the top."""
    every = Backward(PARAMETERS_AND_INPUT, "random")
    plain = Case(Spec(2, 3, 2, 2, 3, bias=True), Input(2, (5, 6), "float32"), Fill("real", 7), backward=every)
    for prop in (law for law in LAWS if law.name in BODIES):
        verdict = replace(FAILED, what=_WHAT.get(prop.name, FAILED.what))
        for kind, case in {
            "plain": plain,
            "drawn": replace(plain, input=Input(3, (9, 14), "float16", "odd_strides"), fill=Fill("poison", 1000)),
        }.items():
            text = standalone_script(prop.name, CORRECT, "cpu", case, verdict)
            (tmp_path / f"{prop.name}_{kind}.py").write_text(text)
            assert text.startswith(f"# {prop.name} ({', '.join(prop.clauses)}): ")
            assert sum(line.startswith("# ") for line in text.split("\n\n")[0].splitlines()) <= 3
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--line-length", "120"]
    checked = subprocess.run(
        [*ruff, "--select", "E,F,I,W", str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert checked.returncode == 0, checked.stdout


# What verdicts say where a script depends on it.
_WHAT = {
    "uncovered_pixels_ignored": "the output depends on pixels that no window covers, here set to nan instead of 0.0",
    "same_in_every_layout": "1 of 1 output values change when the input is sliced",
    "global_state_unchanged": "the number of threads is changed",
}


def test_whole_text() -> None:
    case = Case(Spec(1, 1, 1, 2, bias=True), Input(1, (3,), "float32"))
    verdict = Failed("1 of 1 output values differ from unfold + matmul", Place("output", (0, 0, 0)), "4", "5", "0")

    assert standalone_script("values_exact", "acme.nn:Layers.Patch", "cpu", case, verdict) == (
        "# values_exact (C7, C9, C10): On integers, every output value equals unfold + matmul + bias, bit for bit.\n"
        "# acme.nn:Layers.Patch on cpu: 1 of 1 output values differ from unfold + matmul at sample 0, token (0), "
        "channel 0:\n# observed 4, expected 5\n"
        "import torch\n"
        "from acme.nn import Layers\n"
        "\n"
        "Layer = Layers.Patch\n"
        "\n"
        "x = torch.tensor([[[-3], [9], [-9]]], dtype=torch.float32)\n"
        "weight = torch.tensor([[[-1, 9]]], dtype=torch.float32)\n"
        "bias = torch.tensor([0], dtype=torch.float32)\n"
        "\n"
        "layer = Layer(in_features=1, out_features=1, data_dim=1, patch_size=2, stride=None, bias=True)"
        ".to(torch.float32)\n"
        "with torch.no_grad():\n"
        "    layer.conv.weight.copy_(weight).requires_grad_(False)\n"
        "    layer.conv.bias.copy_(bias).requires_grad_(False)\n"
        "\n"
        "windows = x.double().unfold(1, 2, 2).flatten(2)\n"
        "expected = windows @ weight.double().flatten(1).T + bias.double()\n"
        "\n"
        "tokens = layer(x)\n"
        "wrong = tokens != expected\n"
        'assert not wrong.any(), f"observed {tokens[wrong].tolist()}, expected {expected[wrong].tolist()}"\n'
    )


def test_device_is_kept() -> None:
    """Tensors and layer are made there, with the precision that the harness sets there."""
    case = Case(input=Input(dtype="float32"), fill=Fill("real"), tf32=True)
    text = standalone_script("values_bounded", "acme:Layer", "cuda:1", case, FAILED)

    assert text.count('dtype=torch.float32, device="cuda:1")') == 2
    assert '.to("cuda:1", torch.float32)' in text
    assert "torch.backends.cudnn.allow_tf32 = True\n" in text
    assert "allow_tf32" not in standalone_script("values_bounded", "acme:Layer", "cpu", case, FAILED)


def test_needs_no_hypothesis() -> None:
    """A record can be made a script of where Hypothesis is not installed."""
    code = "import sys; sys.modules['hypothesis'] = None; import properties.failures.scripts"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
