"""What scripts on state do: parameters that change, copies, later calls, modes, layouts, the world around a layer."""

import re
from collections.abc import Callable, Sequence
from functools import partial

from properties.cases.case import LAYOUTS
from properties.failures.scripts.pieces import (
    bound,
    checking,
    differentiated,
    expected_tokens,
    laid_out,
    like_first,
    mirrored,
    rounding_bound,
    same_form,
    setting,
)
from properties.failures.scripts.quoted import value
from properties.failures.scripts.subject import Block, Body, Subject, by_name, indented, listed, looping
from properties.failures.scripts.tensors import lay_out
from properties.laws.purity import other_cases
from properties.trials.implementation import CannotRun
from properties.trials.settings import SETTINGS


def _bound(s: Subject) -> str:
    """What to give ``check`` for outputs."""
    return "" if s.exact("output") else "bound"


# Parameters.


def _after(s: Subject) -> list[str]:
    """Negate the parameters of a layer that has run: the output changes its sign."""
    way = next((way for way in reversed(_UPDATES) if way in s.verdict.what), "an update in place")
    inference = s.prop.name == "updates_show_in_inference"
    lines = ["layer(x)", *_UPDATES[way](s), "found = -layer(x)"]
    return [
        "tokens = layer(x)",
        "layer.requires_grad_()",
        *(["layer.eval()", "with torch.no_grad():", *indented(lines)] if inference else lines),
        *same_form(s, "found"),
        *like_first(s, "found"),
    ]


def _load(s: Subject, assign: str = "") -> list[str]:
    return [f"layer.load_state_dict({{name: -value for name, value in layer.state_dict().items()}}{assign})"]


def _step(s: Subject) -> list[str]:
    return [
        *(f"layer.conv.{name}.grad = 2 * layer.conv.{name}.detach()" for name in s.parameters),
        "torch.optim.SGD(layer.parameters(), lr=1.0).step()  # changes the sign of every parameter",
    ]


def _negate(s: Subject) -> list[str]:
    return ["with torch.no_grad():", "    for parameter in layer.parameters():", "        parameter.neg_()"]


def _negate_data(s: Subject) -> list[str]:
    return ["for parameter in layer.parameters():", "    parameter.data.neg_()"]


_UPDATES: dict[str, Callable[[Subject], list[str]]] = {
    "loading a state dict": _load,
    "loading a state dict by assignment": partial(_load, assign=", assign=True"),
    "an update in place": _negate,
    "an update of .data": _negate_data,
    "an optimizer's step": _step,
}


def _copying(s: Subject) -> Sequence[str | Block]:
    saved = (
        "def saved(layer):",
        "    torch.save(layer, file := io.BytesIO())",
        "    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)",
    )
    return [
        Block("saved", saved),
        "tokens = layer(x)",
        *rounding_bound(s, 2),
        "for copied in (copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer)), saved):",
        "    other = copied(layer)",
        "    found = other(x)",
        *indented(same_form(s, "found")),
        *indented([checking('"a copy"', "found", "tokens", _bound(s))]),
        "    with torch.no_grad():",
        *(f"        other.conv.{name}.neg_()" for name in s.parameters),
        *indented([checking('"a copy with other parameters"', "-other(x)", "tokens", _bound(s))]),
        checking('"the original"', "layer(x)", "tokens", _bound(s)),
    ]


def _conversion(s: Subject) -> list[str]:
    other = "torch.float32" if s.dtype == "torch.float64" else "torch.float64"
    return [
        "tokens = layer(x)",
        f"layer = layer.to({other})",
        f"converted = layer(x.to({other}))",
        f'assert converted.dtype == {other}, f"observed {{converted.dtype}}, expected {other}"',
        f"layer = layer.to({s.dtype})",
        *setting(s),
        "found = layer(x)",
        *same_form(s, "found"),
        *like_first(s, "found"),
    ]


# The same function, whatever happens around it.


def _second_call(s: Subject) -> list[str]:
    twice, thrice = ("", "") if s.exact("output") else ("2 * bound", "3 * bound")
    return [
        "tokens = layer(x)",
        "before = tokens.detach().clone()",
        f"between = layer({laid_out(s, f'-{s.pixels}')})",
        *same_form(s, "between"),
        "same = torch.equal(tokens.nan_to_num(), before.nan_to_num())",
        'assert same, f"the first output: observed {tokens.tolist()} afterwards, expected {before.tolist()}"',
        *rounding_bound(s, 1),
        checking('"a later call"', "layer(x)", "before", twice),
        checking('"the opposite input"', "between", mirrored(s, "before"), thrice),
    ]


def _other_sizes(s: Subject) -> list[str]:
    """On numbers of its own, no two alike: what is wrong is which pixels are meant."""
    shapes = [case.input_shape for case in (s.case, *other_cases(s.case), s.case)]
    given = laid_out(s, "given")
    lines = [
        "new, calls = copy.deepcopy(layer), []",
        *looping("shape", [f"{shape}" for shape in shapes]),
        f"    given = torch.arange(math.prod(shape){s.on_device}).sin().reshape(shape).to({s.dtype})",
        *([f"    given = {given}"] if given != "given" else []),
        "    given.requires_grad_()",
        "    calls.append((given, layer(given)))",
        "for given, found in calls:",
        "    other = copy.deepcopy(new)",
        "    expected = other(given)",
        "    same = torch.allclose(found, expected, rtol=2**-6, atol=2**-6)",
        '    assert same, f"{list(given.shape)}: observed {found.tolist()}, expected {expected.tolist()}"',
    ]
    return [*lines, *indented(_like_gradients(s, "given", "other", "found.sum()", "expected.sum()"))]


def _like_gradients(s: Subject, x: str, other: str, found: str, expected: str) -> list[str]:
    """Compare the gradients of two layers, ``layer`` and another one, for the same input."""
    lines = []
    for name in s.case.backward.requires_grad:
        one, another = (x, x) if name == "input" else (f"layer.conv.{name}", f"{other}.conv.{name}")
        lines += [
            f"(gradient,) = torch.autograd.grad({found}, {one}, retain_graph=True)",
            f"(right,) = torch.autograd.grad({expected}, {another}, retain_graph=True)",
            "same = torch.allclose(gradient, right, rtol=2**-6, atol=2**-6)",
            f'assert same, f"{name} gradient: observed {{gradient.tolist()}}, expected {{right.tolist()}}"',
        ]
    return lines


def _eval_mode(s: Subject) -> list[str]:
    wanted = s.case.backward.requires_grad
    lines = [
        "for training in (True, False, True):",
        '    what = "train mode" if training else "eval mode"',
        "    layer.train(training)",
        "    tokens = layer(x)",
        *indented(same_form(s)),
        f"    {checking('what', 'tokens', 'expected', _bound(s))}",
    ]
    before = expected_tokens(s)
    if wanted:
        before.append(f"right = {differentiated(s)}")
        if not s.exact(*wanted):
            before.append(f"total = {differentiated(s, absolute=True)}")
        lines.append(f"    found = torch.autograd.grad(tokens, {listed(s.wanted)}, cotangent)")
    for position, name in enumerate(wanted):
        index = s.operands.index("x" if name == "input" else name)
        limits = bound(s, name, f"total[{index}]", name=f"{name}_bound")
        before += [line for line in limits if line not in before]
        what = f'f"{name} gradient in {{what}}"'
        limit = f"{name}_bound" if limits else ""
        lines.append(f"    {checking(what, f'found[{position}]', f'right[{index}]', limit)}")
    lines.append('    assert layer.training == training, "observed another mode after forward, expected the same"')
    return [*before, "", *lines]


def _without_grad(s: Subject) -> list[str]:
    if "after a first call" in s.verdict.what:
        return _after_inference(s)
    return [
        "tokens = layer(x)",
        *rounding_bound(s, 2),
        "for mode in (torch.no_grad, torch.inference_mode):",
        "    with mode():",
        "        found = layer(x)",
        *indented(same_form(s, "found")),
        f"    {checking('mode.__name__', 'found', 'tokens', _bound(s))}",
    ]


def _after_inference(s: Subject) -> list[str]:
    """Two layers with the same parameters, of which one has run in inference mode before."""
    return [
        "new = copy.deepcopy(layer)",
        "with torch.inference_mode():",
        "    layer(x)",
        "found, tokens = layer(x), new(x)",
        *same_form(s, "found"),
        *like_first(s, "found"),
        *_like_gradients(s, "x", "new", "(found * cotangent).sum()", "(tokens * cotangent).sum()"),
    ]


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


def _arguments_unchanged(s: Subject) -> list[str]:
    watched = ["x", *(f"layer.conv.{name}" for name in s.parameters), *(["cotangent"] if s.wanted else [])]
    return [
        f"watched = {by_name(watched)}",
        "before = {name: (tensor.detach().clone(), tensor.requires_grad) for name, tensor in watched.items()}",
        *_exercise(s),
        "for name, (expected, requires_grad) in before.items():",
        "    observed = watched[name]",
        "    unchanged = torch.equal(observed.nan_to_num(), expected.nan_to_num())",
        '    assert unchanged, f"{name}: observed {observed.tolist()}, expected {expected.tolist()}"',
        "    now = observed.requires_grad",
        '    assert now == requires_grad, f"{name}.requires_grad: observed {now}, expected {requires_grad}"',
    ]


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
    **dict.fromkeys(
        ("loaded_state_shows", "in_place_update_shows", "optimizer_step_shows", "updates_show_in_inference"), _after
    ),
    "survives_copying": _copying,
    "survives_conversion": _conversion,
    "same_on_second_call": _second_call,
    "same_at_other_sizes": _other_sizes,
    "same_in_eval_mode": _eval_mode,
    "same_without_grad": _without_grad,
    "same_in_every_layout": _other_layout,
    "arguments_unchanged": _arguments_unchanged,
    "draws_no_random_numbers": _random_numbers,
    "global_state_unchanged": _global_state,
    "keeps_nothing": _keeps_nothing,
}
