"""A pure function of input and parameters: no layout of the input shows (C14)."""

import torch

from properties.cases.case import LAYOUTS, SHARING
from properties.laws.law import law
from properties.trials.trial import Trial


@law("C14", on="drawn")
def same_in_every_layout(trial: Trial) -> None:
    """However the same values are stored, contiguous, sliced, transposed or with odd strides, they embed alike.

    Catches layers that read memory in order and take no notice of strides, offsets or torch's negative bit.
    """
    for layout in LAYOUTS:
        if layout in SHARING and layout != trial.case.input.layout:
            continue  # Samples that share memory have other values.
        tokens = trial.embed(trial.layer, trial.make_input(layout), f"forward of a {layout} input")
        trial.unchanged(tokens, f"change when the input is {layout}")
    # As the imaginary part of a conjugate has it: the memory holds the negative numbers.
    negated = torch._neg_view(-trial.make_input("contiguous").detach())
    tokens = trial.embed(trial.layer, negated, "forward of an input with torch's negative bit")
    trial.unchanged(tokens, "change when the input has torch's negative bit")
