"""The layer leaves the world around it as it is (H4), and that world makes no difference to it (C14, H9)."""

import gc
import random
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from properties.cases.other_layers import of_other_layers
from properties.laws.law import law
from properties.trials.comparison import Expectation
from properties.trials.settings import SETTINGS
from properties.trials.trial import Trial

# Of no layer.
_SEED = 987_654_321
# Output and gradients.
_Run: TypeAlias = tuple[Tensor, dict[str, Tensor | None]]


@law("H4", on="drawn", as_built=True)
def draws_no_random_numbers(trial: Trial) -> None:
    """Forward and backward leave the random generators of torch, NumPy and Python where they were.

    Catches dropout and noise, whatever their size, and seeds that are set in passing.
    """
    layer, x, cotangent = trial.make_layer(), trial.make_input(), trial.make_cotangent()
    of_python, of_numpy = random.getstate(), np.random.get_state()
    # A seed that an earlier call has set would be there already.
    trial.set_seed(_SEED)
    random.seed(_SEED)
    np.random.seed(_SEED)
    try:
        before = _generators(trial)
        trial.exercise(layer, x, cotangent)
        for (name, state), now in zip(before.items(), _generators(trial).values(), strict=True):
            what = f"the random generator of {name} has moved"
            trial.expect(state == now, what, observed="another state", expected="as before")
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def _generators(trial: Trial) -> dict[str, object]:
    states: dict[str, object] = {
        "cpu": torch.get_rng_state().tolist(),
        "Python": random.getstate(),
        "NumPy": repr(np.random.get_state(legacy=False)["state"]["key"].tobytes()),
    }
    if trial.device.type == "cuda":
        states[str(trial.device)] = torch.cuda.get_rng_state(trial.device).tolist()
    return states


@law("H4", on="drawn", as_built=True)
def global_state_unchanged(trial: Trial) -> None:
    """Forward and backward leave torch's global settings as they were.

    Also where the layer refuses its input. Judged at two values of each, of which a layer that sets it by itself can
    leave but one. Catches layers that switch settings for themselves.
    """
    x = trial.make_input().detach()
    other_channels = torch.cat((x, x[..., :1]), -1)
    kept = {name: setting.read() for name, setting in SETTINGS.items()}
    try:
        for number in (0, 1):
            given = {name: setting.values[number] for name, setting in SETTINGS.items()}
            for name, setting in SETTINGS.items():
                setting.write(given[name])
            layer = trial.make_layer()
            trial.exercise(layer, trial.make_input(), trial.make_cotangent())
            trial.refusal(partial(layer, other_channels))
            for name, setting in SETTINGS.items():
                now = setting.read()
                trial.expect(now == given[name], f"{name} is changed", observed=now, expected=given[name])
    finally:
        for name, value in kept.items():
            SETTINGS[name].write(value)


@law("C14", on="drawn")
def right_where_deterministic(trial: Trial) -> None:
    """Where torch is asked for deterministic algorithms, output and gradients are right, too.

    Torch then fills new memory with NaN. Catches layers that read what nothing has written, and other kernels there.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        found = _run(trial, "where algorithms are deterministic")
    finally:
        torch.use_deterministic_algorithms(False)
    _expect_right(trial, found, "where algorithms are deterministic")


@law("C14", on="drawn")
def right_at_another_default_dtype(trial: Trial) -> None:
    """Whatever torch's default dtype is, output and gradients are right.

    Catches tensors that are made without a dtype, which are right where the default is the input's.
    """
    kept = torch.get_default_dtype()
    other = torch.float64 if trial.dtype == torch.float16 else torch.float16
    torch.set_default_dtype(other)
    try:
        found = _run(trial, f"where the default dtype is {other}")
    finally:
        torch.set_default_dtype(kept)
    _expect_right(trial, found, f"where the default dtype is {other}")


def _run(trial: Trial, where: str) -> _Run:
    """The output of a new layer, and its gradients where there are any."""
    layer, x = trial.make_layer(), trial.make_input()
    tokens = trial.embed(layer, x, f"forward, {where},")
    wanted = trial.case.backward.requires_grad
    return tokens, trial.differentiate(layer, x, tokens, trial.make_cotangent()) if wanted else {}


def _expect_right(trial: Trial, found: _Run, where: str) -> None:
    tokens, gradients = found
    trial.close(f"output values are wrong {where}", tokens, trial.expected_tokens)
    trial.right_gradients(gradients, where)


@law("C14", on="drawn")
def independent_of_other_layers(trial: Trial) -> None:
    """Layers that are built and called one after another, each like this one but for one thing, are right each.

    Catches what layers share and look up by too little: caches of grids, indices, kernels and parameters.
    """
    trial.close("output values are wrong", trial.tokens, trial.expected_tokens)
    for what, case in of_other_layers(trial.case).items():
        if trial.is_for(case):
            other = Trial(case, trial.implementation, str(trial.device))
            found = other.call(other.make_layer(), other.make_input(), f"forward of a layer with {what}")
            whose = f"of a layer with {what}, called after this one,"
            tokens = trial.shaped(f"the output {whose} has the wrong shape", found, case.output_shape)
            trial.close(f"output values {whose} are wrong", tokens, other.expected_tokens)
    tokens = trial.embed(trial.layer, trial.make_input(), "forward after other layers")
    trial.close("output values are wrong after other layers were called", tokens, trial.expected_tokens)


@law("H4", on="drawn", as_built=True)
def keeps_nothing(trial: Trial) -> None:
    """Once the layer, its input and its output are let go, the memory of input and output is free.

    Catches inputs and outputs in caches that outlive the layer: a long run would die of them.
    """
    layer, x = trial.make_layer(), trial.make_input()
    tokens = trial.exercise(layer, x, trial.make_cotangent())
    # A storage's Python object lives as long as its memory, whatever views of it there are.
    watched = {name: weakref.ref(tensor.untyped_storage()) for name, tensor in (("input", x), ("output", tokens))}
    del layer, x, tokens
    if any(storage() is not None for storage in watched.values()):
        gc.collect()
    for name, storage in watched.items():
        what = f"the memory of the {name} outlives the layer"
        trial.expect(storage() is None, what, observed="still held", expected="free")


_THREADS, _ROUNDS = 4, 4
# Seconds after which another thread takes its turn.
_OFTEN = 1e-6


@law("H9", on="drawn", needs=("gradients",))
def differentiates_in_another_thread(trial: Trial) -> None:
    """A backward pass in another thread than the forward pass, as any on a GPU is, gives the gradients all the same.

    Catches what forward leaves for backward where only its own thread finds it.
    """
    layer, x = trial.make_layer(), trial.make_input()
    tokens = trial.embed(layer, x, "forward")
    if not trial.case.backward.requires_grad:
        trial.inapplicable("the case asks for no gradients")
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(trial.differentiate, layer, x, tokens, trial.make_cotangent()).result()
    trial.right_gradients(found, "where another thread differentiates")


@law("H9", on="drawn", needs=("interface",))
def threads_agree(trial: Trial) -> None:
    """Several threads that call one layer at the same time, on other data and batches, get what one would get.

    Catches buffers of the layer that calls share.
    """
    layer, flips = trial.make_layer(), [(-1) ** number for number in range(_THREADS * _ROUNDS)]
    # Every third call has the samples twice.
    often = [1 + (number % 3 == 2) for number in range(len(flips))]
    inputs = [torch.cat([trial.make_input().detach() * flip] * n) for flip, n in zip(flips, often, strict=True)]
    tokens = trial.tokens.detach().double()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_OFTEN)
    try:
        with ThreadPoolExecutor(_THREADS) as threads:
            calls = [threads.submit(trial.call, layer, x, "forward in a thread") for x in inputs]
    finally:
        sys.setswitchinterval(interval)
    bound = 3 * trial.expected_tokens.bound
    for flip, n, call in zip(flips, often, calls, strict=True):
        right = tokens if flip == 1 else 2 * trial.bias - tokens
        shape = (n * len(tokens), *tokens.shape[1:])
        found = trial.shaped("the output has another shape where several threads call the layer", call.result(), shape)
        what = "output values are wrong where several threads call the layer"
        trial.close(what, found, Expectation(torch.cat([right] * n), torch.cat([bound] * n)))
