"""One layer under ``torch.compile``, called at a first, a second and later sizes: how compile-only bugs show.

A fresh module and a fresh Dynamo each time: without the reset the recompilation limit is reached after a few cases, and
what runs from then on is eager mode. Within a sequence there is no reset, or bugs of the second size would be hidden.

Torch's compiler is imported where something is compiled: it takes longer to import than torch, and most processes of a
run compile nothing.
"""

import logging
import traceback
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import count
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from properties.cases.case import Case
from properties.cases.error import CaseError
from properties.trials.ending import Raised
from properties.trials.trial import Trial

# What a larger size than this shows of a graph, a smaller one shows as well.
_MOST_ELEMENTS = 2**18
# Sizes of later calls: equal to no number of channels, so that torch, which takes equal sizes for the same size, does
# not compile once more for a coincidence.
_LATER = ((11, 2), (13, 5))


@dataclass(frozen=True)
class Call:
    """One call of the compiled layer: what it was given, what came out, and how many graphs there were by then."""

    trial: Trial
    tokens: Tensor | None
    gradients: dict[str, Tensor | None]
    raised: Raised | None
    graphs: int


def is_compilers_own(error: BaseException) -> bool:
    """Whether torch's compiler failed itself: an internal error by its type, or an assertion in code it generated.

    What a backend raises is its own too, unless code from outside of torch had a part in it: an operator of the layer.
    """
    from torch._dynamo.exc import BackendCompilerFailed, InternalTorchDynamoError
    from torch._inductor.exc import InductorError
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    files = [frame.filename for frame in traceback.extract_tb(getattr(error, "inner_exception", error).__traceback__)]
    if isinstance(error, InductorError | InternalTorchDynamoError):
        return True
    if isinstance(error, BackendCompilerFailed):
        return all(Path(file).is_relative_to(Path(torch.__file__).parent) for file in files)
    return isinstance(error, AssertionError) and bool(files) and Path(files[-1]).is_relative_to(cache_dir())


def operators(trial: Trial) -> frozenset[str]:
    """Names of torch's operators in the graph of the trial's layer, compiled; none where it cannot be compiled."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch._aot_autograd.utils import make_boxed_func

    found: set[str] = set()

    def record(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        found.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    layer = trial.make_layer()
    with suppress(Exception):
        torch.compile(fresh_call(layer), fullgraph=True, backend=aot_autograd(fw_compiler=record))(trial.make_input())
    torch._dynamo.reset()
    return frozenset(found)


@cache
def best_backend() -> str:
    """``inductor`` where it works on this machine, else ``aot_eager``, which needs no compiler for C++."""
    try:
        # What a compiler warns of is no reason to do without it, even where warnings are errors.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.compile(lambda x: x + 1, fullgraph=True)(torch.zeros(3))
    except Exception:
        return "aot_eager"
    return "inductor"


def later_cases(trial: Trial) -> list[Case]:
    """The same layer with other batches and sizes: the remainders are the same, but there are more windows."""
    given, stride = trial.case.input, trial.case.spec.effective_stride
    numbers = [
        (batch, tuple(size + (windows + axis) * stride for axis, size in enumerate(given.sizes)))
        for batch, windows in _LATER
    ]
    return _of_numbers(trial, numbers)


def next_cases(trial: Trial) -> list[Case]:
    """The same layer with a sample and a window more, then with two, or a few: small batches, as sizes grow in use.

    No two sizes of a case are equal, since the compiler takes those for one from then on.
    """
    batch, sizes, stride = trial.case.input.batch, trial.case.input.sizes, trial.case.spec.effective_stride
    numbers = []
    for _ in range(2):
        taken: list[int] = []
        for size in sizes:
            taken.append(next(n for n in count(size + stride, stride) if n not in taken))
        batch, sizes = next(n for n in count(batch + 1) if n not in taken), tuple(taken)
        numbers.append((batch, sizes))
    return _of_numbers(trial, numbers)


def _of_numbers(trial: Trial, numbers: Iterable[tuple[int, tuple[int, ...]]]) -> list[Case]:
    """The trial's case with other batches and sizes, up to the first that is not of the domain, or too dear."""
    found = []
    for batch, sizes in numbers:
        try:
            case = replace(trial.case, input=replace(trial.case.input, batch=batch, sizes=sizes))
        except CaseError:
            break
        if case.elements > _MOST_ELEMENTS or not trial.is_for(case):
            break
        found.append(case)
    return found


def compiled_calls(trial: Trial) -> tuple[Call, ...]:
    """What the compiled layer makes of a trial, at its own size and at later ones."""
    dynamic = {"automatic": None, "static": False}[trial.case.compiled]
    # A size that is compiled for itself says no more the third time than the second, and takes as long.
    return _calls(trial, best_backend(), dynamic, tuple(later_cases(trial)[: 1 if dynamic is False else None]))


def traced_calls(trial: Trial) -> tuple[Call, ...]:
    """The same without a compiler behind the tracing, with sizes that become dynamic, and at the next ones."""
    return _calls(trial, "aot_eager", None, tuple(next_cases(trial)))


# The properties of a trial follow one another, and share its compilations.
@lru_cache(maxsize=2)
def _calls(trial: Trial, backend: str, dynamic: bool | None, later: tuple[Case, ...]) -> tuple[Call, ...]:
    """Compile the trial's layer once and call it at its own size, at later ones, and at its own again.

    Each call gets the parameters of its own case, so that a compiled graph that has baked in old ones shows. The
    sequence ends with the first call that raises.

    Args:
        trial: what to compile.
        backend: a backend of ``torch.compile``.
        dynamic: None makes sizes dynamic from the second one on, False compiles every size for itself.
        later: the trial's case at later sizes.
    """
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    layer = trial.make_layer()
    compiled = torch.compile(fresh_call(layer), fullgraph=True, dynamic=dynamic, backend=backend)
    sequence = [trial.case, *later, trial.case]
    calls: list[Call] = []
    # What goes wrong is raised as well as logged, over many screens.
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    for number, case in enumerate(sequence):
        given = Trial(case, trial.implementation, trial.device)
        given.set_parameters(layer)
        calls.append(_call(given, layer, compiled, number))
        if calls[0].graphs == 0 and not calls[0].raised:
            raise AssertionError("torch.compile ran the layer without compiling it: its properties would check nothing")
        if calls[-1].raised:
            break
    logging.disable(disabled)
    torch._dynamo.reset()
    return tuple(calls)


def fresh_call(layer: nn.Module) -> Callable[[Tensor], object]:
    """A function that calls the layer, of a code object of its own.

    Dynamo remembers by code object what it could not compile, reset or no reset, and runs that in eager mode without a
    word. Two layers of one class, or of two classes that inherit ``forward``, share theirs.
    """

    def call(x: Tensor) -> object:
        return layer(x)

    return FunctionType(call.__code__.replace(), call.__globals__, closure=call.__closure__)


def _call(given: Trial, layer: nn.Module, compiled: Any, number: int) -> Call:
    tokens, gradients, problem = None, {}, None
    try:
        x = given.make_input()
        tokens = given.embed(compiled, x, f"compiled call {number + 1}, {list(x.shape)},")
        if given.case.backward.requires_grad:
            gradients = given.differentiate(layer, x, tokens, given.make_cotangent())
    except Raised as raised:
        problem = raised
    return Call(given, tokens, gradients, problem, torch._dynamo.utils.counters["stats"]["unique_graphs"])
