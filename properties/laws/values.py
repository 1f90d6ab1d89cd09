"""What the tokens are: one linear map of every window (C7, C9, C10)."""

from dataclasses import replace

from properties.cases.fill import miss_probability
from properties.laws.law import checks
from properties.trials.comparison import compare_bounded, compare_exact
from properties.trials.trial import Trial
from properties.trials.verdict import Passed, Verdict

_WHAT = "output values differ from unfold + matmul"


@checks("C7", "C9", "C10")
def values_exact(trial: Trial) -> Verdict:
    """On integers, every output value equals unfold + matmul + bias, bit for bit.

    No correct evaluation rounds there, whatever its order, so a single wrong, missing or doubled product shows.
    """
    verdict = compare_exact(_WHAT, trial.tokens, trial.expected_tokens, "output")
    return (
        replace(verdict, miss=miss_probability(trial.case, gradient=False)) if isinstance(verdict, Passed) else verdict
    )


@checks("C7", "C9", "C10")
def values_bounded(trial: Trial) -> Verdict:
    """On real numbers, every output value is within the rounding bound of unfold + matmul + bias.

    Catches lost precision: operands or partial sums that are kept in fewer bits than the dtype has.
    """
    return compare_bounded(_WHAT, trial.tokens, trial.expected_tokens, "output")
