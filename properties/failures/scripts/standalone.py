"""A failed case as a standalone Python file, for a bug report: it raises what the law raises.

It is made of the law's own source, and of what that uses of the harness, with what the case decides worked out; the
layer that failed is imported, whichever it is. It needs torch alone, but where a law makes other cases of the one that
failed: then NumPy makes the numbers.

No text of a record becomes code but names of a layer and of a device, and plain data; all else stands in comments.
"""

import base64
import keyword
import re
import textwrap
import zlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache

import torch
from torch import Tensor

from properties.cases.case import Case
from properties.failures.record import printable
from properties.failures.scripts.pruning import Source, prune
from properties.failures.scripts.simplifying import simplify
from properties.laws import LAWS
from properties.laws.law import Law
from properties.trials.implementation import CannotRun
from properties.trials.tensors import unpacked
from properties.trials.trial import Trial
from properties.trials.verdict import Failed

_WIDTH = 120
_MOST_SHOWN = 1000
# Numbers of a tensor that are written out.
_FEW = 64
# Whether a failure is torch's own is found out by the harness, before a record is written.
_INSTEAD = {
    "fault_behind": 'def fault_behind(trial, verdict, dtype): return ""',
    "Trial.spare_memory": "def spare_memory(self): pass",
    # What a layer is for is its own attribute, where it has one.
    "Trial.is_for": """def is_for(self, case):
    domain = getattr(self.implementation, "domain", None)
    return domain is None or domain.holds(case)""",
    "Trial.with_rounded_operands": 'def with_rounded_operands(self, expected, of="output"): return expected',
    "corrupts_memory": "def corrupts_memory(trial): return False",
    # A case was checked when it was read; others of other sizes may cost too much.
    "Case.__post_init__": "def __post_init__(self): self._check_cost()",
    **dict.fromkeys([f"{name}.__post_init__" for name in ("Spec", "Input", "Fill", "Backward", "case_Backward")], ""),
}


def standalone_script(prop: Law | str, implementation: str, device: str, case: Case, verdict: Failed) -> str:
    """A Python file that judges a layer on a case by a law, and raises where it fails.

    Args:
        prop: the property that failed, or the name of one of the contract.
        implementation: where to import the layer from: ``"package.module:Name"``.
        device: where it failed.
        case: what it failed on.
        verdict: how it failed.

    Raises:
        CannotRun: where there is no such property or device, or no import statement can name the layer.
    """
    named = {known.name: known for known in LAWS}
    law = prop if isinstance(prop, Law) else named.get(prop)
    if law is None:
        raise CannotRun(f"there is no property {prop!r}; the properties are {', '.join(named)}")
    try:
        torch.device(device)
    except RuntimeError as error:
        raise CannotRun(f"device of the record is no name of a device: {printable(repr(device))}") from error
    code = _code(law, *_importable(implementation), device, case)
    return "\n".join([*_header(law, implementation, device, verdict), *code, ""])


@lru_cache(maxsize=16)
def _code(law: Law, module: str, layer: tuple[str, ...], device: str, case: Case) -> list[str]:
    """The lines of a script without the comments above them."""
    imported = [f"from {module} import {layer[0]}{'' if layer[1:] else ' as Layer'}"]
    if layer[1:]:
        imported.append(f"Layer = {'.'.join(layer)}")
    judge, trial = (law.judge.__module__, law.name), _source(Trial)
    pruned = prune({judge, trial, *_classes(case)}, ["output"])
    names = pruned.names
    tf32 = [f"torch.backends.cudnn.allow_tf32 = {case.tf32}"]
    precision = ['torch.set_float32_matmul_precision("high")'] if case.tf32 else []
    lines = [
        *pruned.lines,
        *imported,
        "torch.set_num_threads(1)",
        *([*tf32, *precision] if device.startswith("cuda") and case.input.dtype == "float32" else []),
        f"case = {_literal(case, names)}",
        f"trial = {names[trial]}(case, Layer, {device!r})",
        *(["trial.output()"] if law.needs_output else []),
        f"{names[judge]}(trial)",
    ]
    lines = simplify(lines, case, device, _INSTEAD, alone=False)
    if sum(line.count("Trial(") for line in lines) > 1:
        return lines
    given = vars(Trial(case, lambda: None).values)
    written = (f"{name}={_tensor(tensor)}" for name, tensor in given.items() if tensor is not None)
    values = {"Trial.values": f"values = Tensors({', '.join(written)})"}
    return simplify([*prune({_source(unpacked)}).lines, *lines], case, device, values, alone=True)


def _tensor(values: Tensor) -> str:
    """An expression of a tensor on the CPU: its numbers, or where they are many, their bytes."""
    dtype, shape = str(values.dtype), tuple(values.shape)
    if values.numel() <= _FEW:
        numbers = re.sub(r"\b(nan|inf)\b", r"math.\1", str(values.tolist()))
        return f"torch.tensor({numbers}, dtype={dtype})"
    repeated = values.stride(0) == 0
    kept = (values[:1] if repeated else values).contiguous()
    small = kept.to(torch.int8)
    # Signs of zeros and what is not a number have no integers.
    kind = small if torch.equal(small.to(kept.dtype).view(torch.uint8), kept.view(torch.uint8)) else kept
    packed = base64.b85encode(zlib.compress(bytes(kind.view(torch.uint8).flatten().tolist()), 9)).decode()
    text = f"unpacked({packed!r}, {kind.dtype}, {tuple(kept.shape)}).to({dtype})"
    return f"{text}.expand({shape})" if repeated else text


def _importable(implementation: str) -> tuple[str, tuple[str, ...]]:
    """The module of a layer, and the names that lead to the layer from there.

    Raises:
        CannotRun: where no import statement can name the layer.
    """
    module, _, name = implementation.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if module == "__main__" or not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise CannotRun(
            f"no script can import {printable(implementation)}: define the layer at the top level of a module and "
            "verify it there by its name, 'package.module:Name'"
        )
    return module, tuple(name.split("."))


def _header(law: Law, implementation: str, device: str, verdict: Failed) -> list[str]:
    """Which law, which layer, what was observed and what was expected, as comments."""
    stated = f"{law.name} ({', '.join(law.clauses)}): {' '.join(law.statement.split(chr(10) * 2)[0].split())}"
    found = _comment(f"{implementation} on {device}: {verdict}")
    width = _WIDTH - 2
    rows = [*textwrap.wrap(stated, width, max_lines=1, placeholder=" ..."), *textwrap.wrap(found, width, max_lines=2)]
    return [f"# {row}" for row in rows]


def _comment(text: str) -> str:
    """Text as it may stand in a comment."""
    # Python takes the encoding of a file from the first lines of comment, where they name one.
    return re.sub("coding(?=[:=])", "coding ", printable(text, _MOST_SHOWN))


def _source(found: type | object) -> Source:
    module, name = found.__module__, getattr(found, "__name__", "")
    return str(module), str(name)


def _classes(value: object) -> Iterator[Source]:
    """The data classes that some plain data is made of."""
    if is_dataclass(value):
        yield _source(type(value))
        for member in fields(value):
            yield from _classes(getattr(value, member.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _classes(item)


def _literal(value: object, names: dict[Source, str]) -> str:
    """Plain data as an expression; it was checked when it was read, and its texts stand between quotes."""
    if is_dataclass(value):
        members = (f"{member.name}={_literal(getattr(value, member.name), names)}" for member in fields(value))
        return f"{names[_source(type(value))]}({', '.join(members)})"
    if isinstance(value, tuple):
        return f"({''.join(f'{_literal(item, names)}, ' for item in value).rstrip()})"
    if not isinstance(value, str | bool | int | float | None):
        raise TypeError(f"a case holds plain data alone, got {type(value).__name__}")
    return repr(value)
