"""A pure function of input and parameters: no layout of the input shows (C14)."""

from properties.cases.case import LAYOUTS
from properties.laws.law import law
from properties.trials.trial import Trial


@law("C14", on="drawn")
def same_in_every_layout(trial: Trial) -> None:
    """However the same values are stored, contiguous, sliced, transposed or with odd strides, they embed alike.

    Catches layers that read memory in order and take no notice of strides or offsets.
    """
    for layout in LAYOUTS:
        if layout == "expanded" and trial.case.input.layout != "expanded":
            continue  # An expanded batch repeats one sample: other values.
        tokens = trial.embed(trial.layer, trial.make_input(layout), f"forward of a {layout} input")
        trial.unchanged(tokens, f"change when the input is {layout}")
