"""What a call could change of a tensor that it is given, beside its values."""

from torch import Tensor


def state(x: Tensor) -> dict[str, object]:
    """What a tensor is and what hangs on it, by name; a call that changes none of its arguments leaves all of it."""
    return {
        "shape": list(x.shape),
        "layout": list(x.stride()),
        "dtype": x.dtype,
        "requires_grad": x.requires_grad,
        # What is written in place counts, even where it is put back: graphs that hold the tensor are lost.
        "version": 0 if x.is_inference() else x._version,
        "set of attributes": sorted(vars(x)),
        "number of hooks": len(x._backward_hooks or ()),
    }
