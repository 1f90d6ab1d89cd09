"""Adapters: what makes an implementation of a layer that is shaped otherwise, in a few declarative lines.

An adapter names arguments and parameters, and puts axes in another order. It never supplies what a law judges; where it
stands in for something, its domain says so, and the clause is not judged.
"""

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from properties.cases.domain import DATA_DIMS, WHOLE, Domain
from properties.trials.implementation import CannotRun

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_ARGUMENTS = ("in_features", "out_features", "data_dim", "patch_size", "stride", "bias")
# What the letters of an order of axes mean, and what they are for several spatial axes.
_LETTERS = {
    "input": "b for samples, c for channels, s for all spatial axes, or s0, s1 and s2 for each",
    "output": "b for samples, c for channels, n for tokens in a sequence, g for the grid, or g0, g1 and g2",
    "weight": "o for output channels, i for input channels, t for all taps, or t0, t1 and t2",
}
_Groups = tuple[tuple[str, ...], ...]


class Order:
    """An order of axes, such as ``b c s`` or ``o (t i)``; axes in parentheses are one, whose first is the slowest."""

    def __init__(self, text: str, usual: Sequence[str], what: str, data_dim: int) -> None:
        self.usual = tuple(usual)
        self.groups: _Groups = _groups(text, data_dim)
        named = [axis for group in self.groups for axis in group]
        # An axis of size 1 may be left out.
        if len(set(named)) < len(named) or not set(named) <= set(usual):
            raise CannotRun(f"{what}={text!r} must name each axis once: {_LETTERS[what]}")
        self.left_out = [axis for axis in self.usual if axis not in named]
        self.named = named

    def apply(self, tensor: Tensor) -> Tensor:
        """A tensor in the usual order, put into this one: a view where it can be one.

        Without its first axis, where it has one fewer; as it is where it has another number of axes.
        """
        usual, groups, named, left_out = self.usual, self.groups, self.named, self.left_out
        if tensor.ndim == len(usual) - 1:
            usual, groups, named = usual[1:], groups[1:], named[1:]
        if tensor.ndim != len(usual) or any(tensor.shape[usual.index(axis)] != 1 for axis in left_out):
            return tensor
        tensor = tensor.permute([usual.index(axis) for axis in (*named, *left_out)])
        for _ in left_out:
            tensor = tensor.squeeze(-1)
        for place, group in enumerate(groups):
            if len(group) > 1:
                tensor = tensor.flatten(place, place + len(group) - 1)
        return tensor

    def undo(self, tensor: Tensor, sizes: dict[str, int]) -> Tensor:
        """A tensor in this order, put into the usual one; as it is where it has other sizes."""
        if tensor.ndim != len(self.groups):
            return tensor
        for place, group in reversed(list(enumerate(self.groups))):
            if len(group) > 1:
                along = [sizes[axis] for axis in group]
                if tensor.shape[place] != math.prod(along):
                    return tensor
                tensor = tensor.unflatten(place, along)  # type: ignore[no-untyped-call]
        for _ in self.left_out:
            tensor = tensor.unsqueeze(-1)
        now = [*self.named, *self.left_out]
        return tensor.permute([now.index(axis) for axis in self.usual])


def _groups(text: str, data_dim: int) -> _Groups:
    """The axes of an order, those in parentheses together; a letter for all spatial axes stands for each of them."""
    found: list[tuple[str, ...]] = []
    together: list[str] | None = None
    for word in text.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(":
            together = []
        elif word == ")":
            found.append(tuple(together or ()))
            together = None
        else:
            axes = [f"{word}{axis}" for axis in range(data_dim)] if word in ("s", "g", "t") else [word]
            # Tokens in a sequence are those of the grid, one row after another.
            axes = [f"g{axis}" for axis in range(data_dim)] if word == "n" else axes
            if together is not None:
                together += axes
            else:
                found += [tuple(axes)] if word == "n" else [(axis,) for axis in axes]
    return tuple(found)


def axes_of(text: str, data_dim: int) -> list[str]:
    """The axes of an order, those in parentheses under the name of the first."""
    return [group[0] for group in _groups(text, data_dim)]


class Adapted(nn.Module):
    """A layer of another shape in Patchify's: ``[B, *s, C_in]`` to ``[B, *g, C_out]``, with its parameters in ``conv``.

    It holds them in the form of a convolution's, and hands them to the layer in the layer's own at every call.
    """

    def __init__(self, adapter: "Adapter", inner: Any, spec: dict[str, Any]) -> None:
        super().__init__()
        data_dim, patch_size = spec["data_dim"], spec["patch_size"]
        self.data_dim, self.patch_size = data_dim, patch_size
        self.stride = patch_size if spec["stride"] is None else spec["stride"]
        axes = range(data_dim)
        usual = {
            "input": ("b", *(f"s{axis}" for axis in axes), "c"),
            "output": ("b", *(f"g{axis}" for axis in axes), "c"),
            "weight": ("o", "i", *(f"t{axis}" for axis in axes)),
        }
        self.orders = {what: Order(getattr(adapter, what), usual[what], what, data_dim) for what in usual}
        self.names, self.take, self.skip = adapter.names, adapter.take, adapter.skip
        self.conv = _CONVOLUTIONS[data_dim](
            spec["in_features"], spec["out_features"], patch_size, self.stride, bias=spec["bias"]
        )
        # Not a module of this one: its parameters are those of conv, in another form.
        self.inner = (inner,)
        if isinstance(inner, nn.Module):
            self._take_parameters(inner, adapter.zeroed)

    def _take_parameters(self, inner: nn.Module, zeroed: Sequence[str]) -> None:
        """Begin with the layer's own values, and show the parameters that it has beside weight and bias."""
        theirs = dict(inner.named_parameters())
        sizes = dict(zip(self.orders["weight"].usual, self.conv.weight.shape, strict=True))
        with torch.no_grad():
            for name, form in self._forms().items():
                if name not in theirs:
                    raise CannotRun(f"the layer has no parameter {name!r}; it has {', '.join(theirs) or 'none'}")
                own = theirs.pop(name)
                if own.shape != form.shape:
                    raise TypeError(f"{name} has shape {list(own.shape)}, and {list(form.shape)} was asked for")
                if name == self.names[0]:
                    self.conv.weight.copy_(self.orders["weight"].undo(own, sizes))
                elif self.conv.bias is not None:
                    self.conv.bias.copy_(own)
            for name in zeroed:
                theirs.pop(name).zero_()
        # Whatever else is trained is told (C3).
        self.others = nn.ParameterDict({name.replace(".", "_"): parameter for name, parameter in theirs.items()})

    def _forms(self) -> dict[str, Tensor]:
        """The parameters as the layer wants them, by its names."""
        weight, bias = self.names
        found = {weight: self.orders["weight"].apply(self.conv.weight)}
        return found if self.conv.bias is None else {**found, bias: self.conv.bias}

    def forward(self, x: Tensor) -> Any:
        """The layer's tokens, or whatever else it returns."""
        (inner,) = self.inner
        given = self.orders["input"].apply(x)
        if isinstance(inner, nn.Module):
            found = functional_call(inner, self._forms(), (given,))
        else:
            found = inner(given, self._forms()[self.names[0]], self.conv.bias)
        if self.take is not None:
            found = found[self.take]
        # What came of an input of another rank is the layer's own affair.
        if not isinstance(found, Tensor) or x.ndim != self.data_dim + 2:
            return found
        tokens = found[:, self.skip :] if self.skip else found
        grid = [(size - self.patch_size) // self.stride + 1 for size in x.shape[1:-1]]
        return self.orders["output"].undo(tokens, {f"g{axis}": count for axis, count in enumerate(grid)})

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the layer, too."""
        (inner,) = self.inner
        if isinstance(inner, nn.Module):
            inner.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        (inner,) = self.inner
        if isinstance(inner, nn.Module):
            inner._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class ByHand:
    """A function on NumPy arrays as one on tensors, with hand-written gradients where there are some.

    Args:
        forward: gives the tokens of input, weight and bias, all NumPy arrays; the bias may be None.
        backward: gives the gradients of input, weight and bias of the cotangent, input, weight and bias; None where the
            function is not differentiable.
    """

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any] | None = None) -> None:
        class Function(torch.autograd.Function):
            @staticmethod
            def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
                context.save_for_backward(x, weight, bias)
                return torch.from_numpy(forward(*map(_array, (x, weight, bias))))

            @staticmethod
            def backward(context: Any, cotangent: Tensor) -> Any:
                assert backward is not None
                with torch.no_grad():
                    found = backward(*map(_array, (cotangent, *context.saved_tensors)))
                return tuple(None if one is None else torch.from_numpy(one) for one in found)

        self.function = Function
        self.differentiable = backward is not None

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The tokens."""
        if self.differentiable:
            return self.function.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]
        with torch.no_grad():
            return self.function.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().numpy()


class Adapter:
    """An implementation made of a layer that is shaped otherwise; see ``adapt``."""

    def __init__(
        self,
        make: Callable[..., Any],
        *,
        domain: Domain,
        input: str,
        output: str,
        weight: str,
        names: tuple[str, str],
        take: Any,
        skip: int,
        zeroed: tuple[str, ...],
    ) -> None:
        self.make, self.input, self.output, self.weight = make, input, output, weight
        self.names, self.take, self.skip, self.zeroed = names, take, skip, zeroed
        self.arguments = _arguments_of(make)
        grid = domain.grid and "n" not in output.replace("(", " ").split() and "g" in output
        self.domain = replace(domain, interface=False, grid=grid)
        self._refuse_contradictions()
        self.__module__ = sys._getframe(2).f_globals.get("__name__", "__main__")

    def __call__(
        self,
        in_features: int,
        out_features: int,
        data_dim: int,
        patch_size: int,
        stride: int | None = None,
        bias: bool = True,
    ) -> Adapted:
        """Build the layer, which is asked for what it has an argument for."""
        spec = {
            "in_features": in_features,
            "out_features": out_features,
            "data_dim": data_dim,
            "patch_size": patch_size,
            "stride": stride,
            "bias": bias,
        }
        if data_dim not in DATA_DIMS:
            raise ValueError(f"data_dim must be 1, 2 or 3, got {data_dim!r}")
        effective = patch_size if stride is None else stride
        for name, fits in (
            ("data_dim", data_dim in self.domain.data_dims),
            ("stride", self.domain.takes_stride(effective, patch_size)),
            ("bias", self.domain.bias in ("either", "always" if bias else "never")),
        ):
            if name not in self.arguments and not fits:
                raise TypeError(f"{spec[name]} is no {name} of the layer, which takes none")
        inner = self.make(
            **{name: spec[name] for name in self.arguments}
            | ({"stride": effective} if "stride" in self.arguments else {})
        )
        # A function is given the bias when it is called.
        if isinstance(inner, nn.Module) and "bias" not in self.arguments and self.domain.bias == "either":
            raise _unsettled("bias")
        return Adapted(self, inner, spec)

    def _refuse_contradictions(self) -> None:
        for data_dim in self.domain.data_dims:
            axes = range(data_dim)
            for what, first, letter, last in (
                ("input", "b", "s", "c"),
                ("output", "b", "g", "c"),
                ("weight", "o", "t", "i"),
            ):
                Order(getattr(self, what), (first, *(f"{letter}{axis}" for axis in axes), last), what, data_dim)
        if "data_dim" not in self.arguments and len(self.domain.data_dims) > 1:
            raise _unsettled("data_dim")
        if "stride" not in self.arguments and self.domain.stride in ("any", "at least the patch"):
            raise _unsettled("stride")


_SETTLED = {"data_dim": "data_dims=(2,)", "stride": 'stride="patch"', "bias": 'bias="always"'}


def _unsettled(name: str) -> CannotRun:
    """What is raised where neither an argument nor the domain says something."""
    told = f"make takes no {name}, so its domain must say which one the layer has"
    return CannotRun(f"{told}: adapt(..., domain=Domain({_SETTLED[name]}))")


def _arguments_of(make: Callable[..., Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError) as error:
        raise CannotRun(
            f"adapt cannot tell which arguments {make!r} takes: give it a function that names them"
        ) from error
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return _ARGUMENTS
    unknown = [one.name for one in parameters if one.name not in _ARGUMENTS and one.default is one.empty]
    if unknown:
        raise CannotRun(f"make takes {', '.join(unknown)}; it may take some of {', '.join(_ARGUMENTS)}")
    return tuple(one.name for one in parameters if one.name in _ARGUMENTS)


def adapt(
    make: Callable[..., Any],
    *,
    domain: Domain = WHOLE,
    input: str = "b s c",
    output: str = "b g c",
    weight: str = "o i t",
    names: tuple[str, str] = ("weight", "bias"),
    take: Any = None,
    skip: int = 0,
    zeroed: Sequence[str] = (),
) -> Adapter:
    """An implementation of Patchify made of a layer that is shaped otherwise.

    ``adapt(make, input="b c s", output="b n c", names=("proj.weight", "proj.bias"), domain=Domain(data_dims=(2,)))``

    Args:
        make: builds the layer, from those of Patchify's arguments that it names. It returns a module; or a function of
            input, weight and bias, which may be ``ByHand`` for one on NumPy arrays.
        domain: what the layer is for. What an adapter stands in for (the constructor and the module, and the grid of
            tokens in a sequence) is not judged.
        input: the axes that the layer is given: ``b c s`` for channels first, ``b s0 c s1 s2`` for videos.
        output: the axes that it returns: ``b g c``, ``b c g``, or ``b n c`` for tokens in a sequence.
        weight: the axes of its weight: ``o i t`` for a convolution's, ``o (i t)`` or ``o (t i)`` for a linear one.
        names: of its weight and its bias, as ``named_parameters`` gives them.
        take: which of several results are the tokens: an index or a key.
        skip: tokens before those of the patches, such as a class token.
        zeroed: names of parameters that are set to zero, such as a position embedding: what they do is not judged.

    Raises:
        CannotRun: where these contradict each other.
    """
    return Adapter(
        make,
        domain=domain,
        input=input,
        output=output,
        weight=weight,
        names=names,
        take=take,
        skip=skip,
        zeroed=tuple(zeroed),
    )
