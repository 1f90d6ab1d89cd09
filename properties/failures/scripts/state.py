"""What scripts on state do: parameters that change, copies, later calls, modes, layouts, the world around a layer."""

import re

from properties.cases.case import LAYOUTS
from properties.failures.scripts.pieces import (
    like_first,
    same_form,
)
from properties.failures.scripts.quoted import value
from properties.failures.scripts.subject import Body, Subject
from properties.failures.scripts.tensors import lay_out
from properties.trials.implementation import CannotRun
from properties.trials.settings import SETTINGS


def _bound(s: Subject) -> str:
    """What to give ``check`` for outputs."""
    return "" if s.exact("output") else "bound"


# Parameters.


# The same function, whatever happens around it.


def _other_layout(s: Subject) -> list[str]:
    layout = re.search(r"(?:input is|forward of an?) (\w+)", s.verdict.what)
    if layout is None or layout[1] not in LAYOUTS:
        raise CannotRun("the verdict does not say which layout changes the output")
    return [
        "tokens = layer(x)",
        f"other = {lay_out(s, s.pixels, layout[1])}",
        "found = layer(other)",
        *same_form(s, "found"),
        *like_first(s, "found"),
    ]


def _exercise(s: Subject) -> list[str]:
    """Run forward and, where the case asks for gradients, backward."""
    return ["tokens = layer(x)", *(["tokens.backward(cotangent)"] if s.wanted else [])]


# The world around the layer.

# How each of torch's settings is read and written.
_SETTINGS = {
    "the default dtype": ("torch.get_default_dtype()", "torch.set_default_dtype({})"),
    "gradient mode": ("torch.is_grad_enabled()", "torch.set_grad_enabled({})"),
    "the number of threads": ("torch.get_num_threads()", "torch.set_num_threads({})"),
    "the use of deterministic algorithms": (
        "torch.are_deterministic_algorithms_enabled()",
        "torch.use_deterministic_algorithms({})",
    ),
    "anomaly detection": ("torch.is_anomaly_enabled()", "torch.autograd.set_detect_anomaly({})"),
    "the precision of matrix products": (
        "torch.get_float32_matmul_precision()",
        'torch.set_float32_matmul_precision("{}")',
    ),
    "torch.backends.cudnn.enabled": ("torch.backends.cudnn.enabled", "torch.backends.cudnn.enabled = {}"),
    "torch.backends.cudnn.benchmark": ("torch.backends.cudnn.benchmark", "torch.backends.cudnn.benchmark = {}"),
    "torch.backends.cudnn.deterministic": (
        "torch.backends.cudnn.deterministic",
        "torch.backends.cudnn.deterministic = {}",
    ),
    "torch.backends.cudnn.allow_tf32": ("torch.backends.cudnn.allow_tf32", "torch.backends.cudnn.allow_tf32 = {}"),
    "autocast on the CPU": ('torch.is_autocast_enabled("cpu")', 'torch.set_autocast_enabled("cpu", {})'),
}


def _global_state(s: Subject) -> list[str]:
    name = s.verdict.what.removesuffix(" is changed")
    if name not in _SETTINGS:
        # It raised, perhaps because of a setting.
        unlikely = [write.format(SETTINGS[other].unlikely) for other, (_, write) in _SETTINGS.items()]
        return [*unlikely, *_exercise(s)]
    read, write = _SETTINGS[name]
    return [
        write.format(value("expected", s.verdict.expected, type(SETTINGS[name].unlikely))),
        f"before = {read}",
        *_exercise(s),
        f"after = {read}",
        f'assert after == before, f"{name}: observed {{after}}, expected {{before}}"',
    ]


def _random_numbers(s: Subject) -> list[str]:
    states = {"CPU": "torch.get_rng_state()"}
    if s.device != "cpu":
        states["GPU"] = f'torch.cuda.get_rng_state("{s.device}")'
    assertions = [
        f'assert torch.equal({state}, {kind.lower()}), "{kind} generator: observed another state, expected the same"'
        for kind, state in states.items()
    ]
    return [
        "torch.manual_seed(987_654_321)",
        *(f"{kind.lower()} = {state}" for kind, state in states.items()),
        *_exercise(s),
        *assertions,
    ]


def _keeps_nothing(s: Subject) -> list[str]:
    return [
        *_exercise(s),
        'tensors = {"input": x, "output": tokens}',
        "storages = {name: weakref.ref(tensor.untyped_storage()) for name, tensor in tensors.items()}",
        "del layer, x, tokens, tensors",
        "gc.collect()",
        "for name, storage in storages.items():",
        '    assert storage() is None, f"observed the memory of the {name} still held, expected it free"',
    ]


BODIES: dict[str, Body] = {
    "same_in_every_layout": _other_layout,
    "draws_no_random_numbers": _random_numbers,
    "global_state_unchanged": _global_state,
    "keeps_nothing": _keeps_nothing,
}
