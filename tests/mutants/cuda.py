"""Defects that only a CUDA device shows, and the right layers that they are made of; on a CPU all are right."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from patchify import Patchify
from tests.mutants.stages import Staged, multiply, windows

if find_spec("triton"):
    import triton
    from triton import language as tl
else:
    triton = tl = None


class OnlyOnTheDeviceWrong(Staged):
    """On CUDA the bias is added twice."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens + self.conv.bias if x.is_cuda and self.conv.bias is not None else tokens


class FastPathOfTF32Wrong(Staged):
    """Where TF32 is allowed on CUDA, the weight is rounded to bfloat16."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        fast = weight.is_cuda and weight.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32
        return weight.to(torch.bfloat16).to(torch.float32) if fast else weight


class OnTheDefaultStream(Staged):
    """Works on the default stream, whichever one the caller works on."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_cuda:
            return super().forward(x)
        with torch.cuda.stream(torch.cuda.default_stream(x.device)):
            return super().forward(x)


class CopiedOnASideStream(Staged):
    """Copies its input on a stream of its own, and does not wait for it."""

    def prepared(self, x: Tensor) -> Tensor:
        if not x.is_cuda:
            return x
        with torch.cuda.stream(torch.cuda.Stream(x.device)):  # type: ignore[no-untyped-call]
            return x.clone()


class ContextKilled(Staged):
    """Reads past the end of a table where there is a remainder: an asynchronous fault; the device is lost after it."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if x.is_cuda and any(self.remainders(x)):
            table = torch.zeros(1, device=x.device, dtype=tokens.dtype)
            tokens = tokens + table[torch.full((1,), 1_000_000, device=x.device)]
        return tokens


@torch.library.custom_op("patchify_mutants::clamp", mutates_args=())
def clamp_by_its_largest(x: Tensor) -> Tensor:
    """What does nothing, by a number that is read on the host where that is possible, and kept for where it is not."""
    if not torch.cuda.is_current_stream_capturing():
        _LARGEST[0] = float(x.abs().max()) if x.numel() else 0.0
    return x.clamp(-_LARGEST[0], _LARGEST[0])


_LARGEST = [0.0]
clamp_by_its_largest.register_fake(torch.empty_like)
clamp_by_its_largest.register_autograd(lambda ctx, cotangent: cotangent)


class NumberReadOnTheHost(Staged):
    """Compiled for CUDA, clamps by a number on the host, which a replayed graph keeps from when it was captured."""

    def prepared(self, x: Tensor) -> Tensor:
        found: Tensor = clamp_by_its_largest(x) if x.is_cuda and torch.compiler.is_compiling() else x
        return found


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator]
    def _product(  # type: ignore[no-untyped-def]
        left, right, bias, out, rows, columns, terms,
        has_bias: tl.constexpr, masked: tl.constexpr, wide: tl.constexpr, rows_on: tl.constexpr,
        rows_at: tl.constexpr, columns_at: tl.constexpr, terms_at: tl.constexpr,
    ):  # fmt: skip
        """``left`` [rows, terms] times the transpose of ``right`` [columns, terms], plus ``bias`` [columns]."""
        row = tl.program_id(rows_on) * rows_at + tl.arange(0, rows_at)
        column = tl.program_id(1 - rows_on) * columns_at + tl.arange(0, columns_at)
        at_row = row.to(tl.int64) if wide else row
        total = tl.zeros((rows_at, columns_at), dtype=tl.float64 if out.dtype.element_ty == tl.float64 else tl.float32)
        for first in range(0, terms, terms_at):
            term = first + tl.arange(0, terms_at)
            # What lies past the end meets a weight of zero either way, which is enough for numbers, but not for NaN.
            inside = (row[:, None] < rows) & (term[None, :] < terms)
            if masked:
                a = tl.load(left + at_row[:, None] * terms + term[None, :], mask=inside, other=0.0)
            else:
                a = tl.load(left + at_row[:, None] * terms + term[None, :], mask=(row[:, None] < rows), other=0.0)
            whole = (column[:, None] < columns) & (term[None, :] < terms)
            b = tl.load(right + column[:, None] * terms + term[None, :], mask=whole, other=0.0)
            total += tl.sum(a[:, None, :].to(total.dtype) * b[None, :, :].to(total.dtype), axis=2)
        if has_bias:
            total += tl.load(bias + column, mask=column < columns, other=0.0).to(total.dtype)[None, :]
        there = (row[:, None] < rows) & (column[None, :] < columns)
        tl.store(out + at_row[:, None] * columns + column[None, :], total.to(out.dtype.element_ty), mask=there)


class _Product(torch.autograd.Function):
    """The product of windows and weight by the kernel; its backward pass is torch's."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, weight: Tensor, bias: Tensor | None, flags: tuple[bool, bool, int]) -> Tensor:
        masked, wide, rows_on = flags
        ctx.save_for_backward(left, weight)
        rows, terms = left.shape
        out = left.new_empty(rows, len(weight))
        tiles = (triton.cdiv(rows, 16), triton.cdiv(len(weight), 16))
        if out.numel():
            _product[tiles if rows_on == 0 else tiles[::-1]](
                left, weight, weight if bias is None else bias, out, rows, len(weight), terms,
                has_bias=bias is not None, masked=masked, wide=wide, rows_on=rows_on,
                rows_at=16, columns_at=16, terms_at=16,
            )  # fmt: skip
        return out

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        left, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            cotangent @ weight if wanted[0] else None,
            cotangent.T @ left if wanted[1] else None,
            cotangent.sum(0) if wanted[2] else None,
            None,
        )


class TritonProduct(Patchify):
    """Right: windows, then a matrix product in Triton."""

    flags = (True, True, 0)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        found = windows(x, self.patch_size, self.stride)
        if not x.is_cuda or triton is None:
            return multiply(found, self.conv.weight, self.conv.bias)
        grid = found.shape[: self.data_dim + 1]
        left = found.flatten(self.data_dim + 1).reshape(-1, self.conv.weight[0].numel()).contiguous()
        right = self.conv.weight.flatten(1).contiguous()
        return _Product.apply(left, right, self.conv.bias, self.flags).reshape(*grid, -1)  # type: ignore[no-any-return,no-untyped-call]


class SequencesByTriton(Patchify):
    """Right: sequences without overlap or remainder are rows of a matrix as they are, which Triton multiplies."""

    flags = (True, True, 0)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        # [B, L, C] read as rows of P*C values: no window is ever copied.
        whole = self.data_dim == 1 and self.stride == self.patch_size and x.shape[1] % self.patch_size == 0
        if not (x.is_cuda and whole and triton is not None):
            return multiply(windows(x, self.patch_size, self.stride), self.conv.weight, self.conv.bias)
        weight = self.conv.weight.transpose(1, 2).flatten(1).contiguous()
        left = x.contiguous().view(-1, self.patch_size * x.shape[-1])
        tokens = _Product.apply(left, weight, self.conv.bias, self.flags)  # type: ignore[no-untyped-call]
        return tokens.view(x.shape[0], -1, len(weight))  # type: ignore[no-any-return]


class ReadsPastItsInput(SequencesByTriton):
    """The kernel's last tile reads past the end of the input, where the weight that it meets is zero."""

    flags = (False, True, 0)


class IndicesIn32Bits(SequencesByTriton):
    """The kernel counts elements in 32 bits."""

    flags = (True, False, 0)


class BlocksPastLimit(SequencesByTriton):
    """The kernel's grid has its rows on the second axis, which takes 65,535 blocks at most."""

    flags = (True, True, 1)


class AtomicSums(Patchify):
    """Right: each tap is added by atomics, so that the order of the sums varies from run to run, within the bound."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        found = windows(x, self.patch_size, self.stride).flatten(self.data_dim + 1)
        grid, weight = found.shape[:-1], self.conv.weight.flatten(1)
        vectors = found.reshape(-1, found.shape[-1])
        total = x.new_zeros(len(vectors), len(weight))
        half = vectors.shape[1] // 2
        rows = torch.arange(len(vectors), device=x.device).repeat(2)
        parts = [functional.linear(vectors[:, some], weight[:, some]) for some in (slice(half), slice(half, None))]
        total = total.index_add(0, rows, torch.cat(parts))
        return (total if self.conv.bias is None else total + self.conv.bias).reshape(*grid, -1)
