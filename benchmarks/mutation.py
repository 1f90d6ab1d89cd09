"""Mutants made by machine of every right layer, each judged by the quick profile at both levels until a law fails.

    python -m benchmarks.mutation [--budget TIME] [--seed N] [--limit TIME] [--out FILE] [FILE ...]

Every site of ``patchify/`` and ``tests/correct/``: constants off by one, comparisons and arithmetic exchanged,
conditions negated, statements dropped, neighbouring arguments swapped, calls removed. The order is drawn from the seed,
so that whatever part of it was run is a random sample. Results are written line by line, and a run goes on after those
that are there; ``--limit`` is CPU time for each mutant, and one that no law has failed by then is ``unfinished`` until
a run with a larger limit. Whoever has found that a survivor computes the same makes it ``equivalent``, with ``why``.
"""

import argparse
import ast
import importlib
import json
import multiprocessing
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch._dynamo  # Here, and not in every process that judges a mutant.

from properties.cases.case import Case
from properties.runs.parsing import duration
from properties.runs.plan import make_plan
from properties.runs.profiles import PROFILES
from properties.runs.shard import run_cases
from properties.runs.shard_names import is_compiled, kind_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("patchify", "tests")
# Whose mutants they are where the file does not say.
LAYERS = {
    "patchify/layer.py": "patchify:Patchify",
    "patchify/convolution.py": "patchify:Patchify",
    "patchify/linear.py": "patchify:LinearPatchify",
}
QUICK = PROFILES["quick"]
# Seconds without an answer after which a mutant hangs, which counts as killed; a compilation may take a minute.
HANGS = 300.0

# Cases of every kind of shard that come before all others.
FEW = 4
Some = tuple[str, Mapping[str, Case]]

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
# What is no part of what a layer computes: types, decorators, the words of messages.
_LEFT_OUT = ("annotation", "returns", "decorator_list")
_WORDS = (ast.JoinedStr, ast.Raise, ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Mutant:
    """One change of one file, in its lines before and after it; ``layer`` is ``"package.module:Name"``."""

    file: str
    line: int
    kind: str
    before: str
    after: str
    layer: str
    source: str

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.file}:{self.line}: {self.before} -> {self.after}"


def every() -> Iterator[Mutant]:
    """The mutants of all right layers."""
    correct = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/correct").glob("[a-z]*.py"))
    for file in (*LAYERS, *correct):
        yield from mutants(file)


def mutants(file: str) -> Iterator[Mutant]:
    """All mutants of a file."""
    body, seen = ast.parse((ROOT / file).read_text()).body, set[str]()
    classes = [node for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    module, texts = file.removesuffix(".py").replace("/", "."), [ast.unparse(top) for top in body]
    for number, top in enumerate(body):
        # What stands before a layer is part of it.
        of = (f"{module}:{each.name}" for each in classes if each.lineno >= top.lineno)
        layer = LAYERS.get(file) or next(of, "")
        for parent, field, index, node in _sites(top):
            for kind, instead in _alternatives(node, parent):
                _put(parent, field, index, instead)
                changed = ast.unparse(top)
                _put(parent, field, index, node)
                if layer and changed != texts[number] and changed not in seen:
                    seen.add(changed)
                    before, after = _difference(texts[number].splitlines(), changed.splitlines())
                    source = "\n\n".join([*texts[:number], changed, *texts[number + 1 :]])
                    yield Mutant(file, getattr(node, "lineno", 0), kind, before, after, layer, source)


def _sites(parent: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node below one, and where it stands."""
    for field, value in ast.iter_fields(parent):
        nodes = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, node in nodes if field not in _LEFT_OUT else ():
            if isinstance(node, ast.AST):
                yield parent, field, index, node
                if not isinstance(node, _WORDS):
                    yield from _sites(node)


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _alternatives(node: ast.AST, parent: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand instead of a node, and what kind of change that is."""
    match node:
        case ast.Constant(bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(int() as value):
            yield "constant", ast.Constant(value + 1)
            yield "constant", ast.Constant(value - 1)
        case ast.Compare(left, [operator], comparators):
            for other in _COMPARED[type(operator)]:
                yield "comparison", ast.Compare(left, [other()], comparators)
        case ast.BinOp(left, operator, right) if type(operator) in _CALCULATED:
            yield "arithmetic", ast.BinOp(left, _CALCULATED[type(operator)](), right)
        case ast.BoolOp(operator, values):
            yield "condition", ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield "condition" if isinstance(node.op, ast.Not) else "arithmetic", operand
        case ast.IfExp(test, body, orelse):
            yield "condition", ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.If(test, body, orelse):
            yield "condition", ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Expr(ast.Constant()):
            pass
        case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.Raise() | ast.AnnAssign(value=ast.expr()):
            yield "statement dropped", ast.Pass()
        case ast.Call(function, arguments, keywords):
            if not (isinstance(function, ast.Name) and function.id in ("min", "max")):
                yield from (("swap", ast.Call(function, each, keywords)) for each in _swapped(arguments))
            if arguments and not isinstance(arguments[0], ast.Starred) and not isinstance(parent, ast.Expr):
                yield "call removed", arguments[0]
            if isinstance(function, ast.Attribute) and not isinstance(parent, ast.Expr):
                yield "call removed", function.value
        case ast.Tuple(elements, ast.Load()) | ast.List(elements, ast.Load()):
            yield from (("swap", type(node)(each, ast.Load())) for each in _swapped(elements))


def _swapped(nodes: list[ast.expr]) -> Iterator[list[ast.expr]]:
    for i in range(len(nodes) - 1):
        yield [*nodes[:i], nodes[i + 1], nodes[i], *nodes[i + 2 :]]


def _difference(before: list[str], after: list[str]) -> tuple[str, str]:
    """The lines that differ."""
    first, last = (
        next(i for i, (a, b) in enumerate(zip(before[::way], after[::way], strict=False)) if a != b) for way in (1, -1)
    )
    first = min(first, min(len(before), len(after)) - last - 1)
    one, other = ("; ".join(line.strip() for line in lines[first : len(lines) - last]) for lines in (before, after))
    return one, other


def turns() -> list[Some]:
    """The cases of a run of the quick profile, a few of every kind of shard first, and what compiles last of either."""
    plan = make_plan(torch.nn.Identity, cases=QUICK.cases, seed=7, levels=("contract", "robust"))
    every = {shard: plan.cases_of(shard) for shard in sorted(plan.shards, key=is_compiled)}
    firsts = {kind_of(shard): shard for shard in reversed(every)}.values()
    return [
        *((shard, dict(islice(cases.items(), FEW))) for shard, cases in every.items() if shard in firsts),
        *((shard, dict(islice(cases.items(), FEW * (shard in firsts), None))) for shard, cases in every.items()),
    ]


def judge(mutant: Mutant, cases: Sequence[Some], limit: float, results: Connection) -> None:
    """Judge a mutant in this process, which is forked for it alone; the last answer is its outcome."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        for package in PACKAGES:
            shutil.copytree(ROOT / package, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__"))
        (Path(folder) / mutant.file).write_text(mutant.source)
        sys.path.insert(0, folder)
        # What the process that was forked had imported is not mutated.
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        results.send(_outcome(mutant.layer, cases, limit, results))


def _outcome(layer: str, cases: Sequence[Some], limit: float, results: Connection) -> dict[str, object]:
    module, name = layer.split(":")
    try:
        implementation = getattr(importlib.import_module(module), name)
        for data_dim in (1, 2, 3):
            implementation(2, 3, data_dim, 2)
    except Exception as error:
        return {"outcome": "stillborn", "by": type(error).__name__}
    plan = make_plan(layer, seed=7, levels=("contract", "robust"))
    for number, (shard, those) in enumerate(cases):
        for result in run_cases(plan, shard, those):
            if result.failed:
                return {"outcome": "killed", "by": ", ".join(result.failed), "shard": shard}
            if time.process_time() > limit:
                return {"outcome": "unfinished", "by": f"none in {number} of {len(cases)} turns"}
            results.send(None)
    return {"outcome": "survived"}


def outcome_of(mutant: Mutant, cases: Sequence[Some], limit: float) -> dict[str, object]:
    """Judge a mutant in a process of its own, which may die of it or hang."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=judge, args=(mutant, cases, limit, theirs))
    process.start()
    theirs.close()
    try:
        while ours.poll(HANGS):
            if (answer := ours.recv()) is not None:
                found: dict[str, object] = answer
                return found
        return {"outcome": "killed", "by": f"no answer within {HANGS:g} seconds"}
    except EOFError:
        return {"outcome": "killed", "by": "the process died"}
    finally:
        process.kill()
        process.join()


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The results so far, the last one of each mutant."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def main() -> None:
    """Judge what is left, and print the survivors."""
    parser = argparse.ArgumentParser(description="Judge mutants made by machine.")
    parser.add_argument("files", nargs="*", help="the files whose mutants to judge (default: all)")
    parser.add_argument("--budget", type=duration, default=3600.0, help="no mutant is begun after it (default: 1h)")
    parser.add_argument("--seed", type=int, default=7, help="of the order (default: 7)")
    parser.add_argument("--limit", type=duration, default=900.0, help="CPU time for each mutant (default: 15m)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    given = parser.parse_args()
    chosen = [one for one in every() if not given.files or one.file in given.files]
    random.Random(given.seed).shuffle(chosen)
    done, until = read(given.out), time.monotonic() + given.budget
    left = [one for one in chosen if not _is_done(done.get(one.name), given.limit)]
    cases = turns() if left else []
    with given.out.open("a") as out:
        for mutant in left:
            if time.monotonic() > until:
                break
            began = time.monotonic()
            row: dict[str, object] = {"name": mutant.name, "kind": mutant.kind, "layer": mutant.layer}
            row |= outcome_of(mutant, cases, given.limit) | {"limit": given.limit}
            out.write(json.dumps(row | {"seconds": round(time.monotonic() - began, 1)}) + "\n")
            out.flush()
    print(*summary([one.name for one in chosen], read(given.out)), sep="\n")


def _is_done(row: Mapping[str, Any] | None, limit: float) -> bool:
    return row is not None and (row["outcome"] != "unfinished" or row["limit"] >= limit)


def summary(names: list[str], rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """How many mutants came to what, and every one that no law has killed."""
    judged = [rows[name] for name in names if name in rows]
    yield f"{len(judged)} of {len(names)} mutants were run"
    for outcome, count in sorted(Counter(row["outcome"] for row in judged).items()):
        yield f"  {outcome}: {count}"
    for row in judged:
        if row["outcome"] not in ("killed", "stillborn"):
            told = row.get("why") or row.get("by", "")
            yield f"{row['outcome']}: {row['name']} ({row['layer'].split(':')[1]})" + (f": {told}" if told else "")


if __name__ == "__main__":
    main()
