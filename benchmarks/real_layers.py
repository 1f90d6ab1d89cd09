"""Verdicts on layers that people use: ``python -m benchmarks.real_layers > docs/real-layers.md``.

Each layer of ``examples/`` whose package is installed is judged at both levels. What is done stands in a file beside
this one, and is not done again; a line that is deleted is.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from properties import verify
from properties.reports.json import report_json

FILE = Path(__file__).with_suffix(".jsonl")
LAYERS = {
    "nvsubquadratic_patchify:layer": "nvsubquadratic",
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
}
ASKED: dict[str, Any] = {"cases": 30, "strength": 0, "scope_sample": 10, "seed": 7, "levels": ("contract", "robust")}
HEAD = """# Layers that people use

Made by `python -m benchmarks.real_layers`; not written by hand. Each was judged at both levels, with the run seed 7, 30
random cases and a tenth of the small scope, by `verify("examples.NAME", cases=30, strength=0, scope_sample=10, seed=7,
levels=("contract", "robust"))`.
"""


def done() -> dict[str, dict[str, Any]]:
    """What is known, by the name of the layer."""
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    return {known["layer"]: known for known in map(json.loads, lines)}


def judge(name: str, package: str) -> dict[str, Any]:
    """What a run says of a layer, as plain data."""
    report = verify(f"examples.{name}", **ASKED, jobs=2)
    told = report_json(report)
    return {
        "layer": name,
        "package": f"{package} {version(package)}",
        "verdict": told["verdict"],
        "not_judged": told["not_judged_by_declaration"],
        "failures": [failure["message"] for failure in told["failures"]],
        "versions": told["versions"],
    }


def section(known: dict[str, Any]) -> list[str]:
    """A layer on the page."""
    failures = [line for message in known["failures"] for line in ("", "```", *message.splitlines(), "```")]
    versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
    lines = ["", f"## examples/{known['layer'].replace(':', '.py, ')}", "", f"{known['package']}; {versions}", ""]
    return [*lines, "```", known["verdict"], *known["not_judged"], "```", *failures]


def main() -> None:
    """Judge what is not done, and print the page."""
    for name, package in LAYERS.items():
        if name not in done():
            found = judge(name, package)
            print(f"{name}: {found['verdict']}", file=sys.stderr)
            with FILE.open("a") as file:
                file.write(json.dumps(found) + "\n")
    known = done()
    print("\n".join([HEAD.rstrip(), *(line for name in LAYERS if name in known for line in section(known[name]))]))


if __name__ == "__main__":
    main()
