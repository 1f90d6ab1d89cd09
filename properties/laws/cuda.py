"""What only a CUDA device can show: streams, CUDA graphs, and more elements than 32 bits count."""

from dataclasses import replace

import torch

from properties.cases.case import Fill
from properties.laws.law import law
from properties.trials.comparison import Expectation
from properties.trials.compilation import fresh_call
from properties.trials.trial import Trial

# Clock cycles that a stream is kept busy for: about a millisecond, longer than a small layer takes to launch.
_BUSY = 2_000_000
_REPLAYS = 4
MANY = 2**31
# Samples that are compared at a time.
_AT_A_TIME = 2**26


@law("C14", on="drawn", device="cuda", needs=("native",))
def right_on_any_stream(trial: Trial) -> None:
    """On a stream of its own, forward and backward wait for what was begun there, and for nothing else.

    The input is filled late, by the same stream. Catches work that is launched on the default stream.
    """
    layer, values, cotangent = trial.make_layer(), trial.make_input(), trial.make_cotangent()
    torch.cuda.synchronize(trial.device)
    with torch.cuda.stream(torch.cuda.Stream(trial.device)):  # type: ignore[no-untyped-call]
        late = torch.full_like(values, torch.nan)
        torch.cuda._sleep(_BUSY)  # type: ignore[no-untyped-call]
        late.copy_(values.detach())
        x = late.requires_grad_(values.requires_grad)
        tokens = trial.embed(layer, x, "forward on another stream").clone()
        wanted = trial.case.backward.requires_grad
        gradients = trial.differentiate(layer, x, tokens, cotangent) if wanted else {}
        torch.cuda.current_stream(trial.device).synchronize()
    torch.cuda.synchronize(trial.device)
    trial.close("output values are wrong on another stream", tokens, trial.expected_tokens)
    trial.right_gradients(gradients, "on another stream")


@law("C12", on="compiled", device="cuda", needs=("native",))
def right_in_cuda_graphs(trial: Trial) -> None:
    """Compiled with ``mode="reduce-overhead"``, which replays CUDA graphs, every call is right for its own data.

    Such a graph reuses the memory of its outputs by design, so each is cloned before the next call. Catches what is
    decided, or read, outside of the graph: a pointer, a number on the host, a buffer that is filled once.
    """
    torch._dynamo.reset()
    layer = trial.make_layer()
    compiled = torch.compile(fresh_call(layer), fullgraph=True, dynamic=False, mode="reduce-overhead")
    for number in range(_REPLAYS):
        case = replace(trial.case, fill=Fill(trial.case.fill.name, trial.case.fill.seed + number))
        given = Trial(case, trial.implementation, trial.device)
        given.set_parameters(layer)
        x, cotangent = given.make_input(), given.make_cotangent()
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        tokens = given.embed(compiled, x, f"call {number + 1} in a CUDA graph")
        found = given.differentiate(layer, x, tokens, cotangent) if given.case.backward.requires_grad else {}
        results = {name: None if one is None else one.clone() for name, one in found.items()}
        where = f"at call {number + 1} in a CUDA graph"
        trial.close(f"output values are wrong {where}", tokens.clone(), given.expected_tokens)
        given.right_gradients(results, where)
    torch._dynamo.reset()


@law("C15", on="huge", device="cuda")
def more_elements_than_32_bits_count(trial: Trial) -> None:
    """A batch of more than 2**31 elements is embedded like any other, forward and backward.

    The case's samples, over and over again: each copy has the tokens and the input gradient of the first. Catches
    indices in 32 bits.
    """
    batch, sample = trial.case.input.batch, trial.x[0].numel()
    copies = MANY // (batch * sample) + 1
    x = trial.values.x.to(trial.device).repeat(copies, *[1] * (trial.x.ndim - 1)).requires_grad_()
    tokens = trial.call(trial.layer, x, f"forward of {x.numel():,} elements")
    found = trial.shaped("a huge input gives the wrong shape", tokens, (copies * batch, *trial.case.output_shape[1:]))
    cotangent = trial.make_cotangent().repeat(copies, *[1] * (trial.x.ndim - 1))
    gradient = trial.differentiate(trial.layer, x, found, cotangent)["input"]
    del cotangent, tokens
    step = max(1, _AT_A_TIME // sample) * batch
    expected = {"output": trial.expected_tokens, "input": trial.expected_gradient("input")}
    for name, values in {"output": found.detach(), "input": gradient}.items():
        what = f"{'output values' if name == 'output' else 'values of the input gradient'} are wrong past the first"
        trial.expect(values is not None, "no gradient reaches a huge input", observed="None", expected="a gradient")
        assert values is not None
        for first in range(0, copies * batch, step):
            some = values[first : first + step]
            repeats = (len(some) // batch, *[1] * (some.ndim - 1))
            right, bound = expected[name].values.repeat(repeats), expected[name].bound.repeat(repeats)
            trial.close(f"{what} {first} of {copies * batch} samples", some, Expectation(right, bound), name)
