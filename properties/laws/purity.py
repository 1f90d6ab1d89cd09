"""A pure function of input and parameters: no layout of the input shows (C14)."""

from properties.cases.case import LAYOUTS, SHARING
from properties.laws.law import law
from properties.trials.trial import Trial


@law("C14", on="drawn")
def same_in_every_layout(trial: Trial) -> None:
    """However the same values are stored, contiguous, sliced, transposed or with odd strides, they embed alike.

    Catches layers that read memory in order and take no notice of strides or offsets.
    """
    for layout in LAYOUTS:
        if layout in SHARING and layout != trial.case.input.layout:
            continue  # Samples that share memory have other values.
        tokens = trial.embed(trial.layer, trial.make_input(layout), f"forward of a {layout} input")
        trial.unchanged(tokens, f"change when the input is {layout}")
