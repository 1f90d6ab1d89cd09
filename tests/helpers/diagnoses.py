"""What is found out about every mutant, on its stored case.

``python -m tests.helpers.diagnoses`` prints every cause, and the share of the mutants whose evidence is that which is
declared beside them; names as arguments choose some.
"""

import sys
import time
from dataclasses import dataclass
from functools import cache

from properties.cases.case import Case
from properties.diagnosis import Evidence, diagnose, sentence
from properties.trials.verdict import Failed
from tests.helpers.mutant_cases import BY_NAME, judge, load_cases
from tests.mutants import MUTANTS, Mutant

# Histories say themselves what is wrong.
EXPLAINED = tuple(mutant for mutant in MUTANTS if not load_cases()[mutant.name].history)


@dataclass(frozen=True)
class Diagnosis:
    """A mutant, its case, and the evidence that was found."""

    mutant: Mutant
    case: Case
    evidence: Evidence | None

    @property
    def id(self) -> str | None:
        """That of the evidence."""
        return None if self.evidence is None else self.evidence.id

    @property
    def as_declared(self) -> bool:
        """Whether it is what a reader would want."""
        return self.id == self.mutant.evidence

    @property
    def cause(self) -> str:
        """In words."""
        return "" if self.evidence is None else sentence(self.evidence, self.case)


@cache
def diagnosis_of(mutant: Mutant) -> Diagnosis:
    """What is found out about a mutant."""
    prop, case = BY_NAME[mutant.detected_by], load_cases()[mutant.name]
    verdict = judge(mutant, prop, case)
    assert isinstance(verdict, Failed), (mutant.name, verdict)
    return Diagnosis(mutant, case, diagnose(prop, case, verdict, mutant.layer))


def share(diagnoses: list[Diagnosis]) -> tuple[int, int]:
    """How many of the mutants that have an evidence declared get it, and how many those are."""
    declared = [found for found in diagnoses if found.mutant.evidence is not None]
    return sum(found.as_declared for found in declared), len(declared)


def main(names: list[str]) -> None:
    """Print every cause, those that are not as declared marked."""
    begun, found = time.process_time(), []
    for mutant in EXPLAINED:
        if not names or any(name in mutant.name for name in names):
            found.append(diagnosis_of(mutant))
            wanted = "" if found[-1].as_declared else f", declared {mutant.evidence}"
            print(f"{mutant.name} [{found[-1].id}{wanted}]: {found[-1].cause}", flush=True)
    right, declared = share(found)
    print(f"{right} of {declared} as declared, {time.process_time() - begun:.0f} CPU seconds")


if __name__ == "__main__":
    main(sys.argv[1:])
