"""docs/cuda.md, of what ``benchmarks.cuda`` has written: what ran, on what, what it showed, and what has not run.

    python -m benchmarks.cuda_page DIR > docs/cuda.md

``DIR/notes.json`` may hold a remark on each part, by its name, which stands below the part's figures.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.cuda import PARTS, Data, read

# What tells a transform from a sum of products, in the names of kernels.
TRANSFORMS = ("winograd", "fft")


def page(folder: Path) -> str:
    """The page, in Markdown.

    Args:
        folder: where ``benchmarks.cuda`` has written.
    """
    found = {name: read(folder / f"{name}.json") for name in PARTS}
    remarks = read(folder / "notes.json")
    lines = [
        "# CUDA",
        "",
        f"Made by `python -m benchmarks.cuda_page {folder.as_posix()}` of what `python3 -m benchmarks.cuda --out DIR` "
        "found; not written by hand.",
        "",
        *(_on_a_device(found["machine"]) if found["machine"] else ["**It has not met a device.**", ""]),
        *([remarks["about"], ""] if "about" in remarks else []),
        *_table(
            ("part", "what", "state"),
            [(name, _sentence(name), _state(found[name])) for name in PARTS if name != "machine"],
        ),
    ]
    for name, data in found.items():
        if name in SHOWN and data:
            lines += ["", f"## {_sentence(name)}", "", *SHOWN[name](data, folder)]
            lines += ["", remarks[name]] if name in remarks else []
    return "\n".join([*lines, "", "## What has not run", "", *_missing(found), ""])


def _on_a_device(machine: Data) -> list[str]:
    steps = machine["steps"]
    return [*_table(("machine", ""), [(name, str(value)) for name, value in steps.items()]), ""]


def _run(data: Data, folder: Path) -> list[str]:
    """A run: counts, what failed, and how near the bounds the errors come."""
    laws = data["properties"]
    done, planned = data["shards"]
    lines = [
        f"{data['checks']:,} checks on {data['cases']:,} cases, {data['tf32_cases']} of them with TF32 allowed, in "
        f"{done} of {planned} shards; run seed 7.",
        "",
    ]
    failing = [(law["name"], str(law["failed"]), data["failing"][law["name"]]) for law in laws if law["failed"]]
    lines += _table(("fails", "checks", "smallest case"), failing) if failing else ["Every law held."]
    idle = [law["name"] for law in laws if not law["passed"] + law["failed"]]
    lines += ["", f"Judged nothing: {', '.join(idle)}."] if idle else []
    lost = [(law["name"], reason, str(n)) for law in laws for reason, n in law["lost_to_torch"].items()]
    lines += ["", *_table(("lost to a fault of torch", "reason", "checks"), lost)] if lost else []
    near = sorted(((law["worst_slack"] or 0.0, law["name"], law["passed"]) for law in laws), reverse=True)
    rows = [(name, str(passed), f"{error:.2f}") for error, name, passed in near if error]
    return [*lines, "", *_table(("law", "passed", "largest error over its bound"), rows)]


def _steps(data: Data, folder: Path) -> list[str]:
    return _table(("", "found"), [(name, str(value)) for name, value in data["steps"].items()])


def _algorithms(data: Data, folder: Path) -> list[str]:
    rows = []
    for name, found in data["steps"].items():
        inexact = [key.removesuffix(" exact") for key, value in found.items() if key.endswith("exact") and not value]
        worst = max(value for key, value in found.items() if key.endswith("error/bound"))
        named = {kind for kind in TRANSFORMS for kernel in found.get("kernels", []) if kind in kernel.lower()}
        infinity = "yes" if found["infinity reaches its token"] else "no"
        rows.append((name, ", ".join(inexact) or "none", f"{worst:.4f}", ", ".join(sorted(named)) or "none", infinity))
    head = ("stride 1, 32 -> 48 channels, 2 x 56 x 56", "not exact on integers", "largest error over its bound")
    return _table((*head, "transforms among the kernels", "infinity reaches its token"), rows)


def _text(data: Data, folder: Path) -> list[str]:
    text = folder / "layer.txt"
    return ["```", *text.read_text().rstrip().splitlines(), "```"] if text.exists() else _steps(data, folder)


SHOWN: dict[str, Callable[[Data, Path], list[str]]] = {
    "oracles": _steps,
    "eager": _run,
    "compiled": _run,
    "models": _steps,
    "strides": _steps,
    "algorithms": _algorithms,
    "indices": _steps,
    "layers": _steps,
    "layer": _text,
    "sanitizer": _steps,
}


def _missing(found: dict[str, Data]) -> list[str]:
    """What has not run, by name."""
    lines = [f"- {name}: {_sentence(name)}" for name, data in found.items() if not data]
    for name, data in found.items():
        left = [one for one in data.get("planned", ()) if one not in data["steps"]]
        lines += [f"- of {name}: {', '.join(left)}"] if left else []
    lines += [
        f"- of {name}: {data['shards'][1] - data['shards'][0]} shards, and the remaining cases of others"
        for name, data in found.items()
        if "shards" in data and not data.get("done")
    ]
    lines += [
        f"- of {name}: what is not in its tables ({data['ended']})" for name, data in found.items() if data.get("ended")
    ]
    return lines or ["Everything ran."]


def _sentence(name: str) -> str:
    return (PARTS[name].__doc__ or "").strip().rstrip(".")


def _state(data: Data) -> str:
    if not data:
        return "has not run"
    state = "done" if data.get("done") else data.get("ended") or "out of time"
    return f"{state}, {data.get('seconds', 0)} s"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.cuda_page DIR > docs/cuda.md")
    print(page(Path(sys.argv[1])), end="")
