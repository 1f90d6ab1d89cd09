"""What a script is about, and the blocks of source that it may consist of.

A script holds what its last lines use, and what that uses in turn, and nothing else: every definition is a ``Block``
with a name, and ``needed`` takes those whose names are read.
"""

import ast
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from properties.cases.case import Case
from properties.laws.law import Law
from properties.trials.comparison import Expectation
from properties.trials.tensors import TORCH_DTYPES
from properties.trials.trial import Trial
from properties.trials.verdict import Failed

WIDTH = 120


@dataclass(frozen=True)
class Subject:
    """What a script is about: one failure."""

    prop: Law
    implementation: str
    device: str
    case: Case
    verdict: Failed

    def itself(self) -> "Subject":
        """The same."""
        return self

    def of(self, case: Case) -> "Subject":
        """The same with another case."""
        return replace(self, case=case)

    @property
    def dtype(self) -> str:
        """``torch.float64`` and so on."""
        return str(TORCH_DTYPES[self.case.input.dtype])

    @property
    def on_device(self) -> str:
        """The argument of a function that makes a tensor, where there is one to give."""
        return "" if self.device == "cpu" else f', device="{self.device}"'

    @property
    def pixels(self) -> str:
        """The input's values without layout or gradient, as an expression."""
        if self.case.input.layout not in ("contiguous", "expanded"):
            return "pixels"
        return "x.detach()" if "input" in self.case.backward.requires_grad else "x"

    @property
    def parameters(self) -> list[str]:
        """The names of the layer's parameters."""
        return ["weight", "bias"] if self.case.spec.bias else ["weight"]

    @property
    def operands(self) -> list[str]:
        """The arguments of the linear map."""
        return ["x", *self.parameters]

    @property
    def wanted(self) -> list[str]:
        """The tensors whose gradient the case asks for, as expressions."""
        return ["x" if name == "input" else f"layer.conv.{name}" for name in self.case.backward.requires_grad]

    @property
    def small(self) -> bool:
        """Whether a message can show all values of any tensor."""
        case = self.case
        return max(map(math.prod, (case.input_shape, case.weight_shape, case.output_shape))) <= 8

    @cached_property
    def expectations(self) -> dict[str, Expectation]:
        """What the output and each gradient should be, for what their bounds say of rounding."""
        trial = Trial(self.case, nn.Identity)  # what is right does not depend on the layer
        names = ("input", *self.parameters)
        return {"output": trial.expected_tokens} | {name: trial.expected_gradient(name) for name in names}

    def exact(self, *tensors: str) -> bool:
        """Whether no correct evaluation of the output or a gradient rounds anywhere."""
        return not any(bool(self.expectations[tensor].bound.any()) for tensor in tensors)

    @property
    def form_changes(self) -> bool:
        """Whether what is wrong is that a later output has another dtype or shape than the first."""
        observed = self.verdict.observed
        return observed.startswith("TypeError: the output ") and observed.endswith(" as before")


@dataclass(frozen=True)
class Block:
    """Lines of a script that define a name."""

    name: str
    lines: tuple[str, ...]

    @property
    def is_code(self) -> bool:
        """Whether this is a function or a class, which stands by itself."""
        return self.lines[0].startswith(("def ", "class "))


# The last part of a script, for a subject; functions that it needs stand among its lines as blocks.
Body = Callable[[Subject], Sequence[str | Block]]


def names_in(lines: Iterable[str]) -> set[str]:
    """The names that some source reads before it assigns them."""
    read: dict[str, int] = {}
    assigned: dict[str, int] = {}
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Name):
            found = read if isinstance(node.ctx, ast.Load) else assigned
            found[node.id] = min(node.lineno, found.get(node.id, node.lineno))
    return {name for name, line in read.items() if line <= assigned.get(name, line)}


def needed(blocks: Sequence[Block], body: Sequence[str]) -> list[Block]:
    """The blocks that a body uses, and those that these use."""
    found: list[Block] = []
    names = names_in(body)
    for block in reversed(blocks):
        if block.name in names:
            found.insert(0, block)
            names |= names_in(block.lines)
    return found


def looping(names: str, items: list[str]) -> list[str]:
    """The head of a loop over a few things."""
    line = f"for {names} in [{', '.join(items)}]:"
    return [line] if len(line) <= WIDTH else [f"for {names} in [", *(f"    {item}," for item in items), "]:"]


def indented(lines: Iterable[str]) -> list[str]:
    """Lines of a loop or a function."""
    return [f"    {line}" if line else "" for line in lines]


def listed(names: Sequence[str]) -> str:
    """One expression, or a list of several."""
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def by_name(names: Sequence[str]) -> str:
    """A dictionary of expressions by their own text."""
    return "{" + ", ".join(f'"{name}": {name}' for name in names) + "}"
