"""What the tokens are: one linear map of every window (C7, C9, C10)."""

from functools import partial

from properties.cases.fill import false_pass_probability
from properties.laws.law import law
from properties.trials.comparison import EXACT, ROUNDED
from properties.trials.trial import Trial

_WHAT = "output values differ from unfold + matmul"


@law("C7", "C9", "C10", small_scope=True, false_pass=partial(false_pass_probability, gradient=False))
def values_exact(trial: Trial) -> None:
    """On integers, every output value equals unfold + matmul + bias, bit for bit.

    No correct evaluation rounds there, whatever its order, so a single wrong, missing or doubled product shows.
    """
    trial.close(_WHAT, trial.tokens, trial.expected_tokens, which=EXACT)


@law("C7", "C9", "C10")
def values_bounded(trial: Trial) -> None:
    """On real numbers, every output value is within the rounding bound of unfold + matmul + bias.

    Catches lost precision: operands or partial sums that are kept in fewer bits than the dtype has.
    """
    trial.close(_WHAT, trial.tokens, trial.expected_tokens, which=ROUNDED)
