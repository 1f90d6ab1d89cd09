"""Standalone scripts fail for the layer that failed and for no other, and run where there is nothing but torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from properties.failures.scripts import BODIES, standalone_script
from properties.laws import LAWS
from properties.trials.verdict import Failed
from tests.helpers.mutant_cases import BY_NAME, judge, load_cases
from tests.helpers.scripts import CORRECT, MOST_LINES, execute
from tests.mutants import MUTANTS, Mutant

BUGS = {mutant.name: mutant for mutant in MUTANTS}

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
    "gradients.SecondDerivativeHalved",
    "gradients.SecondDerivativeOfBiasHalved",
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
PROCESSES = 2


def script_of(mutant: Mutant, implementation: str = "") -> str:
    """The script of a mutant, on its stored failing case."""
    case = load_cases()[mutant.name]
    verdict = judge(mutant, BY_NAME[mutant.detected_by], case)
    assert isinstance(verdict, Failed), verdict
    name = implementation or f"{mutant.layer.__module__}:{mutant.layer.__name__}"
    return standalone_script(mutant.detected_by, name, "cpu", case, verdict)


def one_of_every_property() -> list[Mutant]:
    """One mutant of every property whose scripts are written by hand, and that compiles nothing.

    Autocast belongs to cases of the third format, for which scripts are made of the law's source.
    """
    first = {mutant.detected_by: mutant for mutant in reversed(MUTANTS)}
    by_hand = [prop.name for prop in LAWS if prop.name in BODIES and not prop.autocast]
    return [first[prop.name] for prop in LAWS if prop.name in by_hand and prop.on != "compiled"]


@pytest.mark.parametrize("mutant", one_of_every_property(), ids=lambda mutant: mutant.detected_by)
def test_fails_for_a_mutant_and_passes_without_it(mutant: Mutant) -> None:
    text = script_of(mutant)

    with pytest.raises(Exception):  # noqa: B017, PT011 - in many of them it is whatever the layer raises
        execute(text)

    execute(script_of(mutant, CORRECT))
    assert len(text.splitlines()) <= MOST_LINES, text


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of someone else's: our layer and the mutants, and nothing of the harness."""
    folder = tmp_path_factory.mktemp("third_party")
    package = folder / "acme"
    package.mkdir()
    (package / "__init__.py").touch()
    root = Path(__file__).parents[2]
    sources = [*(root / "patchify").glob("*.py"), *(root / "tests" / "mutant").glob("*.py")]
    for source in sources:
        if source.name != "__init__.py":
            text = source.read_text().replace("from patchify import", "from acme.layer import")
            text = text.replace("from patchify.", "from acme.").replace('"patchify::', '"acme::')
            (package / source.name).write_text(text.replace("from tests.mutants", "from acme"))
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
        module, _, layer = name.partition(".")
        text = script_of(BUGS[name], f"acme.{module}:{layer}")
        bad, good = f"from acme.{module} import {layer} as Layer", "from acme.layer import Patchify as Layer"
        assert text.count(bad) == 1
        assert len(text.splitlines()) <= MOST_LINES, text
        scripts |= {f"{module}_{layer}_bad": text, f"{module}_{layer}_good": text.replace(bad, good)}

    results = run_alone(acme, scripts)

    assert {name for name, result in results.items() if result == "passed"} == {
        name for name in scripts if name.endswith("_good")
    }, results
    assert [result for result in results.values() if "halted; None in sys.modules" in result] == []
