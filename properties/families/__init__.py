"""The properties, one file per family."""

from properties.families import gradients, interface, purity, rejection, shape, uncovered, values
from properties.property import Property

PROPERTIES: tuple[Property, ...] = (
    interface.constructs,
    interface.rejects_data_dim,
    interface.holds_conv,
    interface.default_initialisation,
    shape.runs_forward,
    shape.returns_tensor,
    shape.grid_shape,
    shape.default_stride_grid,
    values.values_exact,
    values.values_bounded,
    uncovered.uncovered_pixels_ignored,
    uncovered.uncovered_gradient_zero,
    gradients.runs_backward,
    gradients.input_gradient_exact,
    gradients.input_gradient_bounded,
    gradients.weight_gradient_exact,
    gradients.weight_gradient_bounded,
    gradients.bias_gradient_exact,
    gradients.bias_gradient_bounded,
    purity.same_on_second_call,
    purity.same_in_eval_mode,
    purity.same_without_grad,
    purity.same_in_every_layout,
    purity.arguments_unchanged,
    rejection.rejects_bad_arguments,
    rejection.rejects_wrong_rank,
    rejection.rejects_wrong_channels,
    rejection.rejects_small_sizes,
)
