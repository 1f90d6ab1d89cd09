"""Every small shape, one by one: what holds for all of them is a statement, not a sample.

Each shape is a trial with random integers, forward and backward, which no wrong bilinear map survives but by chance
(see ``properties.cases.fill.false_pass_probability``).
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice, product

from properties.cases.case import Backward, Case, Fill, Input, Spec
from properties.cases.domain import WHOLE, Domain

# By data_dim: the largest patch, stride and size.
_BOUNDS = {1: (8, 10, 32), 2: (4, 5, 12), 3: (3, 4, 8)}


def bounds(data_dim: int, margin: int) -> tuple[int, int, int]:
    """The largest patch, stride and size of the small scope, each ``margin`` more than the least that is checked."""
    patch_size, stride, size = _BOUNDS[data_dim]
    return patch_size + margin, stride + margin, size + margin


@cache
def count(data_dim: int, margin: int = 0, domain: Domain = WHOLE) -> int:
    """The shapes of the small scope that are in a domain."""
    if domain != WHOLE:
        return sum(domain.takes_shape(*shape) for shape in shapes(data_dim, *bounds(data_dim, margin)))
    most_patch, most_stride, most_size = bounds(data_dim, margin)
    of_stride: int = sum((most_size - patch_size + 1) ** data_dim for patch_size in range(1, most_patch + 1))
    return most_stride * of_stride


def small_scope(
    data_dim: int, dtypes: Sequence[str], margin: int = 0, places: range | None = None, domain: Domain = WHOLE
) -> Iterator[Case]:
    """A case for every spec and size up to the bounds, in the most precise of the dtypes.

    Args:
        data_dim: the number of spatial axes.
        dtypes: what to choose the dtype from.
        margin: how much each bound is raised.
        places: which of the shapes, by their number; None means all.
        domain: what the layer is for.
    """
    dtype = next(name for name in ("float64", "float32", "float16", "bfloat16") if name in dtypes)
    inside = (shape for shape in shapes(data_dim, *bounds(data_dim, margin)) if domain.takes_shape(*shape))
    places = range(count(data_dim, margin, domain)) if places is None else places
    for patch_size, stride, sizes in islice(inside, places.start, places.stop, places.step):
        spec = Spec(2, 3, data_dim, patch_size, stride)
        wanted = Backward(("input", "weight"), "random")
        # Of a shape of the domain it changes nothing but the channels, the bias and the gradients.
        yield domain.nearest(Case(spec, Input(2, sizes, dtype), Fill("exact", 1000), backward=wanted))


def shapes(
    data_dim: int, most_patch: int, most_stride: int, most_size: int
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Patch size, stride and sizes of every shape up to the bounds."""
    for patch_size, stride in product(range(1, most_patch + 1), range(1, most_stride + 1)):
        for sizes in product(range(patch_size, most_size + 1), repeat=data_dim):
            yield patch_size, stride, sizes
