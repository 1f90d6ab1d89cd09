"""A property: one function of one trial that returns a verdict; it names the clauses of the contract that it checks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from properties.cases.case import Case
from properties.contract import CLAUSES
from properties.trials.faults import fault_behind
from properties.trials.implementation import Implementation
from properties.trials.settings import undisturbed
from properties.trials.trial import Raised, TorchFault, Trial, Unusable
from properties.trials.verdict import Failed, Inapplicable, Passed, Verdict


@dataclass(frozen=True)
class Property:
    """A named law of the contract.

    ``on`` says which of a run's trials it judges: all ``cases``, only the ``drawn`` ones, where it would cost much and
    say nothing new on the landmarks, or only those that are ``compiled``. ``autocast`` says whether it runs the layer
    under autocast, which is off everywhere else.
    """

    name: str
    clauses: tuple[str, ...]
    law: str
    judge: Callable[[Trial], Verdict]
    on: str = "cases"
    autocast: bool = False

    @property
    def level(self) -> str:
        """The level of its first clause."""
        return CLAUSES[self.clauses[0]].level

    def __call__(self, trial: Trial) -> Verdict:
        """Judge a trial: on every path there is a verdict."""
        try:
            verdict = self.judge(trial)
        except Unusable as missing:
            return Inapplicable(str(missing), torch_fault=isinstance(missing, TorchFault))
        except Raised as raised:
            return Failed(f"{raised.doing} raised an exception", observed=raised.observed, expected="no exception")
        if not isinstance(verdict, Passed | Failed | Inapplicable):
            raise TypeError(f"property {self.name} must return a verdict, got {verdict!r}")
        if isinstance(verdict, Failed):
            fault = fault_behind(trial, verdict, torch.bfloat16 if self.autocast else trial.dtype)
            return Inapplicable(fault, torch_fault=True) if fault else verdict
        return verdict

    def judge_case(self, case: Case, implementation: Implementation, device: str = "cpu") -> Verdict:
        """Judge a case in a trial of its own, undisturbed by what ran before."""
        with undisturbed(device, tf32=case.tf32):
            return self(Trial(case, implementation, device))


def checks(
    *clauses: str, on: str = "cases", autocast: bool = False
) -> Callable[[Callable[[Trial], Verdict]], Property]:
    """Make a property of a function of a trial, which checks the named clauses; its docstring is the law."""

    def make(judge: Callable[[Trial], Verdict]) -> Property:
        law = (judge.__doc__ or "").strip()
        if not clauses or not law:
            raise TypeError(f"property {judge.__name__} must name its clauses and state its law in a docstring")
        return Property(judge.__name__, clauses, law, judge, on, autocast)

    return make
