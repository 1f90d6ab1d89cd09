"""The counter-based generator that all tensor values come from: the same bits on every machine, device and release.

NumPy's Philox gives the raw 64-bit words, which its compatibility policy fixes; the key and the arithmetic on the words
are ours. Changing anything here changes what committed cases mean, so it takes a new ``VERSION``.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

VERSION = 1


def words(seed: int, name: str, count: int) -> NDArray[np.uint64]:
    """``count`` raw words of the stream that belongs to a data seed and a tensor's name."""
    digest = hashlib.sha256(f"patchify-harness/{VERSION}/{seed}/{name}".encode()).digest()
    key = [int.from_bytes(digest[i : i + 8], "little") for i in (0, 8)]
    return np.random.Philox(key=np.array(key, dtype=np.uint64)).random_raw(count)


def integers(seed: int, name: str, count: int, low: int, high: int) -> NDArray[np.int64]:
    """Integers from ``low`` to ``high`` inclusive.

    Uniform up to a bias of ``(high - low + 1) / 2**64``, which is what taking a remainder costs.
    """
    return (words(seed, name, count) % np.uint64(high - low + 1)).astype(np.int64) + low


def chosen(seed: int, name: str, count: int, most: int) -> NDArray[np.bool_]:
    """A mask with ``min(most, count)`` places set, every choice of places equally likely."""
    mask = np.zeros(count, dtype=bool)
    mask[np.argsort(words(seed, f"{name}/chosen", count), kind="stable")[:most]] = True
    return mask
