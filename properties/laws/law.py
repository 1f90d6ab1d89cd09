"""A law: one function of one trial, which raises a ``Violation`` where it does not hold."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from properties.cases.case import Case
from properties.cases.domain import NEEDS, Domain
from properties.cases.error import CaseError
from properties.contract import CLAUSES, LEVELS
from properties.trials.ending import NO_MEMORY, Broken, Raised, TorchFault, Unusable
from properties.trials.faults import fault_behind
from properties.trials.implementation import Implementation
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Inapplicable, Passed, Verdict, Violation

Owned = Literal["nothing", "clause", "everything"]
Judged = Literal["cases", "drawn", "compiled", "histories", "copies", "huge", "outside"]


# The version whose laws need not say since when they hold.
FIRST = "0.1"
# What only drawn cases are judged by needs many runs of the layer, and shows as well where they are cheap. Kernels that
# change with the size of a case are told by the laws that judge all cases.
_MOST_ELEMENTS = 2**16
_LARGE = f"a tensor of the case has more than {_MOST_ELEMENTS} elements, which other laws judge"
_NO_OTHER = "there is no other case of the kind that is to be judged beside this one"


class VacuousLaw(Exception):  # noqa: N818 - it reads as what is wrong with the harness
    """A law expected nothing of a layer, so that it could not fail: a fault of the harness."""


@dataclass(frozen=True)
class Law:
    """A named law of the contract.

    Attributes:
        name: of the function.
        clauses: those of the contract that it checks, the one that it is cited with first.
        statement: the law in a sentence, then why it must hold or what it catches.
        judge: the function.
        on: which of a run's trials it judges: all ``cases``, only the ``drawn`` ones, where it would cost much and say
            nothing new on the landmarks, only those that are ``compiled``, only ``histories``, only those with
            ``copies`` in them, only the ``huge`` ones, which only CUDA runs, or only those just ``outside`` the domain.
        needs_output: whether it says nothing where the plain forward pass gives no tensor of the right form.
        small_scope: whether it judges every small shape.
        autocast: whether it runs the layer under autocast, which is off everywhere else.
        empty_batch: whether it empties the batch of the case.
        owns: whose breakages it owns: where it fails, laws of its first clause, or all laws, say nothing. It is judged
            along with whatever of them is selected, so that none of them passes for having said nothing.
        device: the type of device that it needs, such as ``cuda``; empty where it needs none. Elsewhere it is not run.
        false_pass: how likely a wrong bilinear map is to pass on a case, where that is known.
        needs: what it needs that a domain may lack, by the names of the domain's fields.
        as_built: whether it judges the layer whatever its parameters are, or with those that it was built with.
        since: the version of the harness, such as ``0.1``, that has it first, or has it as strict as it is.
    """

    name: str
    clauses: tuple[str, ...]
    statement: str
    judge: Callable[[Trial], None]
    on: Judged = "cases"
    needs_output: bool = True
    small_scope: bool = False
    autocast: bool = False
    empty_batch: bool = False
    owns: Owned = "nothing"
    device: str = ""
    false_pass: Callable[[Case], float | None] | None = None
    needs: tuple[str, ...] = ()
    as_built: bool = False
    since: str = FIRST

    def lacks(self, domain: Domain) -> tuple[str, ...]:
        """What it needs and a domain lacks: then a layer is not judged by it."""
        needs = self.needs if self.as_built else (*self.needs, "settable")
        return tuple(name for name in domain.lacks if name in needs)

    def runs_on(self, device: str) -> bool:
        """Whether a device, such as ``cuda:1``, is of the type that this law needs."""
        return self.device in ("", device.partition(":")[0])

    @property
    def family(self) -> str:
        """The file that it stands in, such as ``values``: laws of one kind."""
        return self.judge.__module__.rpartition(".")[2]

    @property
    def level(self) -> str:
        """The level of its first clause; one that is not of the contract is somebody's own, and always judged."""
        own = self.clauses[0] not in CLAUSES
        return LEVELS[0] if own else CLAUSES[self.clauses[0]].level

    def __call__(self, trial: Trial) -> Verdict:
        """Judge a trial.

        Raises:
            VacuousLaw: where the law expected nothing.
        """
        trial.begin()
        if self.on == "drawn" and trial.case.elements > _MOST_ELEMENTS:
            return Inapplicable(_LARGE)
        try:
            if self.needs_output:
                trial.output()
            self.judge(trial)
        except Unusable as missing:
            return Inapplicable(str(missing), isinstance(missing, TorchFault), isinstance(missing, Broken))
        except CaseError:
            # What a layer raises is never this: it is ``Raised``.
            return Inapplicable(_NO_OTHER)
        except Raised as raised:
            if raised.out_of_memory:
                return Inapplicable(NO_MEMORY)
            failed = Failed(f"{raised.doing} raised an exception", observed=raised.observed, expected="no exception")
        except Violation as violation:
            failed = violation.failed
        else:
            if trial.expectations == 0 and trial.unjudged:
                return Inapplicable(trial.unjudged)
            if trial.expectations == 0:
                raise VacuousLaw(f"the law {self.name} expected nothing of {trial.case.describe()}")
            return Passed(trial.error_over_bound, self.false_pass(trial.case) if self.false_pass else None)
        fault = fault_behind(trial, failed, torch.bfloat16 if self.autocast else trial.dtype)
        return Inapplicable(fault, torch_fault=True) if fault else failed

    def judge_case(self, case: Case, implementation: Implementation, device: str = "cpu") -> Verdict:
        """Judge a case in a trial of its own, undisturbed by what ran before."""
        with undisturbed(device, tf32=case.tf32):
            return self(Trial(case, implementation, device))


def law(
    *clauses: str,
    on: Judged = "cases",
    needs_output: bool = True,
    small_scope: bool = False,
    autocast: bool = False,
    empty_batch: bool = False,
    owns: Owned = "nothing",
    device: str = "",
    false_pass: Callable[[Case], float | None] | None = None,
    needs: tuple[str, ...] = (),
    as_built: bool = False,
    since: str = FIRST,
) -> Callable[[Callable[[Trial], None]], Law]:
    """Make a law of a function of a trial, which checks the named clauses; its docstring states it."""

    def make(judge: Callable[[Trial], None]) -> Law:
        statement = (judge.__doc__ or "").strip()
        if not clauses or not statement:
            raise TypeError(f"the law {judge.__name__} must name its clauses and state itself in a docstring")
        if unknown := set(needs) - NEEDS.keys():
            raise TypeError(f"the law {judge.__name__} needs {', '.join(unknown)}, none of {', '.join(NEEDS)}")
        fields = (
            on,
            needs_output,
            small_scope,
            autocast,
            empty_batch,
            owns,
            device,
            false_pass,
            needs,
            as_built,
            since,
        )
        return Law(judge.__name__, clauses, statement, judge, *fields)

    return make
