"""A trial: one case on one implementation and device.

Layer, input, output, gradients and expectations are computed when first asked for, then kept, so that many properties
share one forward and one backward pass.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from oracles import adjoint, rounding, unfold
from oracles.precision import TF32, Precision
from properties.cases.case import SHARING, Case
from properties.trials.comparison import ALL, NOTHING_JUDGED, Expectation, compare, judged
from properties.trials.declaration import domain_of
from properties.trials.ending import Broken, Raised, TorchFault, Unusable, blaming
from properties.trials.implementation import Implementation
from properties.trials.layout import CHANNELS_LAST, lay_out
from properties.trials.memory_faults import memory_fault
from properties.trials.tensors import TORCH_DTYPES, Tensors, tensors
from properties.trials.verdict import Failed, Place, Violation

# What a trial knows of its values whatever is differentiated.
_OF_VALUES = {"values", "expected_tokens", "_expected_input_gradient", "_expected_weight_gradient"}
# How a layer is called, by the mode of a case.
MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "train": nullcontext,
    "eval": nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
}


class Trial:
    """One case on one implementation and device."""

    def __init__(self, case: Case, implementation: Implementation, device: torch.device | str = "cpu") -> None:
        self.case = case
        self.implementation = implementation
        self.device = torch.device(device)
        self.begin()

    # What a law expects.

    def begin(self) -> None:
        """Count anew, for the next law: its expectations, and the largest error over its bound."""
        self.expectations = 0
        self.error_over_bound: float | None = None
        self.unjudged = ""

    def expect(
        self,
        holds: bool,
        what: str,
        where: Place | str = "",
        *,
        observed: object = "",
        expected: object = "",
        bound: str = "",
    ) -> None:
        """Expect something of the layer: every law does so at least once.

        Args:
            holds: whether it is so.
            what: what is wrong if not.
            where: in which place.
            observed: what is there.
            expected: what should be.
            bound: how far a right value may be from that, in words.

        Raises:
            Violation: where it is not so.
        """
        self.expectations += 1
        if not holds:
            raise Violation(Failed(what, where, str(observed), str(expected), bound))

    def nowhere(
        self, wrong: Tensor, what: str, tensor: str, found: Tensor, expected: Tensor | str, bound: str = ""
    ) -> None:
        """Expect a mask to be false everywhere; where it is not, the first place in memory order is named.

        Args:
            wrong: bool, where values are wrong.
            what: what is wrong with them.
            tensor: what they are, as a ``Place`` names it.
            found: the values.
            expected: what they should be, or that in words.
            bound: how far they may be from that, in words.

        Raises:
            Violation: where it is true somewhere.
        """
        if not bool(wrong.any()):
            self.expectations += 1
            return
        at = tuple(wrong.nonzero()[0].tolist())
        right = expected if isinstance(expected, str) else f"{float(expected[at]):.17g}"
        observed = f"{float(found.detach()[at]):.17g}"
        self.expect(False, what, Place(tensor, at), observed=observed, expected=right, bound=bound)

    def close(self, what: str, found: Tensor, expected: Expectation, tensor: str = "output", which: str = ALL) -> None:
        """Expect values to be within their bounds, bit for bit where those are zero.

        Args:
            what: what they are where they are wrong, such as "output values differ from unfold + matmul".
            found: the values.
            expected: what they should be.
            tensor: what they are, as a ``Place`` names it.
            which: ``EXACT`` values, ``ROUNDED`` ones or ``ALL``.

        Raises:
            Violation: where one is not.
        """
        chosen = judged(expected, which)
        if not bool(chosen.any()):
            self.unjudged = NOTHING_JUDGED[which]
            return
        self.expectations += 1
        outcome = compare(what, found, expected, chosen, tensor)
        if isinstance(outcome, Failed):
            raise Violation(outcome)
        if outcome is not None:
            self.error_over_bound = max(outcome, self.error_over_bound or 0.0)

    def right_gradients(
        self,
        found: Mapping[str, Tensor | None],
        where: str,
        expected: Callable[[str, Tensor], Expectation] | None = None,
    ) -> None:
        """Expect gradients, as ``differentiate`` gives them, to be there and to be right.

        Args:
            found: by the names of what they are gradients of.
            where: in which context they were computed, as in "where another thread differentiates".
            expected: what a gradient should be, by its name; the oracle's by default.

        Raises:
            Violation: where one is missing or wrong.
        """
        for name, gradient in found.items():
            self.expect(gradient is not None, f"no gradient reaches the {name} {where}", observed="None")
            assert gradient is not None
            right = expected(name, gradient) if expected else self.expected_gradient(name)
            self.close(f"values of the {name} gradient are wrong {where}", gradient, right, name)

    def shaped(self, what: str, found: object, shape: Sequence[int]) -> Tensor:
        """Expect a tensor of a shape, and return it.

        Raises:
            Violation: where it is something else.
        """
        observed = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        self.expect(observed == list(shape), what, observed=observed, expected=list(shape))
        assert isinstance(found, Tensor)
        return found

    def unchanged(self, tokens: Tensor, what: str) -> None:
        """Expect another run on the same data to give the first one's output: both may round, so two bounds apart.

        Args:
            tokens: the output of the other run.
            what: what the values do where they differ, such as "change on a later call".

        Raises:
            Violation: where they differ by more.
        """
        first = Expectation(self.tokens.detach().double(), 2 * self.expected_tokens.bound)
        self.close(f"output values {what}", tokens, first)

    def refusal(self, call: Callable[[], object]) -> BaseException | None:
        """What a call raises that ought to be refused; None where it is accepted."""
        try:
            call()
        except (Exception, SystemExit) as error:
            return error
        return None

    def inapplicable(self, reason: str) -> NoReturn:
        """End the law: it says nothing about this trial.

        Raises:
            Unusable: always.
        """
        raise Unusable(reason)

    def broken(self, reason: str) -> NoReturn:
        """End the law: what it needs is not there, for which the property has failed that the reason names.

        Raises:
            Broken: always.
        """
        raise Broken(reason)

    def is_for(self, case: Case) -> bool:
        """Whether a case is one of those that the implementation says that it is for."""
        return domain_of(self.implementation).holds(case)

    # What the implementation is given.

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of input, parameters and output."""
        return TORCH_DTYPES[self.case.input.dtype]

    @cached_property
    def values(self) -> Tensors:
        """The case's tensors, on the CPU, never given to the implementation."""
        made = tensors(self.case)
        layout = self.case.input.layout
        return replace(made, x=lay_out(made.x, layout)) if layout in SHARING else made

    def make_input(self, layout: str | None = None) -> Tensor:
        """A new input of the case's layout, or of another one, that requires a gradient where the case says.

        A leaf, or a view of one: the same numbers in the same memory, but the result of an operation.
        """
        x = lay_out(self.values.x.to(self.device), layout or self.case.input.layout)
        x.requires_grad_("input" in self.case.backward.requires_grad)
        return x.view_as(x) if self.case.input.origin == "result" else x

    def lay_out(self, x: Tensor) -> Tensor:
        """Other values in the case's layout; where its samples overlap, which other values do not, they are apart."""
        layout = self.case.input.layout
        return lay_out(x.to(self.device), "contiguous" if layout == "overlapping" else layout)

    def make_layer(self) -> Any:
        """A new layer that holds the case's parameters.

        Raises:
            Raised: where the implementation cannot be built or holds no such parameters.
        """
        layer = self.construct()
        with blaming("setting conv.weight and conv.bias"):
            layer = layer.to(self.device, self.dtype)
            if self.case.weight_layout == "channels_last":
                layer = layer.to(memory_format=CHANNELS_LAST[self.case.spec.data_dim])
        self.set_parameters(layer)
        if self.case.mode != "train":
            with blaming("eval()"):
                layer.eval()
        return layer

    def set_parameters(self, layer: Any) -> None:
        """Set the case's parameters in place.

        Raises:
            Raised: where the layer holds no such parameters.
        """
        spec = self.case.spec
        with blaming("setting conv.weight and conv.bias"), torch.no_grad():
            for name in ("weight", "bias") if spec.bias else ("weight",):
                parameter, value = getattr(layer.conv, name), getattr(self.values, name)
                if not isinstance(parameter, Tensor) or parameter.shape != value.shape:
                    found = list(parameter.shape) if isinstance(parameter, Tensor) else type(parameter).__name__
                    raise TypeError(f"conv.{name} must be a parameter of shape {list(value.shape)}, got {found}")
                parameter.copy_(value)
                parameter.requires_grad_(name in self.case.backward.requires_grad)

    def construct(self) -> Any:
        """A new layer, as its constructor leaves it.

        Raises:
            Raised: where the constructor raises, or returns no module.
        """
        spec = self.case.spec
        self.set_seed(self.case.fill.seed)
        with blaming("the constructor"):
            layer = self.implementation(
                in_features=spec.in_features,
                out_features=spec.out_features,
                data_dim=spec.data_dim,
                patch_size=spec.patch_size,
                stride=spec.stride,
                bias=spec.bias,
            )
            if not isinstance(layer, nn.Module):
                raise TypeError(f"the implementation must return a torch.nn.Module, got {type(layer).__name__}")
        return layer

    def set_seed(self, seed: int) -> None:
        """Seed torch's random generators.

        Not with ``torch.manual_seed``, which keeps a stack trace for every absent accelerator each time: slow, and it
        never forgets them.
        """
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def make_cotangent(self) -> Tensor:
        """The cotangent of the output, in the layout that the case asks for."""
        cotangent = self.values.cotangent.to(self.device)
        match self.case.backward.cotangent:
            case "expanded":
                return cotangent.flatten(0, -2)[0].clone().expand(cotangent.shape)
            case "pooled":
                of_samples = cotangent[(slice(None), *[slice(0, 1)] * self.case.spec.data_dim)]
                return of_samples.clone().expand(cotangent.shape)
            case "summed":
                return cotangent.new_ones(()).expand(cotangent.shape)
            case "sliced":
                return _behind_class_token(cotangent)
            case "channels_first" | "transposed" as layout:
                return lay_out(cotangent, layout)
            case _:
                return cotangent.clone()

    # What the implementation makes of it. Each outcome is a result or the exception in its place.

    @cached_property
    def construction(self) -> Any:
        """The layer with the case's parameters."""
        try:
            return self.make_layer()
        except Raised as raised:
            return raised

    @cached_property
    def x(self) -> Tensor:
        """The input that the forward pass is run on."""
        return self.make_input()

    @cached_property
    def forward_pass(self) -> object:
        """Whatever the layer returns for the input."""
        try:
            return self.call(self.layer, self.x)
        except Raised as raised:
            return raised

    @cached_property
    def backward_pass(self) -> dict[str, Tensor | None] | Raised:
        """The gradients of the tensors that require one."""
        try:
            return self.differentiate(self.layer, self.x, self.tokens, self.make_cotangent())
        except Raised as raised:
            return raised

    def call(self, layer: Any, x: Tensor, doing: str = "forward") -> object:
        """Run the layer.

        Raises:
            Raised: where the layer does.
        """
        with blaming(doing), MODES[self.case.mode]():
            result: object = layer(x)
        return result

    def embed(self, layer: Any, x: Tensor, doing: str) -> Tensor:
        """Run the layer once more, where its output is known to be a tensor of the right shape and dtype.

        Raises:
            Raised: where the layer does, or its output is not what it was.
        """
        result = self.call(layer, x, doing)
        with blaming(doing):
            if not isinstance(result, Tensor) or result.dtype != self.dtype:
                kind = result.dtype if isinstance(result, Tensor) else type(result).__name__
                raise TypeError(f"the output is {kind}, not a tensor of {self.dtype} as before")
            if result.shape != self.case.output_shape:
                raise TypeError(
                    f"the output has shape {list(result.shape)}, not {list(self.case.output_shape)} as before"
                )
        return result

    def differentiate(self, layer: Any, x: Tensor, tokens: Tensor, cotangent: Tensor) -> dict[str, Tensor | None]:
        """The gradients of a layer's output, None where the graph does not reach a tensor.

        Raises:
            Raised: where the backward pass does.
        """
        wanted = self.case.backward.requires_grad
        self.spare_memory()
        tensors = [x if name == "input" else getattr(layer.conv, name) for name in wanted]
        with blaming("backward"):
            found = torch.autograd.grad(tokens, tensors, cotangent, allow_unused=True)
        return dict(zip(wanted, found, strict=True))

    def spare_memory(self) -> None:
        """End the law where torch's own backward pass of the layer would write past its memory, and end the process.

        Raises:
            TorchFault: where its script is seen to fail for a convolution of the layer.
        """
        if self.device.type == "cpu" and self._memory_fault:
            raise TorchFault(self._memory_fault)

    @cached_property
    def _memory_fault(self) -> str:
        def run(input_gradient: bool) -> None:
            x = self.make_input().detach().requires_grad_(input_gradient)
            # In the middle of a law, which may watch the random numbers.
            with torch.random.fork_rng([]):
                self.call(self.make_layer(), x)

        return memory_fault(self.case, run)

    def exercise(self, layer: Any, x: Tensor, cotangent: Tensor) -> Tensor:
        """Run forward and, where there is something to differentiate, backward, and return the output.

        For what that does besides. A backward pass that raises is left to ``runs_backward``.

        Raises:
            Raised: where forward does.
        """
        tokens = self.embed(layer, x, "forward")
        if tokens.requires_grad:
            with suppress(Raised):
                self.differentiate(layer, x, tokens, cotangent)
        return tokens

    # The same, for laws that can say nothing where it is missing.

    @property
    def layer(self) -> Any:
        """The layer with the case's parameters."""
        if isinstance(self.construction, Raised):
            raise Broken("the layer could not be built with its parameters (see constructs, holds_conv)")
        return self.construction

    @property
    def tokens(self) -> Tensor:
        """The output: a tensor of the right shape and dtype."""
        return self.output()

    def output(self) -> Tensor:
        """The same.

        Raises:
            Unusable: where the plain forward pass gives something else.
        """
        found = self.forward_pass
        if isinstance(found, Raised):
            raise found.instead("forward raised (see runs_forward)")
        if not isinstance(found, Tensor) or found.dtype != self.dtype or found.device != self.x.device:
            raise Broken("the output is no tensor of the input's dtype and device (see returns_tensor)")
        if found.shape != self.case.output_shape:
            raise Broken("the output has the wrong shape (see grid_shape)")
        return found

    def gradient(self, name: str) -> Tensor:
        """The gradient of ``input``, ``weight`` or ``bias``."""
        if name not in self.case.backward.requires_grad:
            raise Unusable(f"the case asks for no gradient of the {name}")
        found = self.backward_pass
        if isinstance(found, Raised):
            raise found.instead("backward raised (see runs_backward)")
        gradient = found[name]
        if gradient is None:
            raise Broken(f"no gradient reaches the {name} (see runs_backward)")
        return gradient

    # What is right.

    @cached_property
    def expected_tokens(self) -> Expectation:
        """The output by the oracle."""
        x, weight, bias = self._exact("x"), self._exact("weight"), self._exact("bias") if self.case.spec.bias else None
        magnitude = unfold.forward(
            x.abs(), weight.abs(), None if bias is None else bias.abs(), self.case.spec.effective_stride
        )
        terms: int | Tensor = self.case.spec.terms + (0 if bias is None else 1)
        if self.case.fill.sparse:
            there = None if bias is None else bias != 0
            terms = _counted(unfold.forward, x != 0, weight != 0, there, self.case.spec.effective_stride)
        return self._expect(unfold.forward(x, weight, bias, self.case.spec.effective_stride), magnitude, terms)

    def expected_gradient(self, name: str) -> Expectation:
        """The gradient of ``input``, ``weight`` or ``bias`` by the adjoint."""
        return {
            "input": self._expected_input_gradient,
            "weight": self._expected_weight_gradient,
            "bias": self._expected_bias_gradient,
        }[name]

    def with_rounded_operands(self, expected: Expectation, of: str = "output") -> Expectation:
        """What is expected of the output or a gradient, of a layer that rounds its weights or input as its domain says.

        Either factor of a product may be half a step off.
        """
        domain, stride, sizes = domain_of(self.implementation), self.case.spec.effective_stride, self.case.input.sizes
        if domain.weight_bits is None and domain.input_bits is None:
            return expected
        weight = self._exact("weight")
        off = torch.full_like(weight, rounding.half_step(weight, domain.weight_bits))
        match of:
            case "output":
                x = self._exact("x")
                half = torch.full_like(x, rounding.half_step(x, domain.input_bits))
                more = unfold.forward(x.abs() + half, off, None, stride)
                more = more + unfold.forward(half, weight.abs(), None, stride)
            case "input":
                more = adjoint.input_gradient(self._exact("cotangent").abs(), off, sizes, stride)
            case _:
                return expected
        return replace(expected, bound=expected.bound + more)

    @cached_property
    def _expected_input_gradient(self) -> Expectation:
        spec, sizes = self.case.spec, self.case.input.sizes
        cotangent, weight = self._exact("cotangent"), self._exact("weight")
        terms: int | Tensor = spec.out_features * math.ceil(spec.patch_size / spec.effective_stride) ** spec.data_dim
        if self.case.fill.sparse:
            terms = _counted(adjoint.input_gradient, cotangent != 0, weight != 0, sizes, spec.effective_stride)
        return self._expect(
            adjoint.input_gradient(cotangent, weight, sizes, spec.effective_stride),
            adjoint.input_gradient(cotangent.abs(), weight.abs(), sizes, spec.effective_stride),
            terms,
        )

    @cached_property
    def _expected_weight_gradient(self) -> Expectation:
        spec, cotangent, x = self.case.spec, self._exact("cotangent"), self._exact("x")
        terms: int | Tensor = self._tokens_in_all
        if self.case.fill.sparse:
            terms = _counted(adjoint.weight_gradient, cotangent != 0, x != 0, spec.patch_size, spec.effective_stride)
        return self._expect(
            adjoint.weight_gradient(cotangent, x, spec.patch_size, spec.effective_stride),
            adjoint.weight_gradient(cotangent.abs(), x.abs(), spec.patch_size, spec.effective_stride),
            terms,
        )

    @cached_property
    def _expected_bias_gradient(self) -> Expectation:
        cotangent = self._exact("cotangent")
        magnitude = adjoint.bias_gradient(cotangent.abs())
        terms: int | Tensor = self._tokens_in_all
        if self.case.fill.sparse:
            terms = _counted(adjoint.bias_gradient, cotangent != 0)
        return self._expect(adjoint.bias_gradient(cotangent), magnitude, terms)

    def wanting(self, *names: str) -> "Trial":
        """A trial of its own with gradients of other tensors: the values, and what is right, are the same."""
        other = Trial(self.case.wanting(*names), self.implementation, self.device)
        for name in _OF_VALUES & vars(self).keys():
            setattr(other, name, getattr(self, name))
        return other

    @property
    def bias(self) -> Tensor | float:
        """The bias in float64 on the trial's device, 0 where there is none."""
        return 0.0 if self.values.bias is None else self.values.bias.to(self.device).double()

    @property
    def operands(self) -> Precision | None:
        """What the factors of float32 products may be rounded to first; None where they are taken as they are."""
        return TF32 if self.case.tf32 and self.device.type == "cuda" else None

    @property
    def _tokens_in_all(self) -> int:
        return self.case.input.batch * math.prod(self.case.grid)

    def _exact(self, name: str) -> Tensor:
        tensor: Tensor = getattr(self.values, name)
        return tensor.to(self.device).double()

    def _expect(self, exact: Tensor, magnitude: Tensor, terms: int | Tensor) -> Expectation:
        # The contract names no accumulation dtype, so the coarsest that is correct: every partial sum in the dtype.
        bound = rounding.bound(
            magnitude,
            terms,
            self.dtype,
            accumulation=self.dtype,
            operands=self.operands,
            integral=self.case.fill.integral,
        )
        return Expectation(exact, bound, magnitude, terms)


def _counted(oracle: Callable[..., Tensor], *arguments: Tensor | tuple[int, ...] | int | None) -> Tensor:
    """How many terms of each sum are not zero: what an oracle makes of the places where the factors are not.

    Adding a zero rounds nothing, so only these terms count.
    """
    return oracle(*(there.double() if isinstance(there, Tensor) else there for there in arguments))


def _behind_class_token(cotangent: Tensor) -> Tensor:
    """The cotangent as it comes back where a class token was put before the tokens, and both were one sequence."""
    samples, *_, channels = cotangent.shape
    sequence = cotangent.new_full((samples, 1 + cotangent[0, ..., 0].numel(), channels), math.nan)
    # Splitting one axis takes no copy, whatever its stride.
    return sequence[:, 1:].copy_(cotangent.flatten(1, -2)).view(cotangent.shape)
