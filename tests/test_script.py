"""Standalone scripts: torch alone runs them, on the same bits; they fail for the layer that failed and for no other."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from patchify import Patchify
from properties.case import COTANGENTS, DTYPES, FILLS, LAYOUTS, Backward, Case, Fill, Input, Spec
from properties.families import PROPERTIES
from properties.generation import draw_cases
from properties.implementation import CannotRun
from properties.plan import make_plan
from properties.scripts import BODIES, standalone_script, tensors
from properties.settings import undisturbed
from properties.shard import run_shard
from properties.shrink import shrink
from properties.trial import Trial
from properties.verdict import Failed, Place
from tests.planted import PLANTED, Planted

MOST_LINES = 45
CORRECT = "patchify.layer:Patchify"
FAILED = Failed("something is wrong", Place("output", (0, 0, 0)), "1", "2", "0")
COMPILED = ("exports", "no_recompilation", *(prop.name for prop in PROPERTIES if prop.name.startswith("compile")))

# Run for real. Of the compiled ones there are few: each takes seconds.
ALONE = (
    "forward.BiasAddedTwice",
    "forward.TokensRectified",
    "forward.WeightNormalised",
    "forward.FirstAxisOfTapsFlipped",
    "forward.TermsPast64Dropped",
    "windows.TailFoldedIn",
    "grid.GridFlattened",
    "grid.HeightFromWidth",
    "layout.OffsetIgnored",
    "layout.InputViewedFlat",
    "dtype.Float32ThroughBfloat16",
    "dtype.HalfReturnedAsFloat32",
    "gradients.InputGradientHalved",
    "gradients.OverlapOverwrites",
    "gradients.GradientReplaced",
    "gradients.SecondDerivativeHalved",
    "gradients.SecondDerivativeOfBiasHalved",
    "gradients.CotangentOverwritten",
    "state.WeightCopiedByAddress",
    "state.OutputCachedByShape",
    "state.NoiseInEvalMode",
    "state.StrideLostInCopy",
    "samples.BatchMeanSubtracted",
    "samples.SampleIndexWraps",
    "samples.NeighbourLeaks",
    "samples.NaNSpreadsOverSample",
    "interface.StrideRequired",
    "interface.ConvStrideUntrue",
    "interface.BiasStartsAtZero",
    "refusal.StrideZeroAccepted",
    "refusal.SmallInputsOpaque",
    "ambience.ThreadsChanged",
    "ambience.OutputsKept",
    "functional.WeightClosedOver",
    "functional.EmptyBatchFlat",
    "compiled.CompiledSequencesWrong",
    "compiled.CompiledGridRemembered",
    "compiled.SamplesCounted",
)

# What runs scripts one after the other, each in a namespace of its own, where nothing of ours can be imported.
RUNNER = """
import json, runpy, sys, torch
for name in ("patchify", "oracles", "properties", "tests", "hypothesis"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
results = {}
for path in sys.argv[2:]:
    threads = torch.get_num_threads()
    try:
        runpy.run_path(path, run_name="__main__")
        results[path] = "passed"
    except BaseException as error:
        results[path] = f"{type(error).__name__}: {error}"
    torch.set_num_threads(threads)
    if "compile" in path:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
print("RESULTS" + json.dumps(results))
"""
# Scripts share processes, for the sake of the time that importing torch takes.
PROCESSES = 4


def named(name: str) -> Planted:
    """The planted bug of a name."""
    return next(planted for planted in PLANTED if planted.name == name)


def one_of_every_property() -> list[Planted]:
    """One planted bug of every property that compiles nothing."""
    first = {planted.detected_by: planted for planted in reversed(PLANTED)}
    return [first[prop.name] for prop in PROPERTIES if prop.name not in COMPILED]


@cache
def smallest_failure(planted: Planted) -> tuple[Case, Failed]:
    """The smallest case on which a planted bug shows, and how it does."""
    plan = make_plan(planted.layer, seed=7, only=[planted.detected_by])
    (prop,) = plan.properties
    verdicts: dict[Case, Failed] = {}

    def fails(case: Case) -> bool:
        with undisturbed("cpu"):
            verdict = prop(Trial(case, planted.layer))
        if isinstance(verdict, Failed):
            verdicts[case] = verdict
        return isinstance(verdict, Failed)

    if prop.name in COMPILED:
        # To look for another, and for a smaller one, would be to compile for minutes.
        case = Case(Spec(1, 1, 1, 2, 1), Input(2, (4,)))
        assert fails(case)
        return case, verdicts[case]
    for shard in sorted(plan.shards, key=lambda name: not name.startswith("random")):
        found = run_shard(plan, shard, stop_at=lambda name: True).tallies[prop.name].smallest_failure
        if found is not None and fails(Case.from_json(found.case)):
            case = shrink(Case.from_json(found.case), fails)
            return case, verdicts[case]
    raise AssertionError(f"{planted.name} is not detected")


def script_of(planted: Planted, implementation: str = "") -> str:
    """The script of a planted bug."""
    case, verdict = smallest_failure(planted)
    name = implementation or f"{planted.layer.__module__}:{planted.layer.__name__}"
    return standalone_script(planted.detected_by, name, "cpu", case, verdict)


def execute(text: str) -> dict[str, Any]:
    """Run a script here, and give its variables."""
    variables: dict[str, Any] = {"__name__": "script"}
    with undisturbed("cpu"):
        exec(compile(text, "<script>", "exec"), variables)
    return variables


def test_every_property_has_a_script() -> None:
    assert set(BODIES) == {prop.name for prop in PROPERTIES}


@pytest.mark.parametrize("planted", one_of_every_property(), ids=lambda planted: planted.detected_by)
def test_fails_for_a_planted_bug_and_passes_without_it(planted: Planted) -> None:
    text = script_of(planted)

    with pytest.raises(Exception):  # noqa: B017, PT011 - in many of them it is whatever the layer raises
        execute(text)

    execute(script_of(planted, CORRECT))
    assert len(text.splitlines()) <= MOST_LINES, text


# Alone.


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of someone else's: our layer and the planted ones, and nothing of the harness."""
    folder = tmp_path_factory.mktemp("third_party")
    package = folder / "acme"
    package.mkdir()
    (package / "__init__.py").touch()
    root = Path(__file__).parent
    sources = [root.parent / "patchify" / "layer.py", *(root / "planted").glob("*.py")]
    for source in sources:
        if source.name != "__init__.py":
            text = source.read_text().replace("from patchify import", "from acme.layer import")
            (package / source.name).write_text(text.replace("from tests.planted", "from acme"))
    return folder


def run_alone(folder: Path, scripts: dict[str, str]) -> dict[str, str]:
    """Run scripts in a process where nothing of ours can be imported, and say what each of them raised."""
    paths = {name: folder / f"{name}.py" for name in scripts}
    for name, path in paths.items():
        path.write_text(scripts[name])
    command = [sys.executable, "-I", "-c", RUNNER, str(folder), *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert "RESULTS" in done.stdout, done.stderr
    results = json.loads(done.stdout.rpartition("RESULTS")[2])
    return {name: results[str(path)] for name, path in paths.items()}


@pytest.mark.parametrize("number", range(PROCESSES))
def test_alone(acme: Path, number: int) -> None:
    """For every bug: the script fails, and passes with the correct layer's name in the place of the bug's."""
    scripts: dict[str, str] = {}
    for name in ALONE[number::PROCESSES]:
        planted = named(name)
        module, _, layer = name.partition(".")
        text = script_of(planted, f"acme.{module}:{layer}")
        bad, good = f"from acme.{module} import {layer} as Layer", "from acme.layer import Patchify as Layer"
        assert text.count(bad) == 1
        assert len(text.splitlines()) <= MOST_LINES, text
        scripts |= {f"{module}_{layer}_bad": text, f"{module}_{layer}_good": text.replace(bad, good)}

    results = run_alone(acme, scripts)

    assert {name for name, result in results.items() if result == "passed"} == {
        name for name in scripts if name.endswith("_good")
    }, results
    assert [result for result in results.values() if "halted; None in sys.modules" in result] == []


def test_shipped_layer_is_written_out(tmp_path: Path) -> None:
    """In eager mode; it needs torch alone, and can be pickled."""
    every = Backward(("input", "weight", "bias"), "random")
    case = Case(Spec(2, 3, 2, 2, 1, bias=True), Input(2, (3, 4)), backward=every)
    eager = ("values_exact", "second_derivative", "survives_copying", "same_in_eval_mode", "vmap_agrees")
    scripts = {name: standalone_script(name, "patchify:Patchify", "cpu", case, FAILED) for name in eager}

    assert [name for name, text in scripts.items() if "patchify import" in text] == []
    assert run_alone(tmp_path, scripts) == dict.fromkeys(eager, "passed")


@pytest.mark.parametrize("name", ["compiled_values", "rejects_bad_arguments", "holds_conv", "exports"])
def test_shipped_layer_is_imported_where_it_is_more_than_a_convolution(name: str) -> None:
    text = standalone_script(name, "patchify:Patchify", "cpu", Case(), FAILED)
    assert "from patchify import Patchify as Layer" in text


# The same bits.


def bits(tensor: Tensor) -> Tensor:
    """The bits of every value, in logical order."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().clone(memory_format=torch.contiguous_format).view(integers)


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert (found.dtype, found.shape, found.stride()) == (expected.dtype, expected.shape, expected.stride())
    assert torch.equal(bits(found), bits(expected))


DRAWN = 40


@cache
def drawn(number: int) -> list[Case]:
    """Drawn cases, all gradients wanted, in which every fill, dtype, layout and cotangent meets every other."""
    # More terms than there are integers for in bfloat16, so that some weights, or most of the cotangent, are zero.
    found = [
        Case(Spec(4, 2, 2, 8), Input(1, (8, 9), "bfloat16"), backward=Backward(("input", "weight"))),
        Case(Spec(), Input(3, (100,), "bfloat16"), backward=Backward(("input", "weight"))),
    ]
    for i, case in enumerate(draw_cases(f"scripts/{number}", DRAWN)):
        every = ("input", "weight", "bias") if case.spec.bias else ("input", "weight")
        others = tuple(name for name in FILLS if name != "address")
        fill = case.fill if case.fill.name == "address" else replace(case.fill, name=others[(i + number) % len(others)])
        if case.input.batch < 1000:
            found.append(replace(case, fill=fill, backward=replace(case.backward, requires_grad=every)))
    return found


@pytest.mark.parametrize("most_numbers", [-1, 60, 2000], ids=["generator", "either", "literal"])
@pytest.mark.parametrize("number", range(5))
def test_tensors_are_the_cases(number: int, most_numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit and stride for stride, whichever way the script makes them."""
    monkeypatch.setattr(tensors, "_MOST_NUMBERS", most_numbers)
    monkeypatch.setattr(tensors, "_MOST_LINES", 1000 if most_numbers > 60 else tensors._MOST_LINES)
    generated = 0
    for case in drawn(number):
        text = standalone_script("arguments_unchanged", CORRECT, "cpu", case, FAILED)
        generated += "hashlib" in text
        variables = execute(text)
        trial = Trial(case, Patchify)
        assert_same(variables["x"], trial.x)
        assert variables["x"].requires_grad
        assert_same(variables["cotangent"], trial.make_cotangent())
        for name in ("weight", "bias") if case.spec.bias else ("weight",):
            assert_same(variables[name], getattr(trial.values, name))
            parameter, expected = getattr(variables["layer"].conv, name), getattr(trial.layer.conv, name)
            assert_same(parameter, expected)
            assert parameter.requires_grad
    # Numbers that count up need no generator.
    drawn_at_random = sum(case.fill.name != "address" for case in drawn(number))
    assert generated >= drawn_at_random if most_numbers < 0 else generated < drawn_at_random


def test_drawn_cases_reach_everything_that_scripts_write() -> None:
    cases = [case for number in range(5) for case in drawn(number)]

    assert {case.fill.name for case in cases} == set(FILLS)
    assert {case.input.dtype for case in cases} == set(DTYPES)
    assert {case.input.layout for case in cases} == set(LAYOUTS)
    assert {case.backward.cotangent for case in cases} == set(COTANGENTS)
    assert {case.weight_layout for case in cases} == {"plain", "channels_last"}
    texts = [standalone_script("runs_backward", CORRECT, "cpu", case, FAILED) for case in cases]
    for written in ('f"weight/{row}/chosen"', '"cotangent/chosen"', "[p for p in range(", "torch.eye("):
        assert any(written in text for text in texts), written


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", ["exact", "real"])
def test_later_sizes_have_the_cases_values(dtype: str, fill: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The expectation at each later size is the trial's, with the trial's bound: a layer that is right passes."""
    every = Backward(("input", "weight", "bias"), "channels_first")
    case = Case(Spec(3, 4, 2, 3, 2, bias=True), Input(2, (6, 4), dtype, "stepped"), Fill(fill, 12), backward=every)
    text = standalone_script("compiled_later_sizes", CORRECT, "cpu", case, replace(FAILED, what="a gradient is wrong"))
    # Compiling shows nothing here.
    eager = text.replace("torch.compile(layer, fullgraph=True)", "layer")
    assert eager != text
    execute(eager)
    with pytest.raises(AssertionError):
        execute(eager.replace("compiled = layer", "compiled = lambda x: 1.5 * layer(x)"))


# The text.


def test_every_script_is_tidy(tmp_path: Path) -> None:
    """No line too long, no unused import or name, at most three lines of comment at the top."""
    every = Backward(("input", "weight", "bias"), "random")
    plain = Case(Spec(2, 3, 2, 2, 3, bias=True), Input(2, (5, 6), "float32"), Fill("real", 7), backward=every)
    for prop in PROPERTIES:
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


# What has no script.


@pytest.mark.parametrize("name", ["here:make.<locals>.Layer", "here:<lambda>", "__main__:Layer"])
def test_layers_without_an_importable_name(name: str) -> None:
    with pytest.raises(CannotRun, match="no script can import") as refused:
        standalone_script("values_exact", name, "cpu", Case(), FAILED)
    assert name in str(refused.value)
    assert "define the layer at the top level of a module" in str(refused.value)


def test_unknown_property() -> None:
    with pytest.raises(CannotRun, match="there is no property 'nope'; the properties are constructs, "):
        standalone_script("nope", CORRECT, "cpu", Case(), FAILED)


# By property: a verdict, or a case, with which torch alone does not show the failure. Without these there is none.
WITHOUT_SCRIPT = {
    "feeds_position_embedding": (Case(), "nvsubquadratic's PositionEmbeddingND does not fit the output"),
    "uncovered_pixels_ignored": (Case(Spec(1, 1, 1, 1, 2), Input(1, (2,))), "words of another version"),
    "same_in_every_layout": (Case(), "words of another version"),
    "compiled_later_sizes": (Case(input=Input(1, (9,), "float16"), fill=Fill("wide")), "something is wrong"),
    "no_recompilation": (Case(input=Input(1, (9,), "float16"), fill=Fill("wide")), "something is wrong"),
}


@pytest.mark.parametrize("name", WITHOUT_SCRIPT)
def test_failures_without_a_script(name: str) -> None:
    case, what = WITHOUT_SCRIPT[name]
    with pytest.raises(CannotRun):
        standalone_script(name, CORRECT, "cpu", case, replace(FAILED, what=what))


def test_needs_no_hypothesis() -> None:
    """A record can be made a script of where Hypothesis is not installed."""
    code = "import sys; sys.modules['hypothesis'] = None; import properties.scripts"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Sharper than equality: what broadcasting would hide.


class OneTokenLater(Patchify):
    """From the second call on, the tokens of one dtype more."""

    called = False

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        self.called, before = True, self.called
        return tokens.double() if before else tokens


def test_dtype_that_changes_fails() -> None:
    case = Case(input=Input(dtype="float32"))
    (prop,) = make_plan(OneTokenLater, seed=7, only=["same_on_second_call"]).properties
    verdict = prop(Trial(case, OneTokenLater))
    assert isinstance(verdict, Failed)

    text = standalone_script(prop.name, "tests.test_script:OneTokenLater", "cpu", case, verdict)
    with pytest.raises(AssertionError, match=r"observed .torch.float64, .*expected .torch.float32, "):
        execute(text)
    execute(text.replace("from tests.test_script import OneTokenLater", "from patchify.layer import Patchify"))
