"""A pure function of input and parameters: no layout of the input shows, and no other layer does (C14)."""

from properties.cases.case import LAYOUTS
from properties.cases.other_layers import of_other_layers
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


@law("C14", on="drawn")
def independent_of_other_layers(trial: Trial) -> None:
    """Layers that are built and called one after another, each like this one but for one thing, are right each.

    Catches what layers share and look up by too little: caches of grids, indices, kernels and parameters.
    """
    trial.close("output values are wrong", trial.tokens, trial.expected_tokens)
    for what, case in of_other_layers(trial.case).items():
        if trial.is_for(case):
            other = Trial(case, trial.implementation, str(trial.device))
            found = other.call(other.make_layer(), other.make_input(), f"forward of a layer with {what}")
            whose = f"of a layer with {what}, called after this one,"
            tokens = trial.shaped(f"the output {whose} has the wrong shape", found, case.output_shape)
            trial.close(f"output values {whose} are wrong", tokens, other.expected_tokens)
    tokens = trial.embed(trial.layer, trial.make_input(), "forward after other layers")
    trial.close("output values are wrong after other layers were called", tokens, trial.expected_tokens)
