"""What an operator, a careless user or an attacker may do to the harness, tried: how often, and how often it survived.

    python -m benchmarks.faults [--seed N] [--only PARTS]

It survives where it ends as it says: damaged files are refused in a line that names them, or mean something valid; a
layer that ends its process has failed, and what hangs is not judged; a run that is killed goes on; nonsense is refused
before anything is run. The table stands in ``docs/reliability.md``; what did not survive is named below it.
"""

import argparse
import ast
import io
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from properties import verify
from properties.command.main import main as command
from properties.failures.record import RecordError, read_record
from properties.failures.scripts import standalone_script
from properties.runs.options import OPTIONS
from properties.trials.implementation import CannotRun
from tests.helpers.printed import unfolded

ROOT = Path(__file__).parents[1]
RUN = ["--seed", "7", "--strength", "0", "--dtypes", "float64"]
FEW = ["--cases", "8", "--only", "zero_input_gives_bias", *RUN]
COMMAND = ("-c", "import sys; from properties.command.main import main; sys.exit(main())")
# Whose records are damaged, and of which law.
FAILING = {
    "tests.mutants.forward:BiasAddedTwice": "zero_input_gives_bias",
    "tests.mutants.gradients:OverlapOverwrites": "input_gradient_exact",
    "tests.mutants.state:ThirdCallWrong": "right_after_any_history",
}
# By class of tests.helpers.crashing: the exit code of a run, and what its report says.
CRASHES = {
    "Segfaults": (1, "process died"),
    "Exits": (1, "process died"),
    "Killed": (1, "process died"),
    "ClosesFiles": (1, "process died"),
    "WritesIntoPipes": (1, "process died"),
    "RaisesWithoutText": (1, "raised an exception"),
    "Hangs": (2, "INCOMPLETE"),
}
NONSENSE: tuple[Any, ...] = ("", " ", "x" * 5000, "a\nb", "-1", "1.5", "inf", "nan", "null", "[]", "--", "1e999")
# What of it makes sense for an option: most texts are names of files.
_NAMES = tuple(text for text in NONSENSE if text.strip() and len(text) < 100)
SENSE = {
    **dict.fromkeys(("json", "regressions", "run-dir"), _NAMES),
    **dict.fromkeys(("budget", "case-timeout"), ("1.5",)),
}
# Each thing that is tried: what it was, and how it ended where it did not survive.
Tried = Iterator[tuple[str, str]]


def damaged_records(draw: random.Random) -> Tried:
    """Records with bytes, lines or members exchanged: refused, or valid, and then their script is Python."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        texts = [_record(name, law) for name, law in FAILING.items()]
        for number in range(1000):
            text, how = _damaged(draw, draw.choice(texts))
            path.write_text(text, errors="surrogatepass")
            ended = ""
            try:
                record = read_record(path)
                ast.parse(
                    standalone_script(
                        record.prop.name, record.implementation, record.device, record.case, record.verdict
                    )
                )
            except (RecordError, CannotRun):
                pass
            except Exception as error:
                ended = f"{type(error).__name__}: {error}"
            yield f"record {number}, {how}", ended


def _record(name: str, law: str) -> str:
    """The record of a failure, as text."""
    with TemporaryDirectory() as folder:
        report = verify(name, cases=40, seed=7, only=[law], strength=0, scope_sample=500, regressions=folder, jobs=0)
        path = report.failures[0].record
        assert path is not None
        return path.read_text()


def _damaged(draw: random.Random, text: str) -> tuple[str, str]:
    """A JSON text with something else in one place."""
    how = draw.choice(("cut off", "character", "characters left out", "member", "member left out"))
    at = draw.randrange(len(text))
    match how:
        case "cut off":
            return text[:at], how
        case "character":
            return text[:at] + chr(draw.choice((0, 34, 48, 92, 123, 0xD800 + 1, 0x1F600))) + text[at + 1 :], how
        case "characters left out":
            return text[:at] + text[at + draw.randrange(1, 40) :], how
    data = json.loads(text)
    holder, name = draw.choice(list(_members(data)))
    if how == "member left out":
        del holder[name]
    else:
        values: tuple[Any, ...] = (
            None,
            -1,
            10**30,
            1.5,
            "",
            "'\n",
            "__import__('os')",
            "x" * 10**5,
            [],
            {},
            [[]],
            True,
            "nan",
        )
        holder[name] = draw.choice(values)
    return json.dumps(data), f"{how} {name}"


def _members(data: Any) -> Iterator[tuple[Any, Any]]:
    for name, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
        yield data, name
        if isinstance(value, dict | list) and value:
            yield from _members(value)


def damaged_folders(draw: random.Random) -> Tried:
    """Folders of runs with a file damaged or left out: a verdict, or a line and no change."""
    with TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        _quietly(["run", *FEW, "--run-dir", str(whole), "--jobs", "1"])
        for number in range(200):
            copy = Path(folder) / "copy"
            shutil.copytree(whole, copy)
            path = draw.choice(sorted(path for path in copy.iterdir() if path.suffix == ".json"))
            if draw.random() < 0.1:
                path.unlink()
                how = "left out"
            else:
                text, how = _damaged(draw, path.read_text())
                path.write_text(text, errors="surrogatepass")
            before = {each.name: each.read_bytes() for each in copy.iterdir()}
            code, told = _quietly(["merge", str(copy)])
            same = {each.name: each.read_bytes() for each in copy.iterdir()} == before
            # A seed or a name that was exchanged for another valid one is another run, which has not ended.
            good = code in (0, 1) or (code == 2 and told.startswith("patchify-verify: could not run: ") and same)
            yield f"folder {number}, {path.name}, {how}", "" if good and "Traceback" not in told else told[-300:]
            shutil.rmtree(copy)


def crashing_layers(draw: random.Random) -> Tried:
    """Layers that end their process, hang, or take its files, by every front door."""
    for name, (code, said) in CRASHES.items():
        layer = f"tests.helpers.crashing:{name}"
        asked = ["--implementation", layer, *FEW, "--case-timeout", "5", "--no-shrink"]
        with TemporaryDirectory() as folder:
            done = _run(*COMMAND, "run", *asked, "--regressions", folder)
            yield f"{name}, command", _unlike(done, code, said)
            for record in sorted(Path(folder).iterdir()):
                done = _run(*COMMAND, "replay", str(record), "--case-timeout", "5")
                yield f"{name}, replay", _unlike(done, 1, "FAILED")
        # pytest has exit codes of its own for the same: 1, tests failed, and 2, interrupted.
        asked = [word.replace("--", "--patchify-", 1) if word.startswith("--") else word for word in asked]
        done = _run("-m", "pytest", "--pyargs", "properties", "-p", "no:cacheprovider", "-o", "addopts=", *asked)
        yield f"{name}, pytest", _unlike(done, code, said)
        report = verify(
            layer, cases=8, seed=7, only=["zero_input_gives_bias"], strength=0, case_timeout=5, shrink=False
        )
        ended = not report.passed and report.incomplete == (code == 2)
        yield f"{name}, verify", "" if ended else report.verdict_line


def killed_runs(draw: random.Random) -> Tried:
    """Runs that are killed at random, and resumed: the verdict of a run that was left alone."""
    asked = ["--cases", "60", "--only", "homogeneous,values_exact", "--scope-sample", "20", *RUN]
    expected = unfolded(_run(*COMMAND, "run", *asked).stdout)[-1]
    for number in range(5):
        with TemporaryDirectory() as folder:
            kept = Path(folder) / "run"
            words = [sys.executable, *COMMAND, "run", *asked, "--run-dir", str(kept)]
            with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                while process.poll() is None and not (kept / "plan.json").exists():
                    time.sleep(0.05)
                time.sleep(draw.uniform(0, 6))
                process.send_signal(signal.SIGKILL)
            done = _run(*COMMAND, "run", "--resume", str(kept))
            last = (unfolded(done.stdout) or [done.stderr])[-1]
            yield f"kill {number}", "" if last == expected else f"{last} instead of {expected}"


def nonsense(draw: random.Random) -> Tried:
    """Every option with a text that makes no sense for it: exit code 2 and a line, before anything is run."""
    for option in OPTIONS:
        if "run" not in option.doors or option.details.get("action") == "store_true":
            continue
        # A run with cases, so that what is accepted does not end for want of them. The last of two options counts.
        asked = [] if option.flag == "resume" else ["--cases=1", "--only=homogeneous", "--strength=0"]
        for value in NONSENSE:
            if value in SENSE.get(option.flag, ()):
                continue
            code, told = _quietly(["run", *asked, f"--{option.flag}={value}"])
            good = code == 2 and "Traceback" not in told
            yield f"--{option.flag}={value[:20]!r}", "" if good else f"exit code {code}: {told[-200:]}"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


def _unlike(done: subprocess.CompletedProcess[str], code: int, said: str) -> str:
    good = done.returncode == code and said in done.stdout + done.stderr
    return "" if good else f"exit code {done.returncode}: {(done.stdout + done.stderr)[-300:]}"


def _quietly(arguments: list[str]) -> tuple[int, str]:
    """The exit code of the command in this process, and what it wrote as an error."""
    errors = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(errors):
        try:
            code = command(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, errors.getvalue()


PARTS: dict[str, Callable[[random.Random], Tried]] = {
    part.__name__: part for part in (damaged_records, damaged_folders, crashing_layers, killed_runs, nonsense)
}


def main() -> None:
    """Try everything, and print the table."""
    parser = argparse.ArgumentParser(description="Try what may go wrong around the harness.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", choices=tuple(PARTS), nargs="+", default=tuple(PARTS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows, lost = [], []
    for name in given.only:
        tried = list(PARTS[name](random.Random(given.seed)))
        lost += [f"{what}: {how}" for what, how in tried if how]
        rows.append((name.replace("_", " "), len(tried), sum(not how for _, how in tried)))
    print(f"| seed {given.seed} | tried | survived |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    for line in lost:
        print(re.sub(r"\s+", " ", line))
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
