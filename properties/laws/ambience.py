"""The layer leaves the world around it as it is (H4)."""

import gc
import weakref

import torch

from properties.laws.law import checks
from properties.trials.settings import SETTINGS
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Passed, Verdict


@checks("H4", on="drawn")
def draws_no_random_numbers(trial: Trial) -> Verdict:
    """Forward and backward leave torch's random generators where they were.

    Catches dropout and noise, whatever their size, and seeds that are set in passing.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer, x, cotangent = trial.make_layer(), trial.make_input(), trial.make_cotangent()
    trial.set_seed(987_654_321)
    before = _generators(trial)
    trial.exercise(layer, x, cotangent)
    for (name, state), now in zip(before.items(), _generators(trial).values(), strict=True):
        if not torch.equal(state, now):
            return Failed(f"the random generator of {name} has moved", observed="another state", expected="as before")
    return Passed()


def _generators(trial: Trial) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if trial.device.type == "cuda":
        states[str(trial.device)] = torch.cuda.get_rng_state(trial.device)
    return states


@checks("H4", on="drawn")
def global_state_unchanged(trial: Trial) -> Verdict:
    """Forward and backward leave torch's global settings as they were.

    Judged twice: at the values that they have, and each at one that it is unlikely to be set to. Catches layers that
    switch settings for themselves.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    kept = {name: setting.read() for name, setting in SETTINGS.items()}
    try:
        for given in (kept, {name: setting.unlikely for name, setting in SETTINGS.items()}):
            for name, setting in SETTINGS.items():
                setting.write(given[name])
            trial.exercise(trial.make_layer(), trial.make_input(), trial.make_cotangent())
            for name, setting in SETTINGS.items():
                if setting.read() != given[name]:
                    return Failed(f"{name} is changed", observed=str(setting.read()), expected=str(given[name]))
    finally:
        for name, value in kept.items():
            SETTINGS[name].write(value)
    return Passed()


@checks("H4", on="drawn")
def keeps_nothing(trial: Trial) -> Verdict:
    """Once the layer, its input and its output are let go, the memory of input and output is free.

    Catches inputs and outputs in caches that outlive the layer: a long run would die of them.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer, x = trial.make_layer(), trial.make_input()
    tokens = trial.exercise(layer, x, trial.make_cotangent())
    # A storage's Python object lives as long as its memory, whatever views of it there are.
    watched = {name: weakref.ref(tensor.untyped_storage()) for name, tensor in (("input", x), ("output", tokens))}
    del layer, x, tokens
    if any(storage() is not None for storage in watched.values()):
        gc.collect()
    for name, storage in watched.items():
        if storage() is not None:
            return Failed(f"the memory of the {name} outlives the layer", observed="still held", expected="free")
    return Passed()
