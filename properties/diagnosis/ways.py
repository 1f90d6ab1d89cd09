"""Ways of running a layer other than once, in train mode, fresh: what it remembers, and what modes do to it."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from properties.cases.case import Case
from properties.diagnosis.features import Judge
from properties.diagnosis.forward import cause_of_output
from properties.diagnosis.probe import Given, Look, Seen, Subject, case_of, hold, observe, run
from properties.diagnosis.words import first_sentence
from properties.trials.trial import Raised, blaming

# What a layer is made to do with what was there before, what is there now, and the input's layout.
Deed = Callable[[Any, Given, Tensor, Tensor], object]


class Changed(Exception):  # noqa: N818 - "the copy has changed"
    """A copy is no copy."""


@dataclass(frozen=True)
class Way:
    """A way of running a layer.

    ``before`` says what of an earlier call differs from the call that is judged: its ``input``, its ``parameters``.
    """

    words: str
    deed: Deed
    before: tuple[str, ...] = ()


def earlier(given: Given, before: tuple[str, ...]) -> Given:
    """What another call is given, as far as it differs: other numbers of the same shapes."""

    def other(values: Tensor) -> Tensor:
        return 1 - values.flatten().flip(0).reshape(values.shape)

    return Given(
        other(given.x) if "input" in before else given.x,
        other(given.weight) if "parameters" in before else given.weight,
        other(given.bias) if "parameters" in before and given.bias is not None else given.bias,
        given.stride,
    )


def through(subject: Subject, case: Case, way: Way) -> Look:
    """Runs a new layer in some way."""

    def look(given: Given) -> Tensor:
        first = earlier(given, way.before)

        def deed(layer: Any, x: Tensor) -> object:
            old = first.x.to(x.device, x.dtype)
            return way.deed(layer, given, old, x)

        return run(subject, case_of(case, given), first, deed, given.x)

    return look


def cause_by_way(subject: Subject, case: Case, ways: tuple[Way, ...]) -> tuple[str, Way] | None:
    """How the output is wrong in the first way in which it is, and that way."""
    for way in ways:
        words = _cause_in(subject, case, way)
        if words:
            return words, way
    return None


def _cause_in(subject: Subject, case: Case, way: Way) -> str | None:
    look = through(subject, case, way)
    try:
        seen = observe(case, look)
    except Raised as raised:
        if isinstance(raised.error, Changed):
            return f"{way.words}, {raised.error}"
        inner = raised.error if isinstance(raised.error, Raised) else None
        doing = inner.doing if inner else f"{way.words}, forward"
        return f"{doing} raises {first_sentence((inner or raised).observed)}"
    if all(one.is_right for one in seen):
        return None
    again = observe(case, look)
    if any(not torch.equal(one.found, other.found) for one, other in zip(seen, again, strict=True)):
        return f"{way.words}, the output is random: two runs on the same data differ"
    words = _stale(way, seen) or cause_of_output(case, look, seen)
    return f"{way.words}, {words}" if words else f"{way.words}, the output is wrong"


def way_fails(subject: Subject, way: Way) -> Judge:
    """Whether a case gives a wrong output in one way, None where it gives none."""

    def fails(case: Case) -> bool | None:
        try:
            return not all(one.is_right for one in observe(case, through(subject, case, way)))
        except Raised:
            return None

    return fails


def _stale(way: Way, seen: tuple[Seen, ...]) -> str | None:
    """What an earlier call has left behind."""
    for words, predict in _left_behind(way):
        if all(one.found.shape == one.given.right.shape and one.agrees(predict(one.given)) for one in seen):
            return words
    return None


def _left_behind(way: Way) -> Iterator[tuple[str, Callable[[Given], Tensor]]]:
    def old(given: Given) -> Given:
        return earlier(given, way.before)

    if way.before:
        if "input" in way.before:
            yield "the output of the call before is given again", lambda given: old(given).right
        if "parameters" in way.before:
            yield "the old weight and bias are still used", (lambda given: replace(old(given), x=given.x).right)
            yield "the old weight is still used", lambda given: replace(given, weight=old(given).weight).right
            yield "the old bias is still used", lambda given: replace(given, bias=old(given).bias).right
        yield (
            "the mean of the call before is added to every value",
            (lambda given: given.right + old(given).right.mean()),
        )
        yield "the output of the call before is added", lambda given: given.right + old(given).right


def _again(times: int) -> Deed:
    def deed(layer: Any, given: Given, old: Tensor, x: Tensor) -> object:
        for _ in range(times):
            layer(old.clone())
        return layer(x)

    return deed


def _in_mode(training: bool) -> Deed:
    def deed(layer: Any, given: Given, old: Tensor, x: Tensor) -> object:
        layer.train(training)
        return layer(x)

    return deed


def _under(mode: Callable[[], Any]) -> Deed:
    def deed(layer: Any, given: Given, old: Tensor, x: Tensor) -> object:
        with mode():
            return layer(x)

    return deed


def _updated(update: Callable[[Any, Given], None], *, same_input: bool = False, inference: bool = False) -> Deed:
    """Runs, gives the layer its new parameters, and runs again, on an input at the same address or at another."""

    def deed(layer: Any, given: Given, old: Tensor, x: Tensor) -> object:
        layer.train(not inference)
        with torch.set_grad_enabled(not inference):
            layer(x if same_input else x.clone())
            update(layer, given)
            return layer(x)

    return deed


def _after_inference(layer: Any, given: Given, old: Tensor, x: Tensor) -> object:
    with torch.inference_mode():
        layer(x.clone())
    return layer.requires_grad_()(x)


def _load(layer: Any, given: Given, *, assign: bool = False) -> None:
    layer.load_state_dict(_named(layer.state_dict(), given), assign=assign)


def _named(parameters: dict[str, Tensor], given: Given) -> dict[str, Tensor]:
    """Parameters by name, those of the convolution with their new values."""
    new = {"conv.weight": given.weight} | ({} if given.bias is None else {"conv.bias": given.bias})
    return {name: new[name].to(value) if name in new else value for name, value in parameters.items()}


def _set_data(layer: Any, given: Given) -> None:
    for name in ("weight", "bias"):
        value = getattr(given, name)
        if value is not None:
            getattr(layer.conv, name).data.copy_(value)


def _step(layer: Any, given: Given) -> None:
    named = {"weight": given.weight, "bias": given.bias}
    for name, value in named.items():
        if value is not None:
            parameter = getattr(layer.conv, name)
            parameter.requires_grad_(True)
            parameter.grad = parameter.detach() - value.to(parameter)
    torch.optim.SGD(layer.parameters(), lr=1.0).step()


def _copied(words: str, make: Callable[[Any], Any]) -> Deed:
    def deed(layer: Any, given: Given, old: Tensor, x: Tensor) -> object:
        layer(x.clone())
        with blaming(words):
            other = make(layer)
        if not torch.equal(other.conv.weight, layer.conv.weight):
            raise Changed("the parameters are not those of the original")
        return other(x)

    return deed


def _saved(layer: Any) -> Any:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def _functional(layer: Any, given: Given, old: Tensor, x: Tensor) -> object:
    new = _named(dict(layer.named_parameters()), given)
    return functional_call(layer, new, (x,))


def _mapped(layer: Any, given: Given, old: Tensor, x: Tensor) -> object:
    return vmap(layer)(torch.stack((x, -x)))[0]


SECOND_CALL = (
    Way("on the second call", _again(1), ("input",)),
    Way("on the third call", _again(2), ("input",)),
)
WITHOUT_GRADIENTS = (
    Way("under no_grad", _under(torch.no_grad)),
    Way("in inference mode", _under(torch.inference_mode)),
    Way("after a first call in inference mode", _after_inference),
)
MODES = (Way("in eval mode", _in_mode(False)), Way("in train mode", _in_mode(True)))


_UPDATES: dict[str, Callable[[Any, Given], None]] = {
    "loading a state dict": _load,
    "loading a state dict by assignment": partial(_load, assign=True),
    "an update in place": hold,
    "an update of .data": _set_data,
    "an optimizer's step": _step,
}


def _after(*updates: str) -> Iterator[Way]:
    for words in updates:
        update, parameters = _UPDATES[words], ("parameters",)
        yield Way(f"after {words}", _updated(update), parameters)
        yield Way(f"after {words}, for an input at the same address", _updated(update, same_input=True), parameters)


def _after_in_inference() -> Iterator[Way]:
    for words, update in _UPDATES.items():
        yield Way(f"in eval mode under no_grad, after {words}", _updated(update, inference=True), ("parameters",))


# By the property that fails.
WAYS: dict[str, tuple[Way, ...]] = {
    "functional_call_agrees": (Way("under functional_call", _functional, ("parameters",)),),
    "vmap_agrees": (Way("under vmap", _mapped),),
}
