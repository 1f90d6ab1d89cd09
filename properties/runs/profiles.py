"""How much a run does, by the name of its profile."""

from dataclasses import dataclass

DEFAULT_STRENGTH = 2


@dataclass(frozen=True)
class Profile:
    """How much a run does: what it gives the arguments of ``verify`` that are called so."""

    cases: int
    strength: int
    scope_sample: int = 1
    compile: bool = True

    @property
    def words(self) -> str:
        """What it does, for a person."""
        levels = {0: "", 2: ", every pair of levels", 3: ", every triple of levels"}[self.strength]
        scope = "" if self.scope_sample == 1 else f", one of {self.scope_sample} small shapes"
        return f"{self.cases:,} random cases{levels}{scope}{'' if self.compile else ', nothing compiled'}"


PROFILES = {
    "smoke": Profile(60, 0, scope_sample=20, compile=False),
    "quick": Profile(300, DEFAULT_STRENGTH),
    "ci": Profile(3_000, 3),
    "nightly": Profile(50_000, 3),
}
DEFAULT_PROFILE = "quick"
