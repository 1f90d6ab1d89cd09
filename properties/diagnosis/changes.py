"""What layers do to a tensor by mistake: each change has words, and works for tensors of other sizes too."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations, permutations

import torch
from torch import Tensor
from torch.nn import functional

Change = Callable[[Tensor], Tensor]
Changes = Iterator[tuple[str, Change]]
# Which of so many things in a row, as a mask.
Chosen = Callable[[int], Tensor]


def axes_named(axes: Sequence[int]) -> str:
    """``axis 0``, or ``axes 0 and 1``."""
    return f"ax{'is' if len(axes) == 1 else 'es'} {' and '.join(map(str, axes))}"


def _backwards(axes: Sequence[int]) -> Changes:
    """Every way to reverse some axes, which are numbered from 0."""
    for count in range(1, len(axes) + 1):
        for some in combinations(axes, count):
            yield f"backwards along {axes_named([axis - axes[0] for axis in some])}", partial(torch.flip, dims=some)


def _then(tensor: Tensor, changes: Sequence[Change]) -> Tensor:
    for change in changes:
        tensor = change(tensor)
    return tensor


def taps(weight: Tensor) -> Changes:
    """The taps of a weight in another order."""
    axes = list(range(2, weight.ndim))
    yield from ((f"read {how}", change) for how, change in _backwards(axes))
    for order in list(permutations(axes))[1:]:
        words = f"transposed, their axes in the order {', '.join(str(axis - 2) for axis in order)}"
        transpose = partial(torch.permute, dims=(0, 1, *order))
        yield words, transpose
        for how, change in _backwards(axes):
            yield f"{words}, and read {how}", partial(_then, changes=(transpose, change))


def channels(weight: Tensor) -> Changes:
    """The channels of a weight in another order."""
    for axis, noun in enumerate(("output", "input")):
        yield f"the {noun} channels are in the reverse order", partial(torch.flip, dims=(axis,))
        yield f"every {noun} channel has the weight of the one before", partial(torch.roll, shifts=1, dims=axis)
        yield f"every {noun} channel has the weight of the one after", partial(torch.roll, shifts=-1, dims=axis)
    if weight.shape[0] == weight.shape[1]:
        yield "input and output channels of the weight are swapped", partial(torch.transpose, dim0=0, dim1=1)


def reordered(output: Tensor) -> Changes:
    """The channels of an output in another order, the bias's with them."""
    yield "the output channels are in the reverse order", partial(torch.flip, dims=(-1,))
    yield "every output channel stands one place further on", partial(torch.roll, shifts=1, dims=-1)
    yield "every output channel stands one place further back", partial(torch.roll, shifts=-1, dims=-1)


def flattened(weight: Tensor) -> Changes:
    """Channels and taps in another order once they are one axis."""
    yield (
        "the patch is flattened (taps, channel), but the weight (channel, taps)",
        lambda w: w.reshape(w.shape[0], *w.shape[2:], w.shape[1]).movedim(-1, 1),
    )
    yield (
        "the weight is flattened (taps, channel), but the patch (channel, taps)",
        lambda w: w.movedim(1, -1).reshape(w.shape),
    )


_SOME: dict[str, Callable[[Tensor, int], Tensor]] = {
    "the last {}": lambda i, n: i == n - 1,
    "the first {}": lambda i, n: i == 0,
    "every {} but the first": lambda i, n: i > 0,
    "every {} but the last": lambda i, n: i < n - 1,
    "every second {}": lambda i, n: i % 2 == 1,
    "every second {} from the first on": lambda i, n: i % 2 == 0,
}


def some(count: int, noun: str, along: str = "") -> Iterator[tuple[str, Chosen]]:
    """Ways to choose some of so many things: words, and a mask for any number of them."""
    for words, rule in _SOME.items():
        yield words.format(noun) + along, partial(_chosen, rule=rule)
    for tile in (2**power for power in range(1, 17)):
        if tile < count and count % tile:
            words = f"the {noun}s{along} past the last multiple of {tile}"
            yield words, partial(_past, tile=tile)


def _past(count: int, tile: int) -> Tensor:
    return since(count - count % tile if count > tile else count)(count)


def since(first: int) -> Chosen:
    """Those from one on."""
    return partial(_chosen, rule=lambda i, n: i >= first)


def _chosen(count: int, rule: Callable[[Tensor, int], Tensor]) -> Tensor:
    return rule(torch.arange(count), count)


def masked(tensor: Tensor, axis: int, chosen: Chosen, factor: float = 0.0) -> Tensor:
    """A tensor times a factor where an index along an axis is among those that are chosen."""
    return torch.where(chosen(tensor.shape[axis]), tensor.movedim(axis, -1) * factor, tensor.movedim(axis, -1)).movedim(
        -1, axis
    )


def of_tokens(tensor: Tensor, change: Change) -> Tensor:
    """A change of a tensor ``[B, *g, C]`` as ``[B, tokens, C]``."""
    return change(tensor.flatten(1, -2)).reshape(tensor.shape)


def dropped(weight: Tensor) -> Changes:
    """Some of the products are left out."""
    if min(weight.shape[:2]) > 1:
        yield "of other input channels than that of its own number", _diagonal
    taps = ((axis, "tap", f" along axis {axis - 2}") for axis in range(2, weight.ndim))
    for axis, noun, along in ((1, "input channel", ""), *taps):
        for words, chosen in some(weight.shape[axis], noun, along):
            yield f"of {words}", partial(masked, axis=axis, chosen=chosen)
    for words, chosen in some(weight[0].numel(), "product"):
        yield words, partial(_of_products, change=partial(masked, axis=1, chosen=chosen))


def _of_products(weight: Tensor, change: Change) -> Tensor:
    return change(weight.flatten(1)).reshape(weight.shape)


def _diagonal(weight: Tensor) -> Tensor:
    own = torch.eye(*weight.shape[:2], dtype=weight.dtype)
    return weight * own.reshape(*own.shape, *[1] * (weight.ndim - 2))


def moved(tokens: Tensor) -> Changes:
    """Tokens ``[B, *g, C]`` in one another's places."""
    axes = list(range(1, tokens.ndim - 1))
    yield from ((f"they run {how}", change) for how, change in _backwards(axes))
    for one, other in combinations(axes, 2):
        yield f"axes {one - 1} and {other - 1} of the grid are swapped", partial(torch.transpose, dim0=one, dim1=other)
    for by in (1, -1, 2, -2):
        where = f"each stands {abs(by)} further {'on' if by > 0 else 'back'} than its own"
        yield where, partial(of_tokens, change=partial(torch.roll, shifts=by, dims=1))
        for axis in axes if len(axes) > 1 else ():
            yield f"{where}, along axis {axis - 1}", partial(torch.roll, shifts=by, dims=axis)
    if len(axes) > 1:
        yield "a flat index is row * rows + column instead of row * columns + column", _misindexed
    yield "they are laid out with channels first, but not shaped so", lambda y: y.movedim(-1, 1).reshape(y.shape)


def _misindexed(y: Tensor) -> Tensor:
    rows, columns = y.shape[-3:-1]
    index = (torch.arange(rows)[:, None] * rows + torch.arange(columns)) % (rows * columns)
    return y.flatten(-3, -2).index_select(-2, index.flatten()).reshape(y.shape)


def samples(output: Tensor) -> Changes:
    """Samples in one another's places."""
    yield "every sample gets what belongs to the first", lambda y: y[:1].expand_as(y)
    yield "there is only the first sample", lambda y: y[:1]
    yield "they come out in the reverse order", partial(torch.flip, dims=(0,))
    yield "each stands one place further on", partial(torch.roll, shifts=1, dims=0)
    yield "each stands one place further back", partial(torch.roll, shifts=-1, dims=0)
    for axis in range(1, output.ndim - 1):
        yield f"samples and axis {axis - 1} are swapped", partial(torch.transpose, dim0=0, dim1=axis)


def indices_wrap(tensor: Tensor) -> Changes:
    """The index of a sample, or of a token in all samples, has too few bits."""
    for bits in (8, 15, 16, 17):
        if len(tensor) > 2**bits:
            yield f"the index of a sample wraps at {2**bits:,}", partial(_wrapped, count=2**bits)
        if tensor.ndim > 2 and tensor[..., 0].numel() > 2**bits:
            yield f"the index of a token wraps at {2**bits:,}", partial(_wrapped_tokens, count=2**bits)


def _wrapped(tensor: Tensor, count: int) -> Tensor:
    return tensor[torch.arange(len(tensor)) % count]


def _wrapped_tokens(tensor: Tensor, count: int) -> Tensor:
    return _wrapped(tensor.flatten(0, -2), count).reshape(tensor.shape)


def swapped(x: Tensor) -> Changes:
    """Axes of one size swapped, or read backwards."""
    axes = list(range(1, x.ndim - 1))
    yield from _backwards(axes)
    named = {0: "the samples", **{axis: f"axis {axis - 1}" for axis in axes}, x.ndim - 1: "the channels"}
    for one, other in combinations(named, 2):
        if x.shape[one] == x.shape[other]:
            words = f"with {named[one]} for {named[other]}"
            yield words, partial(_swapped, one=one, other=other)


def _swapped(x: Tensor, one: int, other: int) -> Tensor:
    return x.transpose(one, other) if x.shape[one] == x.shape[other] else x


def shapes(right: Tensor) -> Changes:
    """The right output in another shape."""
    yield "those of the grid that have one token are missing", lambda y: y.squeeze(tuple(range(1, y.ndim - 1)))
    yield "that of a batch of one sample is missing", lambda y: y.squeeze(0)
    yield "all of size 1 are missing", torch.squeeze
    yield "the channels come first, [B, C_out, *g]", lambda y: y.movedim(-1, 1)
    for order in list(permutations(range(1, right.ndim - 1)))[1:]:
        words = f"those of the grid are in the order {', '.join(str(axis - 1) for axis in order)}"
        yield words, partial(torch.permute, dims=(0, *order, right.ndim - 1))
    yield "those of the grid are flattened into one", lambda y: y.flatten(1, -2)
    yield "the grid is flattened and the channels come before it", lambda y: y.flatten(1, -2).movedim(-1, 1)
    yield "samples and tokens are flattened into one", lambda y: y.flatten(0, -2)
    yield "tokens and channels are flattened into one", lambda y: y.flatten(1)
    yield "the tokens are averaged into one", lambda y: y.mean(tuple(range(1, y.ndim - 1)))


def activations(largest: float) -> Changes:
    """A function of every value; ``largest`` is the magnitude that a clamp may have left."""
    yield "negative ones become zero", torch.relu
    yield "they lose their sign", torch.abs
    yield "only their signs count", torch.sign
    yield f"those beyond {largest:.6g} in magnitude are clamped", lambda t: t.clamp(-largest, largest)
    for function in (torch.tanh, torch.sigmoid, functional.gelu, functional.silu, partial(torch.softmax, dim=-1)):
        yield f"{getattr(function, '__name__', 'softmax')} is applied to them", function


def normalised_tokens(y: Tensor) -> Changes:
    """Values are divided or centred by others beside them."""
    yield "every token is divided by its norm", lambda t: functional.normalize(t, dim=-1)
    yield "every token is normalised over its channels", lambda t: functional.layer_norm(t, t.shape[-1:])
    for words, over in {"its channels": [-1], "its sample": list(range(1, y.ndim - 1)), "all samples": [0]}.items():
        yield f"the mean over {words} is subtracted", partial(_centred, over=over)


def _centred(tensor: Tensor, over: Sequence[int]) -> Tensor:
    return tensor - tensor.mean(tuple(over), keepdim=True)


def normalised_rows(weight: Tensor) -> Changes:
    """Every row of the weight is divided or centred by itself."""
    over = tuple(range(1, weight.ndim))
    yield "every row of the weight is divided by its largest magnitude", lambda w: w / w.abs().amax(over, keepdim=True)
    yield "every row of the weight is divided by its norm", lambda w: w / w.norm(dim=over, keepdim=True)
    yield "the mean of every window, or row of the weight, is subtracted", partial(_centred, over=over)


def roundings(bits: int) -> Changes:
    """Fewer bits than a dtype has."""
    for kept, like in ((8, "bfloat16"), (11, "float16 or TF32"), (24, "float32")):
        if kept < bits:
            yield f"rounded to {kept} significant bits, as in {like}", partial(to_bits, bits=kept)
    for power in range(4, min(bits, 17)):
        yield f"rounded to multiples of 1/{2**power}", partial(_to_multiples, per_one=2**power)


def _to_multiples(values: Tensor, per_one: int) -> Tensor:
    return (values * per_one).round() / per_one


def to_bits(values: Tensor, bits: int) -> Tensor:
    """Numbers rounded to so many significant bits, as if exponents had no limits."""
    fraction, exponent = torch.frexp(values)
    return torch.ldexp((fraction * 2**bits).round(), exponent - bits)


def readings(tensor: Tensor) -> Changes:
    """Memory that is not read where the tensor's strides say."""

    def dense(shape: Sequence[int]) -> list[int]:
        return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]

    offset, own = int(tensor.storage_offset()), tuple(tensor.shape)
    first = (own[0], own[-1], *own[1:-1])
    for words, shape, strides, start in (
        ("in order, whatever its strides", own, dense(own), offset),
        ("in order from its beginning, whatever its strides and offset", own, dense(own), 0),
        ("from its beginning, whatever its offset", own, list(tensor.stride()), 0),
        ("as if the channels of a pixel were adjacent", own, [*tensor.stride()[:-1], 1], offset),
        ("as if it were stored channels first", first, dense(first), offset),
    ):
        last = start + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if (last + 1) * tensor.element_size() <= tensor.untyped_storage().nbytes():
            read = tensor.as_strided(shape, strides, start)
            read = read.movedim(1, -1) if shape is first else read
            yield words, partial(_instead, read=read)
    if not tensor.is_contiguous():
        yield (
            "as if its axes were in the order [B, C, *s]",
            partial(_instead, read=tensor.reshape(first).movedim(1, -1)),
        )


def _instead(tensor: Tensor, read: Tensor) -> Tensor:
    return read
