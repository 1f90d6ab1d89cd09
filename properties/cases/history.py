"""Histories: what is done with one layer, step by step, as plain data, JSON both ways.

The commands of model-based testing (Claessen and Hughes, QuickCheck's state machines). A step names what it does, never
what comes of it; ``laws/histories.py`` carries it out beside a model. Steps that find nothing to do, such as a backward
pass before any forward pass, do nothing, so that every part of a history is a history, and one is shrunk by leaving
steps out.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from properties.cases.error import CaseError

Parameters = Literal["weight", "bias", "all"]


@dataclass(frozen=True)
class Forward:
    """Run the layer.

    ``data`` numbers the values, ``sizes`` the sizes: 0 are those of the case, others have something in common with
    them. The input is a new ``leaf``, the ``result`` of another operation, or the tensor of the last call, ``refilled``
    with these values. ``input_gradient`` says whether it requires a gradient.
    """

    data: int = 0
    sizes: int = 0
    layout: Literal["contiguous", "channels_first", "transposed", "sliced", "stepped"] = "contiguous"
    origin: Literal["leaf", "result", "refilled"] = "leaf"
    input_gradient: bool = False
    training: bool = True
    mode: Literal["grad", "no_grad", "inference", "autocast"] = "grad"
    times: int = 1

    def __str__(self) -> str:
        """The step as a line of a program."""
        size = f", sizes {self.sizes}" if self.sizes else ""
        plain = {"layout": "contiguous", "origin": "leaf", "training": True, "mode": "grad", "input_gradient": False}
        words = {
            "training": "in eval mode",
            "mode": f"under {self.mode}",
            "input_gradient": "requiring a gradient",
            "origin": {"result": "the result of an operation", "refilled": "in the tensor of the last call"}.get(
                self.origin, ""
            ),
            "layout": self.layout,
        }
        unlike = [words[name] for name, value in plain.items() if getattr(self, name) != value]
        often = f", {self.times} times" if self.times > 1 else ""
        return f"forward(data {self.data}{size}{''.join(f', {word}' for word in unlike)}){often}"


@dataclass(frozen=True)
class Backward:
    """Run a backward pass of an earlier call: 0 is the last one, 1 the one before, of those whose graph is there.

    Gradients are ``returned``, or ``accumulated`` in ``.grad``; ``twice`` uses one graph two times.
    """

    call: int = 0
    into: Literal["returned", "accumulated"] = "returned"
    twice: bool = False

    def __str__(self) -> str:
        """The step as a line of a program."""
        which = "the last call" if self.call == 0 else f"the call {self.call} before the last"
        return f"backward of {which}, gradients {self.into}{', twice over one graph' if self.twice else ''}"


@dataclass(frozen=True)
class Update:
    """Give parameters other values: all of their elements, or one."""

    parameters: Parameters = "all"
    way: Literal["in place", "data", "optimizer", "loaded", "assigned", "replaced", "zeroed"] = "in place"
    element: bool = False

    def __str__(self) -> str:
        """The step as a line of a program."""
        ways = {
            "in place": "changed in place",
            "data": "changed through .data",
            "optimizer": "changed by an optimizer's step",
            "loaded": "loaded from a state dict",
            "assigned": "loaded from a state dict by assignment",
            "replaced": "replaced by new parameters",
            "zeroed": "set to zero, as an initialisation may be",
        }
        what = {"weight": "conv.weight", "bias": "conv.bias", "all": "all parameters"}[self.parameters]
        return f"{f'one element of {what}' if self.element else what} {ways[self.way]}"


@dataclass(frozen=True)
class Freeze:
    """Set ``requires_grad`` of parameters."""

    parameters: Parameters = "all"
    frozen: bool = True

    def __str__(self) -> str:
        """The step as a line of a program."""
        what = {"weight": "conv.weight", "bias": "conv.bias", "all": "all parameters"}[self.parameters]
        return f"{'freeze' if self.frozen else 'unfreeze'} {what}"


@dataclass(frozen=True)
class Copy:
    """Go on with a copy of the layer; the original must stay as it is."""

    way: Literal["deepcopy", "pickle", "save"] = "deepcopy"

    def __str__(self) -> str:
        """The step as a line of a program."""
        return f"go on with a copy, made by {self.way}"


@dataclass(frozen=True)
class Convert:
    """Convert the layer to another dtype, run it and negate its parameters there, and convert it back."""

    def __str__(self) -> str:
        """The step as a line of a program."""
        return "convert to another dtype, negate all parameters there, and convert back"


Step = Forward | Backward | Update | Freeze | Copy | Convert
History = tuple[Step, ...]
_KINDS: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in get_args(Step)}
_MOST_STEPS, _MOST_TIMES, _MOST_NUMBER = 100, 10_000, 1_000


def to_json(history: History) -> list[dict[str, Any]]:
    """As plain data that ``json`` can write."""
    return [{"do": type(step).__name__.lower(), **asdict(step)} for step in history]


def from_json(data: object) -> History:
    """The history that plain data describes.

    Raises:
        CaseError: where a field is unknown, missing or of another type, or a number too large.
    """
    if not isinstance(data, list) or len(data) > _MOST_STEPS:
        raise CaseError(f"history must be a list of at most {_MOST_STEPS} steps, got {str(data)[:80]}")
    return tuple(_step(f"history[{number}]", step) for number, step in enumerate(data))


def _step(path: str, data: object) -> Step:
    kind = _KINDS.get(str(data.get("do"))) if isinstance(data, dict) else None
    if kind is None:
        raise CaseError(f"{path} must be an object with do one of {', '.join(_KINDS)}, got {str(data)[:80]}")
    assert isinstance(data, dict)
    hints, members = get_type_hints(kind), {name: value for name, value in data.items() if name != "do"}
    expected = [field.name for field in fields(kind)]
    if sorted(members) != sorted(expected):
        raise CaseError(f"{path} must have the fields do, {', '.join(expected)}, got {', '.join(map(str, data))}")
    for name, value in members.items():
        allowed = get_args(hints[name])
        if allowed and value not in allowed:
            raise CaseError(f"{path}.{name} must be one of {', '.join(allowed)}, got {value!r}")
        if hints[name] is bool and not isinstance(value, bool):
            raise CaseError(f"{path}.{name} must be true or false, got {value!r}")
        most = _MOST_TIMES if name == "times" else _MOST_NUMBER
        if hints[name] is int and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most):
            raise CaseError(f"{path}.{name} must be an integer from 0 to {most}, got {value!r}")
    step: Step = kind(**members)
    return step
