"""What is added to the products of a layer instead of its bias: what comes out for an input of zeros."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from properties.cases.case import Case
from properties.diagnosis.probe import Given, Look, Seen
from properties.diagnosis.tokens import nouns, places_in_words
from properties.diagnosis.words import number

# The bias: what comes out for an input of zeros.


def other_bias(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """The products are right, and something else than the bias is added to them."""
    if any(one.found.shape != one.given.right.shape for one in seen):
        return None
    added = [one.found - one.given.products for one in seen]
    biases = [one.given.bias for one in seen]
    if all(bias is not None for bias in biases):
        for words, predict in _wrong_biases(case):
            if all(one.agrees(one.given.products + predict(one.given)) for one in seen):
                return words
        factors = _factor_by_token(seen, added)
        if factors is not None:
            some, rest = (places_in_words(factors == factor, case) for factor in (1, 0))
            if some and rest and bool(((factors == 0) | (factors == 1)).all()):
                return (
                    f"the bias is missing for {rest}" if len(rest) < len(some) else f"the bias is added only to {some}"
                )
    extra = [one.found - one.given.right for one in seen]
    if all(one.same(extra[0] + one.given.right, one.found) for one in seen):
        return _constant(case, extra[0])
    return None


def _wrong_biases(case: Case) -> Iterator[tuple[str, Callable[[Given], Tensor]]]:
    taps, data_dim = case.spec.patch_size**case.spec.data_dim, case.spec.data_dim
    times: dict[float, str] = {
        0: "not added",
        2: "added twice",
        -1: "subtracted",
        case.spec.terms: "added once for every product",
    }
    times |= {taps: f"added once for every tap, {taps} times"} if taps > 1 else {}
    for factor in (0, 2, -1, 0.5, taps, case.spec.terms, 3):
        if factor != 1:
            words = times.get(factor, f"added {number(factor)} times")
            yield f"the bias is {words}", lambda given, f=factor: f * _bias(given)  # type: ignore[misc]
    yield "the bias is added with its channels in the reverse order", lambda given: _bias(given).flip(0)
    yield "the bias is added with its channels moved by one", lambda given: _bias(given).roll(1)
    yield "the magnitude of the bias is added", lambda given: _bias(given).abs()
    for axis, size in enumerate((case.input.batch, *case.grid)):
        if size == case.spec.out_features:
            words = "the samples" if axis == 0 else f"axis {axis - 1} of the grid"
            shape = [-1 if other == axis else 1 for other in range(data_dim + 2)]
            yield f"the bias runs along {words} instead of the channels", lambda given, s=shape: _bias(given).reshape(s)  # type: ignore[misc]


def _bias(given: Given) -> Tensor:
    assert given.bias is not None
    return given.bias


def _factor_by_token(seen: tuple[Seen, ...], added: list[Tensor]) -> Tensor | None:
    """How often the bias is added to each token, ``[B, *g]``, where that is what is added."""
    first = seen[0].given.bias
    assert first is not None
    nonzero = int(first.abs().argmax())
    factors = (added[0][..., nonzero] / first[nonzero]).round()
    for one, found in zip(seen, added, strict=True):
        if not one.same(factors[..., None] * _bias(one.given), found):
            return None
    return factors


def _constant(case: Case, extra: Tensor) -> str | None:
    """The same is added whatever the input, the weight and the bias are."""
    if bool((extra == extra.flatten()[0]).all()):
        return f"{number(float(extra.flatten()[0]))} is added to every value"
    for axis, noun in enumerate(nouns(case.spec.data_dim)):
        index = torch.arange(extra.shape[axis], dtype=extra.dtype)
        shape = [-1 if other == axis else 1 for other in range(extra.ndim)]
        if torch.allclose(extra, index.reshape(shape).expand_as(extra)):
            what, _, along = noun.partition(" along ")
            return f"every {what} has its own index{along and f' along {along}'} added"
    return "something is added that depends on neither input, weight nor bias"
