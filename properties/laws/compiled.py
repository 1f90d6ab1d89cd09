"""The layer under ``torch.compile(fullgraph=True)``: the values and gradients of eager mode at every size (C12, H8)."""

from collections.abc import Callable
from functools import wraps

from properties.laws.law import checks
from properties.trials.comparison import compare_all
from properties.trials.compilation import Call, compiled_calls, is_compilers_own, traced_calls
from properties.trials.faults import UNFOLD_BACKWARD, corrupts_memory
from properties.trials.trial import Raised, TorchFault, Trial, Unusable
from properties.trials.verdict import Failed, Inapplicable, Passed, Verdict

Judge = Callable[[Trial], Verdict]


def _unless_torch_fails(judge: Judge) -> Judge:
    """Judge the layer only where torch's compiler can be trusted, and does not fail itself."""

    @wraps(judge)
    def judge_layer(trial: Trial) -> Verdict:
        trial.tokens  # noqa: B018 - unusable where the eager forward pass is
        if corrupts_memory(trial):
            raise TorchFault(UNFOLD_BACKWARD)
        try:
            return judge(trial)
        except Raised as raised:
            if is_compilers_own(raised.error):
                raise TorchFault(f"torch's compiler itself fails ({type(raised.error).__name__})") from raised
            raise

    return judge_layer


@checks("C12", on="compiled")
@_unless_torch_fails
def compiles_without_graph_break(trial: Trial) -> Verdict:
    """The layer compiles as one graph and runs, forward and backward.

    Catches data-dependent control flow, prints, and whatever else Dynamo or the compiler cannot take.
    """
    problem = compiled_calls(trial)[0].raised
    if problem:
        raise problem
    return Passed()


@checks("C12", on="compiled")
@_unless_torch_fails
def compiled_values(trial: Trial) -> Verdict:
    """At the size that it was compiled for, the output is that of the oracle.

    Catches branches that only a compiler takes.
    """
    return _values(_first(trial))


@checks("C12", on="compiled")
@_unless_torch_fails
def compiled_gradients(trial: Trial) -> Verdict:
    """At the size that it was compiled for, each gradient is that of the adjoint.

    Catches a compiled backward pass that is wrong where the eager one is right.
    """
    if not trial.case.backward.requires_grad:
        return Inapplicable("the case asks for no gradients")
    return _gradients(_first(trial))


@checks("C12", on="compiled")
@_unless_torch_fails
def compiled_later_sizes(trial: Trial) -> Verdict:
    """At a second and at every later size, and at the first one again, values and gradients are right as well.

    Catches graphs that have baked in the first size or the first parameters, and shapes that cannot be compiled when
    they are dynamic (pytorch#185510).
    """
    _first(trial)
    if len(compiled_calls(trial)) == 1:
        return Inapplicable("the case leaves no room for a larger one")
    verdict: Verdict = Passed()
    for call in compiled_calls(trial)[1:]:
        if call.raised:
            raise call.raised
        for verdict in (_values(call), _gradients(call)):
            if isinstance(verdict, Failed):
                return verdict
    return verdict


@checks("H8", on="compiled")
def compiler_does_not_fail(trial: Trial) -> Verdict:
    """Torch's compiler takes the layer at every size: it meets no failure of its own.

    Catches layers that lead Inductor into internal errors, or its generated code into assertions, which the contract
    does not blame on them.
    """
    trial.tokens  # noqa: B018 - unusable where the eager forward pass is
    if corrupts_memory(trial):
        return Failed(f"compiled, the layer runs into {UNFOLD_BACKWARD}")
    for call in compiled_calls(trial):
        if call.raised and is_compilers_own(call.raised.error):
            raise call.raised
    return Passed()


@checks("H8", on="compiled")
@_unless_torch_fails
def compiled_strides(trial: Trial) -> Verdict:
    """The compiled output has the memory layout of the eager one, axes of size 1 apart.

    Catches layouts that the compiler was told wrongly; a backward pass that relies on them stops at an assertion.
    """
    tokens = _first(trial).tokens
    eager = trial.tokens
    assert tokens is not None
    different = [
        axis for axis, size in enumerate(eager.shape) if size > 1 and eager.stride(axis) != tokens.stride(axis)
    ]
    if different:
        return Failed(
            f"the compiled output has other strides than the eager one on axis {different[0]}",
            observed=str(tokens.stride()),
            expected=str(eager.stride()),
        )
    return Passed()


@checks("H8", on="compiled")
@_unless_torch_fails
def no_recompilation(trial: Trial) -> Verdict:
    """Once sizes are dynamic, a new batch or spatial size does not compile the layer again.

    The first size is compiled as it is and the second makes sizes dynamic; from the third on nothing may be compiled.
    Counted with the backend ``aot_eager``: Inductor, on a CPU, compiles torch's own convolution anew at most sizes.
    """
    calls = traced_calls(trial)
    if len(calls) < 4 or any(call.raised for call in calls):
        raise Unusable("the layer was not traced at three sizes (see compiled_later_sizes)")
    graphs = [call.graphs for call in calls]
    if graphs[2] > graphs[1]:
        return Failed(
            "a third size is compiled again",
            where=f"input {list(calls[2].trial.case.input_shape)}",
            observed=f"graphs after each call: {graphs}",
            expected=f"no more than {graphs[1]} after the second call",
        )
    return Passed()


def _first(trial: Trial) -> Call:
    call = compiled_calls(trial)[0]
    if call.raised:
        if is_compilers_own(call.raised.error):
            raise call.raised
        raise Unusable("the layer does not compile (see compiles_without_graph_break)")
    return call


def _values(call: Call) -> Verdict:
    assert call.tokens is not None
    eager = compare_all("eager output values", call.trial.tokens, call.trial.expected_tokens, "output")
    if isinstance(eager, Failed):
        raise Unusable("eager values are wrong (see values_exact, values_bounded)")
    size = list(call.trial.case.input_shape)
    return compare_all(f"compiled output values are wrong at {size}", call.tokens, call.trial.expected_tokens, "output")


def _gradients(call: Call) -> Verdict:
    verdict: Verdict = Passed()
    for name, gradient in call.gradients.items():
        expected = call.trial.expected_gradient(name)
        eager = compare_all("eager gradient values", call.trial.gradient(name), expected, name)
        if isinstance(eager, Failed):
            raise Unusable("eager gradients are wrong (see the gradient properties)")
        if gradient is None:
            return Failed(f"no gradient reaches the {name} when compiled", observed="None", expected="a gradient")
        what = f"values of the compiled {name} gradient are wrong at {list(call.trial.case.input_shape)}"
        verdict = compare_all(what, gradient, expected, name)
        if isinstance(verdict, Failed):
            return verdict
    return verdict
