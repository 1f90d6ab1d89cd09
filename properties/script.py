"""A failed case as a standalone Python file: torch alone, the same bits, an assertion that fails; for a bug report."""

import textwrap

from properties.case import Case
from properties.families import PROPERTIES
from properties.implementation import CannotRun
from properties.options import DEFAULT_IMPLEMENTATION
from properties.script_bodies import ADAPTED, BODIES
from properties.script_source import WIDTH, Block, Subject, chosen_blocks, names_in
from properties.verdict import Failed

# Where the shipped layer is more than its convolution: compiled, and in what its constructor and its checks refuse.
_NOT_EAGER = ("interface", "compiled", "rejection")
_MODULES = ("copy", "gc", "hashlib", "io", "math", "pickle", "re", "struct", "weakref")


def standalone_script(prop: str, implementation: str, device: str, case: Case, verdict: Failed) -> str:
    """A Python file that builds the case's layer and input, and asserts what the property says, with torch alone.

    Args:
        prop: the name of the property that failed.
        implementation: where to import the layer from: ``"package.module:Name"``.
        device: where it failed.
        case: what it failed on.
        verdict: how it failed.

    Raises:
        CannotRun: where there is no such property, the layer cannot be imported, or torch alone cannot show the failure.
    """
    named = {known.name: known for known in PROPERTIES}
    if prop not in named:
        raise CannotRun(f"there is no property {prop!r}; the properties are {', '.join(named)}")
    judged_in = named[prop].judge.__module__.rpartition(".")[2]
    inline = implementation == DEFAULT_IMPLEMENTATION and judged_in not in _NOT_EAGER and prop != "exports"
    subject = Subject(named[prop], implementation, device, case, verdict, inline)
    body = BODIES[prop](subject)
    subject = ADAPTED.get(prop, lambda same: same)(subject)
    blocks = chosen_blocks(subject, body)
    settings = _settings(subject)
    code = [line for block in blocks for line in block.lines] + settings + body
    sections = [*_header(subject), *_imports(subject, names_in(code)), *_definitions(blocks)]
    if settings:
        sections += [*settings, ""]
    return "\n".join([*sections, *body]) + "\n"


def _header(subject: Subject) -> list[str]:
    """Which law, which layer, what was observed and what was expected, as comments."""
    prop, verdict = subject.prop, subject.verdict
    law = " ".join(prop.law.split("\n\n")[0].split())
    where = f" at {verdict.where}" if str(verdict.where) else ""
    values = f": observed {verdict.observed}, expected {verdict.expected}" if verdict.observed else ""
    found = f"{subject.implementation} on {subject.device}: {verdict.what}{where}{values}"
    lines = [f"{prop.name} ({', '.join(prop.clauses)}): {law}", " ".join(found.split())]
    wrapped = [row for line in lines for row in textwrap.wrap(line, WIDTH - 2, max_lines=2)]
    return [f"# {row}" for row in wrapped]


def _imports(subject: Subject, names: set[str]) -> list[str]:
    standard = [f"import {module}" for module in _MODULES if module in names]
    numbers = [number for number in ("inf", "nan") if number in names]
    if numbers:
        standard.append(f"from math import {', '.join(numbers)}")
    others = ["import torch"] if "torch" in names else []
    if "Layer" in names and not subject.inline:
        module, first, rest = _importable(subject.implementation)
        others.append(f"from {module} import {first}" if rest else f"from {module} import {first} as Layer")
        if rest:
            others += ["", f"Layer = {first}.{rest}"]
    return [*standard, *([""] if standard else []), *others, ""]


def _importable(implementation: str) -> tuple[str, str, str]:
    """A layer's module, the name to import from there, and what to take of that.

    Raises:
        CannotRun: where no import statement can name the layer.
    """
    module, _, name = implementation.partition(":")
    if (
        "<" in implementation
        or module == "__main__"
        or not all(part.isidentifier() for part in (*module.split("."), *name.split(".")))
    ):
        raise CannotRun(
            f"no script can import {implementation}: define the layer in a module of its own, at the top level, and "
            "verify it there by its name, 'package.module:Name'"
        )
    first, _, rest = name.partition(".")
    return module, first, rest


def _definitions(blocks: list[Block]) -> list[str]:
    """Functions and classes, two empty lines around each; then tensors; then the layer, after an empty line."""
    lines: list[str] = []
    for block in blocks:
        if block.is_code:
            lines += ["", *block.lines, ""]
    if lines:
        lines.append("")
    plain = [block for block in blocks if not block.is_code]
    for block in plain:
        if block.name == "layer" and len(plain) > 1:
            lines.append("")
        lines += block.lines
    return [*lines, ""] if plain else lines


def _settings(subject: Subject) -> list[str]:
    """What ``properties.shard.undisturbed`` settles, where it changes a result."""
    if not subject.device.startswith("cuda") or subject.case.input.dtype != "float32":
        return []
    precision = ['torch.set_float32_matmul_precision("high")'] if subject.case.tf32 else []
    return [f"torch.backends.cudnn.allow_tf32 = {subject.case.tf32}", *precision]
