"""Carries out a case's history on a layer, beside a model that says what every step must give.

The model knows the parameters, the graphs that can still be used, and everything that was handed out. After each step
what the layer gives is compared with the oracle, and everything that was there before with what it was.
"""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from oracles import rounding
from properties.cases.case import Backward as Wanted
from properties.cases.case import Fill
from properties.cases.history import Backward, Convert, Copy, Forward, Freeze, History, Step, Update
from properties.cases.other_sizes import at_other_sizes
from properties.trials.arguments import state
from properties.trials.comparison import Expectation
from properties.trials.compilation import fresh_call, is_compilers_own
from properties.trials.ending import Raised, TorchFault, blaming
from properties.trials.faults import fault_behind
from properties.trials.layout import lay_out
from properties.trials.lower_precision import autocast_to, under_autocast
from properties.trials.tensors import TORCH_DTYPES
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Violation

# Seeds of updated parameters lie beyond those of data.
_UPDATES = 10_000
AUTOCAST = "bfloat16"


@dataclass(frozen=True)
class _Call:
    """A forward pass whose graph is there: what it was given, what requires a gradient, and the dtype of autocast."""

    given: Trial
    leaf: Tensor
    tokens: Tensor
    wanted: dict[str, Tensor]
    lower: str


@dataclass(frozen=True)
class _Kept:
    """A tensor that was there, as it was, and the clause that says that it stays so."""

    what: str
    tensor: Tensor
    values: Tensor
    clause: str


def play(trial: Trial, history: History = (), *, compiled: bool = False) -> None:
    """Carry out a history on the trial's layer, and expect every step to give what it must.

    Args:
        trial: whose layer, sizes and data.
        history: the steps; those of the trial's case, where none are given.
        compiled: whether the layer is called compiled, traced without a compiler behind it.

    Raises:
        Violation: where a step does not; it names the clause of that step.
        Unusable: where the plain laws say so as well.
    """
    if not (history or trial.case.history):
        trial.inapplicable("the case has no history")
    model = _Model(trial, compiled)
    for number, step in enumerate(history or trial.case.history, start=1):
        model.where = f"step {number}: {step}"
        model.carry_out(step)


class _Model:
    def __init__(self, trial: Trial, compiled: bool) -> None:
        self.trial, self.where, self.compiled = trial, "", compiled
        # The call that is judged.
        self.judged = trial
        self.layer = trial.make_layer()
        self.calls = self.compile() if compiled else None
        self.names = ("weight", "bias") if trial.case.spec.bias else ("weight",)
        self.parameters = {name: getattr(trial.values, name).to(trial.device) for name in self.names}
        self.frozen = dict.fromkeys(self.names, False)
        for name in self.names:
            getattr(self.layer.conv, name).requires_grad_()
        self.cases = [trial.case, *filter(trial.is_for, at_other_sizes(replace(trial.case, history=())))]
        self.graphs: list[_Call] = []
        self.kept: list[_Kept] = []
        # By the identity of a leaf, the leaf itself and what is accumulated in it.
        self.accumulated: dict[int, tuple[Tensor, Expectation]] = {}
        self.last_leaf: Tensor | None = None
        self.forwards = self.backwards = self.updates = 0
        self.copied = self.unusual = False
        # The dtype of the autocast that the last step ran under; empty without.
        self.lower = ""

    def compile(self) -> Any:
        """The layer, compiled anew."""
        torch._dynamo.reset()
        return torch.compile(fresh_call(self.layer), fullgraph=True, backend="aot_eager")

    def carry_out(self, step: Step) -> None:
        """Do what a step says, and compare."""
        match step:
            case Forward():
                self.forward(step)
            case Backward():
                self.backward(step)
            case Update():
                self.update(step)
            case Freeze():
                self.freeze(step)
            case Copy():
                self.copy(step)
            case Convert():
                self.convert()
        self.look_back()

    # Steps.

    def forward(self, step: Forward) -> None:
        self.judged = given = self.given(step)
        x, leaf = self.make_input(given, step)
        if self.layer.training != step.training:
            with blaming("train()" if step.training else "eval()"):
                self.layer.train() if step.training else self.layer.eval()
        plain = Forward(step.data, input_gradient=step.input_gradient)
        # Autocast has its own clause.
        self.unusual |= step not in (plain, replace(plain, mode="autocast"))
        self.forwards += 1
        self.keep("the input", x.detach(), "C14")
        before = state(x)
        self.lower = AUTOCAST if step.mode == "autocast" else ""
        context = autocast_to(AUTOCAST, given.device.type) if self.lower else _MODES[step.mode]()
        with self.breaking(self.clause_of_output()), context:
            for _ in range(step.times):
                tokens = given.call(self.calls or self.layer, x, "forward")
        self.expect_kept()
        with self.breaking("C14"):
            for what, now in state(x).items():
                told, kept = f"the input has another {what} after forward", before[what]
                self.trial.expect(now == kept, told, observed=now, expected=kept)
        with self.breaking(self.clause_of_output()):
            found = given.shaped("the output has another shape", tokens, given.case.output_shape)
            lower = (TORCH_DTYPES[AUTOCAST], torch.float32) if self.lower else ()
            allowed = dict.fromkeys((given.dtype, *lower))
            given.expect(
                found.dtype in allowed,
                "the output has another dtype",
                observed=found.dtype,
                expected=" or ".join(map(str, allowed)),
            )
            given.close("output values are wrong", found, self.rounded(given.expected_tokens, found))
        with self.breaking("C16"):
            # Which nothing that learns takes.
            usable = step.mode == "inference" or not found.is_inference()
            what = "outside of inference mode the output is an inference tensor"
            self.trial.expect(usable, what, observed="is_inference() is True", expected="False")
        with self.breaking("C14"):
            what = "forward changes the mode of the layer"
            self.trial.expect(self.layer.training == step.training, what, observed="changed", expected="unchanged")
        self.keep("an earlier output", found.detach(), "C14")
        wanted = {"input": leaf} if step.input_gradient else {}
        wanted |= {name: getattr(self.layer.conv, name) for name in self.names if not self.frozen[name]}
        if step.mode in ("grad", "autocast") and wanted:
            with self.breaking(self.clause_of_gradient()):
                what = "the output requires no gradient"
                self.trial.expect(found.requires_grad, what, observed="False", expected="True")
            self.graphs.append(_Call(given, leaf, found, wanted, self.lower))

    def given(self, step: Forward) -> Trial:
        """A trial of this forward pass alone: its data, its sizes, and the parameters as they are now."""
        case = self.cases[step.sizes % len(self.cases)]
        wanted = Wanted(("input", "weight", "bias") if case.spec.bias else ("input", "weight"), "random")
        fill = replace(case.fill, seed=case.fill.seed + step.data)
        trial = self.trial
        # Each step says itself how it calls the layer.
        case = replace(case, fill=fill, backward=wanted, history=(), mode="train")
        given = Trial(case, trial.implementation, trial.device)
        given.values = replace(given.values, **self.parameters)
        return given

    def make_input(self, given: Trial, step: Forward) -> tuple[Tensor, Tensor]:
        """The input of a forward pass, and the leaf that it comes from."""
        values, last = given.values.x.to(self.trial.device), self.last_leaf
        if step.origin == "refilled" and last is not None and last.shape == values.shape:
            # As NumPy, or a loader into pinned memory, writes: no counter of autograd's moves.
            last.data.copy_(values)
            self.graphs = [call for call in self.graphs if call.leaf is not last]
            self.kept = [kept for kept in self.kept if kept.tensor.data_ptr() != last.data_ptr()]
            last.requires_grad_(step.input_gradient)
            return last, last
        leaf = lay_out(values, step.layout).requires_grad_(step.input_gradient)
        if step.origin == "result":
            return leaf * 1, leaf
        self.last_leaf = leaf
        return leaf, leaf

    def backward(self, step: Backward) -> None:
        if step.call >= len(self.graphs):
            return
        call = self.graphs.pop(-1 - step.call)
        self.judged = call.given
        # What was frozen since gets no gradient.
        wanted = {name: leaf for name, leaf in call.wanted.items() if leaf.requires_grad}
        if not wanted:
            return
        call.given.spare_memory()
        cotangent, self.lower = call.given.make_cotangent().to(call.tokens.dtype), call.lower
        self.keep("the cotangent", cotangent, "C14")
        self.backwards += 1
        self.unusual |= step.twice or step.into == "accumulated"
        for last in (False, True) if step.twice else (True,):
            with self.breaking(self.clause_of_gradient()), blaming("backward"):
                if step.into == "accumulated":
                    torch.autograd.backward(call.tokens, cotangent, retain_graph=not last)
                    found: dict[str, Tensor | None] = {name: leaf.grad for name, leaf in wanted.items()}
                else:
                    leaves = list(wanted.values())
                    returned = torch.autograd.grad(
                        call.tokens, leaves, cotangent, retain_graph=not last, allow_unused=True
                    )
                    found = dict(zip(wanted, returned, strict=True))
            with self.breaking(self.clause_of_gradient()):
                for name, gradient in found.items():
                    expected = self.rounded(call.given.expected_gradient(name), wanted[name])
                    if step.into == "accumulated":
                        expected = self.accumulate(wanted[name], expected)
                    self.compare_gradient(call.given, name, gradient, expected)
        if step.into == "returned":
            for name, gradient in found.items():
                assert gradient is not None
                self.keep(f"an earlier gradient of the {name}", gradient, "C11")

    def accumulate(self, leaf: Tensor, gradient: Expectation) -> Expectation:
        """What ``.grad`` of a leaf holds after one gradient more."""
        _, before = self.accumulated.get(id(leaf), (leaf, None))
        total = gradient
        if before is not None:
            magnitude = before.magnitude + gradient.magnitude
            bound = before.bound + gradient.bound
            precision = rounding.precision_of(self.trial.dtype)
            # A sum is rounded, unless it is of integers and small enough to be one of the dtype.
            rounded = (magnitude > precision.exact_limit) | (not self.trial.case.fill.integral)
            bound += rounded * precision.unit_roundoff * magnitude
            bound = rounding.overflowing(bound, magnitude, self.trial.dtype)
            total = Expectation(before.values + gradient.values, bound, magnitude)
        self.accumulated[id(leaf)] = (leaf, total)
        return total

    def compare_gradient(self, given: Trial, name: str, found: Tensor | None, expected: Expectation) -> None:
        what = f"no gradient reaches the {name}"
        given.expect(found is not None, what, observed="None", expected="a gradient")
        assert found is not None
        given.shaped(f"the gradient of the {name} has another shape", found, expected.values.shape)
        given.close(f"values of the {name} gradient are wrong", found, expected, name)

    def update(self, step: Update) -> None:
        names = [name for name in self.names if step.parameters in (name, "all")]
        if not names:
            return
        self.updates += 1
        if step.element:
            self.parameters |= {name: _one_changed(self.parameters[name], step.way) for name in names}
        elif step.way == "zeroed":
            self.parameters |= {name: torch.zeros_like(self.parameters[name]) for name in names}
        elif step.way == "optimizer":
            # Which is exact in every dtype: the gradient is twice the parameter.
            self.parameters |= {name: -self.parameters[name] for name in names}
        else:
            case = self.trial.case
            seed = case.fill.seed + _UPDATES + self.updates
            fresh = Trial(replace(case, fill=replace(case.fill, seed=seed), history=()), self.trial.implementation)
            self.parameters |= {name: getattr(fresh.values, name).to(self.trial.device) for name in names}
        with self.breaking("C13"), blaming(str(step)):
            _update(self.layer, step.way, {name: self.parameters[name] for name in names})
        if step.way in ("assigned", "replaced"):
            # The graphs of earlier calls hold the parameters that were there then, which are as they were.
            return
        if step.way == "optimizer":
            self.layer.zero_grad(set_to_none=True)
            self.accumulated.clear()
        self.graphs.clear()

    def freeze(self, step: Freeze) -> None:
        names = [name for name in self.names if step.parameters in (name, "all")]
        self.updates += bool(names)
        for name in names:
            self.frozen[name] = step.frozen
            getattr(self.layer.conv, name).requires_grad_(not step.frozen)

    def copy(self, step: Copy) -> None:
        self.copied, original = True, self.layer
        with self.breaking("H5"), blaming(str(step)):
            # Python itself cannot pickle a class that is defined in a function.
            way = "deepcopy" if "<locals>" in type(original).__qualname__ else step.way
            self.layer = _COPIES[way](original)
            self.layer.zero_grad(set_to_none=True)
        for name in self.names:
            self.keep(f"conv.{name} of the original", getattr(original.conv, name).detach(), "H5")

    def convert(self) -> None:
        self.copied = True
        other = torch.float32 if self.trial.dtype == torch.float64 else torch.float64
        self.parameters = {name: values.to(other) for name, values in self.parameters.items()}
        self.judged = given = self.converted(other)
        with self.breaking("H5"), blaming(f"conversion to {other}"):
            self.layer = self.layer.to(other)
            found: object = self.layer(given.make_input())
            dtype = found.dtype if isinstance(found, Tensor) else type(found).__name__
            what = "the output does not follow a conversion"
            given.expect(dtype == other, what, observed=dtype, expected=other)
            tokens = given.shaped("the output has another shape", found, given.case.output_shape)
            given.close("output values are wrong after a conversion", tokens, given.expected_tokens)
            # What is learned there comes back, too.
            self.parameters = {name: -values.to(self.trial.dtype) for name, values in self.parameters.items()}
            with torch.no_grad():
                for name in self.names:
                    getattr(self.layer.conv, name).neg_()
            self.layer = self.layer.to(self.trial.dtype)
        self.layer.zero_grad(set_to_none=True)
        self.accumulated.clear()
        self.graphs.clear()

    def converted(self, dtype: torch.dtype) -> Trial:
        """A trial in another dtype, of the parameters as they are now; its sums are not exact, whatever the fill."""
        case, name = self.trial.case, str(dtype).removeprefix("torch.")
        case = replace(case, input=replace(case.input, dtype=name), fill=Fill("real", case.fill.seed), history=())
        given = Trial(case.wanting(), self.trial.implementation, self.trial.device)
        given.values = replace(given.values, **self.parameters)
        return given

    # What was there before.

    def keep(self, what: str, tensor: Tensor, clause: str) -> None:
        self.kept.append(_Kept(what, tensor, tensor.clone(), clause))

    def expect_kept(self) -> None:
        """Expect every tensor that was there before to be as it was."""
        for kept in self.kept:
            with self.breaking(kept.clause):
                # A pixel that no window covers may be NaN, and stay so.
                same = torch.equal(kept.tensor.nan_to_num(), kept.values.nan_to_num())
                same &= torch.equal(kept.tensor.isnan(), kept.values.isnan())
                self.trial.expect(same, f"{kept.what} is changed", observed="other values", expected="as it was")

    def look_back(self) -> None:
        """Expect everything that was there before the last step to be as it was."""
        self.expect_kept()
        for name in self.names:
            with self.breaking(self.clause_of_output() or "C14"), blaming(f"reading conv.{name}"):
                parameter = getattr(self.layer.conv, name)
                same = torch.equal(parameter.detach(), self.parameters[name].to(parameter.dtype))
                what = f"conv.{name} is not what it was set to"
                self.trial.expect(same, what, observed="other values", expected="as it was set")
                what, wanted = f"requires_grad of conv.{name} is changed", not self.frozen[name]
                found = parameter.requires_grad
                self.trial.expect(found == wanted, what, observed=found, expected=wanted)
        with self.breaking(self.clause_of_gradient()):
            for leaf, expected in self.accumulated.values():
                self.trial.expect(leaf.grad is not None, "an accumulated gradient is gone", observed="None")
                assert leaf.grad is not None
                self.trial.close("values of an accumulated gradient are changed", leaf.grad, expected, "bias")

    def rounded(self, exact: Expectation, found: Tensor) -> Expectation:
        """What is expected of a result, by the autocast that it was computed under."""
        return under_autocast(exact, self.lower, found.dtype) if self.lower else exact

    # Whose fault it is.

    def clause_of_output(self) -> str:
        """The clause that a wrong output violates; none, where the plain laws say so as well."""
        return self.clause("C14", self.unusual or self.forwards > 1)

    def clause_of_gradient(self) -> str:
        """The clause that a wrong gradient violates; none, where the plain laws say so as well."""
        return self.clause("C11", self.unusual or self.forwards > 1 or self.backwards > 1)

    def clause(self, of_calls: str, later: bool) -> str:
        """The clause that is violated, which is ``of_calls`` where the history has nothing else."""
        if self.lower:
            return "H6" if later or self.copied or self.updates else ""
        if self.copied or self.updates:
            return "H5" if self.copied else "C13"
        if self.compiled:
            return "C12"
        return of_calls if later else ""

    @contextmanager
    def breaking(self, clause: str) -> Iterator[None]:
        """Name the clause that what goes wrong inside violates, and the step; none, where plain laws say so as well."""
        try:
            yield
        except Violation as violation:
            failed = violation.failed
            fault = fault_behind(self.judged, failed, self.judged.dtype)
            if fault:
                raise TorchFault(fault) from violation
        except Raised as raised:
            if self.compiled and is_compilers_own(raised.error):
                raise
            failed = Failed(f"{raised.doing} raised an exception", "", raised.observed, "no exception")
        else:
            return
        if not clause:
            self.trial.inapplicable(f"a first call is wrong: {failed.what}")
        place = f"{self.where}: {failed.where}" if failed.where else self.where
        raise Violation(replace(failed, what=f"{failed.what} ({clause})", where=place))


_MODES = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference": torch.inference_mode}


def _saved(layer: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def _pickled(layer: nn.Module) -> Any:
    return pickle.loads(pickle.dumps(layer))


_COPIES: dict[str, Callable[[Any], Any]] = {"deepcopy": copy.deepcopy, "pickle": _pickled, "save": _saved}


def _one_changed(values: Tensor, way: str) -> Tensor:
    """The values with zero for the largest, or another sign of it, or with 1 for the first where all are zero."""
    changed = values.clone()
    at = int(values.abs().argmax())
    largest = values.view(-1)[at]
    changed.view(-1)[at] = 0 if way == "zeroed" else -largest if bool(largest) else 1
    return changed


def _update(layer: Any, way: str, values: dict[str, Tensor]) -> None:
    """Give parameters new values in one of the ways of ``Update``."""
    if way in ("loaded", "assigned"):
        state = layer.state_dict() | {f"conv.{name}": value.clone() for name, value in values.items()}
        layer.load_state_dict({name: value.clone() for name, value in state.items()}, assign=way == "assigned")
        return
    for name, value in values.items():
        parameter = getattr(layer.conv, name)
        if way == "replaced":
            setattr(layer.conv, name, nn.Parameter(value.clone(), requires_grad=parameter.requires_grad))
        elif way == "data":
            parameter.data.copy_(value)
        elif way == "optimizer":
            # Gradient descent with rate 1 subtracts the gradient.
            frozen = not parameter.requires_grad
            parameter.grad = parameter.detach() - value
            torch.optim.SGD([parameter.requires_grad_()], lr=1.0).step()
            parameter.grad = None
            parameter.requires_grad_(not frozen)
        else:
            with torch.no_grad():
                parameter.copy_(value)
