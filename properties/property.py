"""A property: one function of one trial that returns a verdict; it names the clauses of the contract that it checks."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch

from properties.case import Case
from properties.compilation import Control, ViewedControl
from properties.implementation import Implementation
from properties.platform import leaks_nan, missums, missums_advice, nan_advice, past_input_advice, reads_past_input
from properties.settings import undisturbed
from properties.trial import Raised, TorchFault, Trial, Unusable
from properties.verdict import Failed, Inapplicable, Passed, Place, Verdict

LEVELS = {"C": "contract", "H": "robust"}


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
        """``contract`` for the clauses C1 to C18, ``robust`` for H1 to H8."""
        return LEVELS[self.clauses[0][0]]

    def __call__(self, trial: Trial) -> Verdict:
        """Judge a trial: on every path there is a verdict."""
        if trial.case.fill.name == "poison" and leaks_nan(trial.dtype, trial.device):
            return Inapplicable(nan_advice(trial.dtype, trial.device), torch_fault=True)
        try:
            verdict = self.judge(trial)
        except Unusable as missing:
            return Inapplicable(str(missing), torch_fault=isinstance(missing, TorchFault))
        except Raised as raised:
            return Failed(f"{raised.doing} raised an exception", observed=raised.observed, expected="no exception")
        if not isinstance(verdict, Passed | Failed | Inapplicable):
            raise TypeError(f"property {self.name} must return a verdict, got {verdict!r}")
        not_a_number = isinstance(verdict, Failed) and "nan" in (verdict.observed, verdict.expected)
        if not_a_number and reads_past_input(trial.case, trial.device):
            return Inapplicable(past_input_advice(trial.dtype, trial.device), torch_fault=True)
        if isinstance(verdict, Failed) and self._fails_for_torch(trial, verdict):
            advice = missums_advice(torch.bfloat16 if self.autocast else trial.dtype, trial.device)
            return Inapplicable(advice, torch_fault=True)
        return verdict

    def _fails_for_torch(self, trial: Trial, verdict: Failed) -> bool:
        """Whether a value is wrong where torch's own convolution is known to be, and is wrong in this place."""
        if self.on == "compiled" or not isinstance(verdict.where, Place):
            return False
        if not missums(torch.bfloat16 if self.autocast else trial.dtype, trial.device):
            return False
        for control in (ViewedControl, Control):
            with suppress(Raised, Unusable):
                if isinstance(self.judge(Trial(trial.case, control, trial.device)), Failed):
                    return True
        return False

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
