"""What a diagnosis is: typed evidence, and the features of a case that a failure takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from properties.cases.case import PARAMETERS_AND_INPUT, Case

# What probes look at: the output or a gradient, or what becomes of arguments, of a fresh layer, of a wrong input.
OUTPUT, GRADIENTS = "output", PARAMETERS_AND_INPUT


@dataclass(frozen=True)
class View:
    """Which result of a layer is looked at, and how it is called: under autocast, compiled, at a later size."""

    of: str = OUTPUT
    autocast: bool = False
    compiled: bool = False
    later: bool = False


def remainders(case: Case) -> tuple[int, ...]:
    """Pixels after the last window on each axis."""
    return tuple((size - case.spec.patch_size) % case.spec.effective_stride for size in case.input.sizes)


def _stride(case: Case) -> str:
    patch_size, stride = case.spec.patch_size, case.spec.effective_stride
    return "smaller than" if stride < patch_size else "larger than" if stride > patch_size else "equal to"


# The features of a case that a failure may take, and the level of each that a case is at.
LEVELS: dict[str, Callable[[Case], str | int]] = {
    "dtype": lambda case: case.input.dtype,
    "data_dim": lambda case: case.spec.data_dim,
    "layout": lambda case: case.input.layout,
    "weight_layout": lambda case: case.weight_layout,
    "stride": _stride,
    "remainder": lambda case: "some" if any(remainders(case)) else "no",
    "sizes": lambda case: "equal" if len(set(case.input.sizes)) == 1 else "unequal",
    "channels": lambda case: "equal" if case.spec.in_features == case.spec.out_features else "unequal",
    "bias": lambda case: "with" if case.spec.bias else "without",
    "input_gradient": lambda case: "a" if "input" in case.backward.requires_grad else "no",
    "weight_gradient": lambda case: "a" if "weight" in case.backward.requires_grad else "no",
    "bias_gradient": lambda case: "a" if "bias" in case.backward.requires_grad else "no",
    "cotangent": lambda case: case.backward.cotangent,
    "mode": lambda case: case.mode,
    "origin": lambda case: case.input.origin,
    "autocast": lambda case: case.autocast,
    "patch_size": lambda case: case.spec.patch_size,
    "in_features": lambda case: case.spec.in_features,
    "out_features": lambda case: case.spec.out_features,
    "batch": lambda case: case.input.batch,
    "windows": lambda case: max(case.grid),
}


@dataclass(frozen=True)
class Only:
    """A feature that a failure takes: a level of a factor among some, or a number that is odd, even or large enough."""

    factor: str
    levels: tuple[str | int, ...] = ()
    relation: str = "in"

    def holds(self, case: Case) -> bool:
        """Whether a case has the feature."""
        level = LEVELS[self.factor](case)
        match self.relation:
            case "in":
                return level in self.levels
            case "from":
                return isinstance(level, int) and isinstance(self.levels[0], int) and level >= self.levels[0]
            case parity:
                return isinstance(level, int) and level % 2 == {"odd": 1, "even": 0}[parity]


@dataclass(frozen=True)
class Evidence:
    """What was measured about a failing layer.

    Attributes:
        id: that of the hypothesis that predicts what was measured.
        parameters: what of the hypothesis is particular to this layer.
        measured_on: the case that the probes ran on, where it is not the one that fails.
        only_when: the features that the failure takes; each holds for the case that fails.
        view: which result was looked at, and how the layer was called.
    """

    id: str
    parameters: Mapping[str, object]
    measured_on: Case
    only_when: tuple[Only, ...] = ()
    view: View = field(default_factory=View)
