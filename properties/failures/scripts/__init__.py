"""A failed case as a standalone Python file, for a bug report: the same bits, and an assertion that fails."""

import textwrap

from properties.cases.case import Case
from properties.failures.script import script_of_the_law
from properties.failures.scripts import compiled, functional, gradients, interface, numbers, state
from properties.failures.scripts.pieces import code_blocks, layer_blocks
from properties.failures.scripts.quoted import check_device, comment, importable
from properties.failures.scripts.subject import WIDTH, Block, Body, Subject, names_in, needed
from properties.failures.scripts.tensors import drawn_blocks, few_numbers, generator_blocks, literal_blocks
from properties.laws import LAWS
from properties.trials.implementation import CannotRun
from properties.trials.verdict import Failed

BODIES: dict[str, Body] = {
    name: body
    for part in (interface, numbers, gradients, compiled, state, functional)
    for name, body in part.BODIES.items()
}
_MODULES = ("copy", "gc", "hashlib", "io", "math", "operator", "pickle", "re", "struct", "weakref")


def standalone_script(prop: str, implementation: str, device: str, case: Case, verdict: Failed) -> str:
    """A Python file that builds the case's layer and input, and asserts what the property says.

    With torch alone where the script of a law is written by hand; else it is made of the law's own source, which needs
    NumPy too.

    Args:
        prop: the name of the property that failed.
        implementation: where to import the layer from: ``"package.module:Name"``.
        device: where it failed.
        case: what it failed on.
        verdict: how it failed.

    Raises:
        CannotRun: where there is no such property, no import statement can name the layer, torch alone cannot show
            the failure, or what the property is said to have found is nothing that it finds.
    """
    named = {known.name: known for known in LAWS}
    if prop not in named:
        raise CannotRun(f"there is no property {prop!r}; the properties are {', '.join(named)}")
    check_device(device)
    subject = Subject(named[prop], implementation, device, case, verdict)
    if prop not in BODIES or case.format > 2:
        lines = script_of_the_law(named[prop], *importable(implementation), device, case)
        return "\n".join([*_header(subject), *lines, ""])
    subject = gradients.ADAPTED.get(prop, Subject.itself)(subject)
    body = BODIES[prop](subject)
    lines = [line for line in body if isinstance(line, str)]
    blocks = _blocks(subject, [line for line in body if isinstance(line, Block)], lines)
    settings = _settings(subject)
    imports = _imports(subject, names_in([*(line for block in blocks for line in block.lines), *settings, *lines]))
    return "\n".join([*_header(subject), *imports, *_definitions(blocks), *settings, *lines, ""])


def _blocks(subject: Subject, functions: list[Block], lines: list[str]) -> list[Block]:
    """The blocks for a body, with numbers in full where they are few, else with the generator."""
    code, layer = [*code_blocks(subject), *functions], layer_blocks(subject)
    if "draw" not in names_in(lines):
        blocks = needed([*code, *literal_blocks(subject), *layer], lines)
        if few_numbers(subject, blocks):
            return blocks
    return needed([*code, *generator_blocks(subject), *drawn_blocks(subject), *layer], lines)


def _header(subject: Subject) -> list[str]:
    """Which law, which layer, what was observed and what was expected, as comments."""
    prop, verdict = subject.prop, subject.verdict
    law = f"{prop.name} ({', '.join(prop.clauses)}): {' '.join(prop.statement.split(chr(10) * 2)[0].split())}"
    where = f" at {verdict.where}" if str(verdict.where) else ""
    values = f": observed {verdict.observed}, expected {verdict.expected}" if verdict.observed else ""
    found = comment(f"{subject.implementation} on {subject.device}: {verdict.what}{where}{values}")
    width = WIDTH - 2
    rows = [*textwrap.wrap(law, width, max_lines=1, placeholder=" ..."), *textwrap.wrap(found, width, max_lines=2)]
    return [f"# {row}" for row in rows]


def _imports(subject: Subject, names: set[str]) -> list[str]:
    standard = [f"import {module}" for module in _MODULES if module in names]
    numbers = [number for number in ("inf", "nan") if number in names]
    if numbers:
        standard.append(f"from math import {', '.join(numbers)}")
    others = ["import torch"] if "torch" in names else []
    if "Layer" in names:
        module, names_of_layer = importable(subject.implementation)
        first, *rest = names_of_layer
        others.append(f"from {module} import {first}" if rest else f"from {module} import {first} as Layer")
        if rest:
            others += ["", f"Layer = {'.'.join(names_of_layer)}"]
    return [*standard, *([""] if standard else []), *others, ""]


def _definitions(blocks: list[Block]) -> list[str]:
    """Functions and classes, two empty lines around each; then tensors; then the layer, after an empty line."""
    code, plain = [block for block in blocks if block.is_code], [block for block in blocks if not block.is_code]
    lines = [line for block in code for line in ("", *block.lines, "")]
    if code:
        lines.append("")
    for block in plain:
        if block.name == "layer" and block is not plain[0]:
            lines.append("")
        lines += block.lines
    return [*lines, ""] if plain else lines


def _settings(subject: Subject) -> list[str]:
    """What ``properties.runs.shard.undisturbed`` settles, where it changes a result."""
    if not subject.device.startswith("cuda") or subject.case.input.dtype != "float32":
        return []
    precision = ['torch.set_float32_matmul_precision("high")'] if subject.case.tf32 else []
    return [f"torch.backends.cudnn.allow_tf32 = {subject.case.tf32}", *precision]
