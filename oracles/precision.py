"""What each floating-point dtype holds, by the dtype's name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """What bounds the rounding in one floating-point dtype."""

    significant_bits: int
    smallest_subnormal: float

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of one rounding to nearest, ``u = 2**-p``."""
        return 2.0**-self.significant_bits

    @property
    def exact_limit(self) -> float:
        """Every integer of at most this magnitude is representable, ``2**p``."""
        return 2.0**self.significant_bits


PRECISIONS = {
    "float64": Precision(53, 2.0**-1074),
    "float32": Precision(24, 2.0**-149),
    "float16": Precision(11, 2.0**-24),
    "bfloat16": Precision(8, 2.0**-133),
}
# The tensor cores' reading of a float32 operand: 11 significant bits, but what is beyond them may be cut off instead of
# rounded, which costs one more.
TF32 = Precision(10, 2.0**-136)
