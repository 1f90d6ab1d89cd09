"""Probes: small runs of the implementation that is explained, of which there is a bounded number."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from oracles import unfold
from oracles.precision import PRECISIONS
from properties.cases.case import Backward, Case, Fill
from properties.cases.error import CaseError
from properties.laws.law import Law
from properties.trials.implementation import Implementation
from properties.trials.layout import lay_out
from properties.trials.settings import undisturbed
from properties.trials.tensors import TORCH_DTYPES, tensors
from properties.trials.trial import Raised, Trial, blaming
from properties.trials.verdict import Failed, Passed, Verdict

MOST_PROBES = 400
# Seeds whose integers are large, so that two different sums are hardly ever the same number.
SEEDS = (1101, 1102)


class Spent(Exception):  # noqa: N818 - "the probes are spent"
    """No probe is left."""


@dataclass
class Subject:
    """An implementation that fails a property, and how many probes may still be made of it."""

    prop: Law
    implementation: Implementation
    device: str = "cpu"
    left: int = MOST_PROBES
    # Makes of a layer what is called in its place, such as the compiled one.
    wrap: Callable[[Any], Any] = lambda layer: layer

    def spend(self) -> None:
        """Count one probe.

        Raises:
            Spent: where none is left.
        """
        if self.left == 0:
            raise Spent
        self.left -= 1

    def trial(self, case: Case) -> Trial:
        """A trial of the implementation."""
        return Trial(case, self.implementation, self.device)

    def verdict(self, case: Case, prop: Law | None = None) -> Verdict:
        """What the property, or another one, says of a case."""
        self.spend()
        with undisturbed(self.device, tf32=case.tf32):
            return (prop or self.prop)(self.trial(case))

    def fails(self, case: Case) -> bool:
        """Whether the property fails on a case."""
        return isinstance(self.verdict(case), Failed)

    def passes(self, case: Case) -> bool:
        """Whether it holds there: a property that is inapplicable neither passes nor fails."""
        return isinstance(self.verdict(case), Passed)


@dataclass(frozen=True)
class Given:
    """What one forward pass is of: input ``[B, *s, C_in]``, weight, bias and stride; float64, on the CPU."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: int

    @cached_property
    def right(self) -> Tensor:
        """The output by the oracle, ``[B, *g, C_out]``."""
        return unfold.forward(self.x, self.weight, self.bias, self.stride)

    @cached_property
    def products(self) -> Tensor:
        """The output without its bias."""
        return unfold.forward(self.x, self.weight, None, self.stride)

    @property
    def patches(self) -> Tensor:
        """Every window as a vector, ``[B, *g, C_in * P**d]``."""
        return unfold.patches(self.x, self.weight.shape[-1], self.stride)

    @property
    def data_dim(self) -> int:
        """Number of spatial axes."""
        return self.x.ndim - 2


# Runs the layer, in one way or another, and returns its output: float64, on the CPU.
Look = Callable[[Given], Tensor]


@dataclass(frozen=True)
class Seen:
    """What went in and what came out. ``roundoff`` is that of the dtype, relative to the largest value."""

    given: Given
    found: Tensor
    roundoff: float = 2.0**-53

    def agrees(self, predicted: Tensor) -> bool:
        """Whether a prediction is what was found, and not what would be right as well."""
        return self.same(predicted, self.found) and not self.same(predicted, self.given.right)

    def same(self, one: Tensor, other: Tensor) -> bool:
        """Whether two results are the same but for a few roundings."""
        if one.shape != other.shape:
            return False
        largest = max(1.0, float(other.nan_to_num(0, 0, 0).abs().max())) if other.numel() else 1.0
        return torch.allclose(one, other, rtol=0, atol=8 * self.roundoff * largest, equal_nan=True)

    @property
    def is_right(self) -> bool:
        """Whether the output is right."""
        return self.same(self.given.right, self.found)


def given_of(case: Case, seed: int, fill: str = "exact") -> Given:
    """The tensors of a case, filled from a data seed."""
    filled = tensors(replace(case, fill=Fill(fill, seed), tf32=False, backward=Backward()))
    bias = None if filled.bias is None else filled.bias.double()
    return Given(filled.x.double(), filled.weight.double(), bias, case.spec.step)


def case_of(case: Case, given: Given) -> Case:
    """A case as it is, but for the sizes and channels of what is given.

    Raises:
        Raised: where there is no such case.
    """
    spec = replace(case.spec, in_features=given.x.shape[-1], out_features=given.weight.shape[0])
    if given.stride != spec.step:
        spec = replace(spec, stride=given.stride)
    sizes, batch = tuple(given.x.shape[1:-1]), given.x.shape[0]
    try:
        return replace(
            case, spec=spec, input=replace(case.input, batch=batch, sizes=sizes), fill=Fill("exact", SEEDS[0])
        )
    except CaseError as error:
        raise Raised("a probe", error) from error


def hold(layer: Any, given: Given) -> None:
    """Give a layer its parameters, in place."""
    with torch.no_grad():
        layer.conv.weight.copy_(given.weight)
        if given.bias is not None:
            layer.conv.bias.copy_(given.bias)


def plainly(subject: Subject, case: Case) -> Look:
    """One forward pass of a new layer, in a case's dtype and layouts."""

    def look(given: Given) -> Tensor:
        return run(subject, case_of(case, given), given, lambda layer, x: layer(x))

    return look


def run(
    subject: Subject, case: Case, given: Given, way: Callable[[Any, Tensor], object], pixels: Tensor | None = None
) -> Tensor:
    """Run a new layer in some way.

    Args:
        subject: what is run.
        case: dtype, layouts and whatever else is not given.
        given: the layer's parameters, and its input where no other is given.
        way: what the layer is made to do with the input.
        pixels: another input.

    Raises:
        Raised: where it raises, or its output is no tensor of the case's dtype.
    """
    subject.spend()
    trial = subject.trial(case)
    with undisturbed(subject.device, tf32=case.tf32), blaming("a probe"):
        layer = trial.make_layer()
        hold(layer, given)
        x = stored(
            (given.x if pixels is None else pixels).to(trial.device, TORCH_DTYPES[case.input.dtype]), case.input.layout
        )
        # Another one each time: two runs of a layer that draws random numbers must differ.
        trial.set_seed(subject.left)
        found = way(subject.wrap(layer), x.requires_grad_("input" in case.backward.requires_grad))
        if not isinstance(found, Tensor) or found.dtype != TORCH_DTYPES[case.input.dtype]:
            kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise TypeError(f"the output is {kind} instead of {TORCH_DTYPES[case.input.dtype]}")
        return found.detach().to("cpu", torch.float64, copy=True)


def stored(pixels: Tensor, layout: str) -> Tensor:
    """A tensor of a layout; memory between its elements holds numbers, so that what is read there can be told."""
    x, gaps = lay_out(pixels, layout), lay_out(torch.zeros_like(pixels), layout)
    memory, unused = (torch.empty(0, dtype=t.dtype, device=t.device).set_(t.untyped_storage()) for t in (x, gaps))
    numbers = torch.arange(memory.numel(), dtype=x.dtype, device=x.device) % 97 + 0.5
    memory.copy_(torch.where(unused.isnan(), numbers, memory))
    return x


def observe(case: Case, look: Look) -> tuple[Seen, ...]:
    """What comes out for two fills of a case with large integers."""
    roundoff = PRECISIONS[case.input.dtype].unit_roundoff
    return tuple(Seen(given, look(given), roundoff) for given in (given_of(case, seed) for seed in SEEDS))
