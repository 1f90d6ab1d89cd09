"""The layer under ``torch.compile(fullgraph=True)``: the values and gradients of eager mode at every size (C12, H8)."""

from collections.abc import Callable
from functools import wraps

from torch import Tensor

from properties.cases.history import Backward, Forward, History, Update
from properties.laws.law import law
from properties.trials.comparison import ALL, Expectation, compare, judged
from properties.trials.compilation import Call, compiled_calls, is_compilers_own, next_cases, traced_calls
from properties.trials.ending import Raised, TorchFault
from properties.trials.faults import UNFOLD_BACKWARD, corrupts_memory
from properties.trials.playing import play
from properties.trials.trial import Trial
from properties.trials.verdict import Failed

Judge = Callable[[Trial], None]


def _unless_torch_fails(judge: Judge) -> Judge:
    """Judge the layer only where torch's compiler can be trusted, and does not fail itself."""

    @wraps(judge)
    def judge_layer(trial: Trial) -> None:
        if corrupts_memory(trial):
            raise TorchFault(UNFOLD_BACKWARD)
        try:
            judge(trial)
        except Raised as raised:
            if is_compilers_own(raised.error):
                raise TorchFault(f"torch's compiler itself fails ({type(raised.error).__name__})") from raised
            raise

    return judge_layer


@law("C12", on="compiled", owns="clause", needs=("native",))
@_unless_torch_fails
def compiles_without_graph_break(trial: Trial) -> None:
    """The layer compiles as one graph and runs, forward and backward.

    Catches data-dependent control flow, prints, and whatever else Dynamo or the compiler cannot take.
    """
    problem = compiled_calls(trial)[0].raised
    trial.expect(True, "the layer does not compile")
    if problem:
        raise problem


@law("C12", on="compiled", needs=("native",))
@_unless_torch_fails
def compiled_values(trial: Trial) -> None:
    """At the size that it was compiled for, the output is that of the oracle.

    Catches branches that only a compiler takes.
    """
    _values(trial, _first(trial))


@law("C12", on="compiled", needs=("native", "gradients"))
@_unless_torch_fails
def compiled_gradients(trial: Trial) -> None:
    """At the size that it was compiled for, each gradient is that of the adjoint.

    Catches a compiled backward pass that is wrong where the eager one is right.
    """
    if not trial.case.backward.requires_grad:
        trial.inapplicable("the case asks for no gradients")
    _gradients(trial, _first(trial))


@law("C12", on="compiled", needs=("native",))
@_unless_torch_fails
def compiled_later_sizes(trial: Trial) -> None:
    """At a second and at every later size, and at the first one again, values and gradients are right as well.

    Catches graphs that have baked in the first size or the first parameters, and shapes that cannot be compiled when
    they are dynamic (pytorch#185510).
    """
    _first(trial)
    if len(compiled_calls(trial)) == 1:
        trial.inapplicable("the case leaves no room for a larger one")
    for call in compiled_calls(trial)[1:]:
        if call.raised:
            raise call.raised
        _values(trial, call)
        _gradients(trial, call)


_MOST_ELEMENTS = 2**16
# A bias that begins at zero, as in most models.
_HISTORY: History = (
    Update("bias", "zeroed"),
    *(Forward(input_gradient=True), Backward(), Forward(training=False, mode="no_grad"), Update()),
    *(Forward(training=False, mode="no_grad"), Forward(data=1, input_gradient=True), Backward()),
    *(Update("all", "data", element=True), Forward(data=1, input_gradient=True), Backward()),
    *(Forward(sizes=1, mode="inference"), Forward(sizes=2)),
)


@law("C12", on="compiled", needs=("native",))
@_unless_torch_fails
def compiled_history(trial: Trial) -> None:
    """Compiled, a layer follows modes, updates and sizes, with and without gradients, as it does in eager mode.

    Traced without a compiler behind it, since this is about what a graph keeps. Catches parameters and modes that are
    made constants of a graph.
    """
    if trial.case.elements > _MOST_ELEMENTS:
        trial.inapplicable("what a graph keeps shows where calls are cheaper")
    play(trial, _HISTORY, compiled=True)


@law("H8", on="compiled", needs=("native",))
def compiler_does_not_fail(trial: Trial) -> None:
    """Torch's compiler takes the layer at every size: it meets no failure of its own.

    Catches layers that lead Inductor into internal errors, or its generated code into assertions, which the contract
    does not blame on them.
    """
    trial.expect(not corrupts_memory(trial), f"compiled, the layer runs into {UNFOLD_BACKWARD}")
    for call in compiled_calls(trial):
        if call.raised and is_compilers_own(call.raised.error):
            raise call.raised


@law("H8", on="compiled", needs=("native",))
@_unless_torch_fails
def compiled_strides(trial: Trial) -> None:
    """The compiled output has the memory layout of the eager one, axes of size 1 apart.

    Catches layouts that the compiler was told wrongly; a backward pass that relies on them stops at an assertion.
    """
    tokens = _first(trial).tokens
    eager = trial.tokens
    assert tokens is not None
    different = [
        axis for axis, size in enumerate(eager.shape) if size > 1 and eager.stride(axis) != tokens.stride(axis)
    ]
    what = f"the compiled output has other strides than the eager one on axis {different[0] if different else 0}"
    trial.expect(not different, what, observed=tokens.stride(), expected=eager.stride())


@law("H8", on="compiled", needs=("native",))
@_unless_torch_fails
def no_recompilation(trial: Trial) -> None:
    """Once sizes are dynamic, a new batch or spatial size does not compile the layer again.

    The first size is compiled as it is and the second makes sizes dynamic; from the third on nothing may be compiled.
    Counted with the backend ``aot_eager``: Inductor, on a CPU, compiles torch's own convolution anew at most sizes.
    """
    if trial.case.compiled != "automatic":
        trial.inapplicable("the case asks for static sizes")
    if len(next_cases(trial)) < 2:
        trial.inapplicable("larger sizes are not of the domain, or too dear")
    calls = traced_calls(trial)
    if calls[0].raised:
        trial.broken("the layer does not compile (see compiles_without_graph_break)")
    if calls[-1].raised:
        raise calls[-1].raised
    graphs = [call.graphs for call in calls]
    trial.expect(
        graphs[2] <= graphs[1],
        "a third size is compiled again",
        f"input {list(calls[2].trial.case.input_shape)}",
        observed=f"graphs after each call: {graphs}",
        expected=f"no more than {graphs[1]} after the second call",
    )


def _first(trial: Trial) -> Call:
    call = compiled_calls(trial)[0]
    if call.raised:
        if is_compilers_own(call.raised.error):
            raise call.raised
        trial.broken("the layer does not compile (see compiles_without_graph_break)")
    return call


def _values(trial: Trial, call: Call) -> None:
    assert call.tokens is not None
    expected, size = call.trial.expected_tokens, list(call.trial.case.input_shape)
    if not _right(call.trial.tokens, expected, "output"):
        trial.inapplicable("eager values are wrong (see values_exact, values_bounded)")
    trial.close(f"compiled output values are wrong at {size}", call.tokens, expected)


def _gradients(trial: Trial, call: Call) -> None:
    size = list(call.trial.case.input_shape)
    for name, gradient in call.gradients.items():
        expected = call.trial.expected_gradient(name)
        if not _right(call.trial.gradient(name), expected, name):
            trial.inapplicable("eager gradients are wrong (see the gradient properties)")
        what = f"no gradient reaches the {name} when compiled"
        trial.expect(gradient is not None, what, observed="None", expected="a gradient")
        assert gradient is not None
        trial.close(f"values of the compiled {name} gradient are wrong at {size}", gradient, expected, name)


def _right(found: Tensor, expected: Expectation, tensor: str) -> bool:
    """Whether eager mode is right, which is for other laws to say."""
    return not isinstance(compare("eager values", found, expected, judged(expected, ALL), tensor), Failed)
