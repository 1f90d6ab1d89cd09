"""``verify_instance``: one layer that is built, with its own weights; copies are judged."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from properties import CannotRun, Domain, Report, verify, verify_instance

ONLY = ("values_exact", "right_as_built", "weight_gradient_exact", "right_after_any_history")


class Trained(nn.Module):
    """A linear layer that took the place of a convolution; tokens in a sequence."""

    def __init__(self, *, swapped: bool = False, wide: int = 0) -> None:
        super().__init__()
        self.linear, self.swapped, self.wide = nn.Linear(3 * 4 * 4, 5), swapped, wide

    def forward(self, x: Tensor) -> Tensor:
        patches = x.unfold(2, 4, 4).unfold(3, 4, 4).movedim(1, 3)
        tokens: Tensor = self.linear((patches.mT if self.swapped else patches).flatten(3)).flatten(1, 2)
        # What only images as wide as the example show.
        return tokens.relu() if x.shape[3] == self.wide else tokens


def check(module: nn.Module, **changes: Any) -> Report:
    shown = {"output": "b n c", "weight": "o (i t)", "seed": 7, "cases": 6, "strength": 0, "only": ONLY}
    return verify_instance(module, torch.zeros(2, 3, 24, 36), **{"scope_sample": 20, **shown, **changes})


def test_a_right_one_passes_and_stays_as_it_is() -> None:
    module = Trained().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    report = check(module)
    assert report.passed, report.verdict_line
    assert report.landmarks == ("the example, exact, float32", "the example, real, float32")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not module.training
    assert module.linear.weight.grad is None


def test_taps_in_another_order() -> None:
    (failure, *_) = check(Trained(swapped=True)).failures
    assert failure.property in ("right_as_built", "values_exact")
    assert failure.case.spec.in_features == 3


def test_wrong_at_the_size_of_the_example_alone() -> None:
    failures = check(Trained(wide=36), cases=0, shrink=False, scope_sample=5000, only=["values_exact"]).failures
    assert [failure.case.input.sizes for failure in failures] == [(24, 36)]


def test_a_convolution_needs_nothing_to_be_told() -> None:
    report = verify_instance(nn.Conv1d(2, 3, 4, 2), torch.zeros(1, 2, 21), cases=6, strength=0, only=ONLY, seed=7)
    assert report.passed, report.verdict_line
    (case, *_) = report.plan.examples.values()
    assert (case.spec.patch_size, case.spec.effective_stride, case.grid) == (4, 2, (9,))


class Rounded(nn.Module):
    """A convolution whose weights are rounded to 8 bits, and cannot be set; with ``wrong``, one channel to fewer."""

    def __init__(self, reference: nn.Conv2d, *, wrong: bool = False) -> None:
        super().__init__()
        weight = reference.weight.detach()
        step = weight.abs().amax((1, 2, 3), keepdim=True) / 127
        step[1] *= 16 if wrong else 1
        self.values = ((weight / step).round() * step, reference.bias.detach() if reference.bias is not None else None)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, *self.values, stride=4)


def beside(module: Any, reference: nn.Module, **changes: Any) -> Report:
    """Verify a layer whose parameters cannot be set."""
    asked = {"seed": 7, "cases": 6, "strength": 0, "scope_sample": 20, "shrink": False, **changes}
    return verify_instance(module, torch.zeros(2, 3, 24, 36), reference=reference, **asked)


def test_rounded_weights_are_judged_by_a_bound_that_follows_from_their_bits() -> None:
    reference = nn.Conv2d(3, 5, 4, 4)
    report = beside(Rounded(reference), reference, weight_bits=8)
    assert report.passed, report.verdict_line
    assert "what comes of weights that are rounded to 8 bits" in report.by_declaration[0]
    for module, bits in ((Rounded(reference), None), (Rounded(reference), 12), (Rounded(reference, wrong=True), 8)):
        failures = beside(module, reference, weight_bits=bits).failures
        assert [failure.property for failure in failures] == ["right_as_built"]


def test_quantized_by_torch() -> None:
    """Weights and inputs are rounded to 8 bits, inputs to 7 where torch leaves one for its sums."""
    reference = nn.Conv2d(3, 5, 4, 4)

    class Quantized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            linear = nn.Linear(48, 5)
            linear.load_state_dict(reference.state_dict() | {"weight": reference.weight.detach().flatten(1)})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                warnings.simplefilter("ignore", UserWarning)
                quantize: Any = torch.ao.quantization.quantize_dynamic
                self.quantized = quantize(nn.Sequential(linear), {nn.Linear})

        def forward(self, x: Tensor) -> Tensor:
            tokens: Tensor = self.quantized(x.unfold(2, 4, 4).unfold(3, 4, 4).movedim(1, 3).flatten(3))
            return tokens.movedim(-1, 1)

    report = beside(Quantized(), reference, weight_bits=8, input_bits=7)
    assert report.passed, report.verdict_line


def test_what_is_no_module_beside_the_layer_that_it_replaced() -> None:
    reference = nn.Conv2d(3, 5, 4, 4)
    weight, bias = (one.detach().numpy() for one in reference.parameters())

    def embedded(x: Tensor) -> Tensor:
        batch, channels, *sizes = x.shape
        height, width = (size // 4 for size in sizes)
        inside = x.detach().numpy()[:, :, : 4 * height, : 4 * width]
        patches = inside.reshape(batch, channels, height, 4, width, 4).transpose(0, 2, 4, 1, 3, 5)
        tokens = patches.reshape(batch, height, width, -1) @ weight.reshape(5, -1).T + bias
        return torch.from_numpy(tokens.transpose(0, 3, 1, 2).copy())

    report = beside(embedded, reference)
    assert report.passed, report.verdict_line
    assert report.checks["right_as_built"] > 5
    assert any("since it has no gradients" in line for line in report.by_declaration)
    (failure, *_) = beside(lambda x: embedded(x.flip(1)), reference).failures
    assert failure.property == "right_as_built"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(reference)
    assert beside(scripted, reference).passed


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch, about itself
def test_an_exported_program_at_its_size() -> None:
    reference = nn.Conv2d(3, 5, 4, 4)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(reference, (torch.zeros(2, 3, 24, 36),), dynamic_shapes=({0: batch},))
    one_size = Domain(data_dims=(2,), sizes=(24, 36))
    report = beside(program.module(), reference, domain=one_size)
    assert report.passed, report.verdict_line
    assert any("sizes other than 24 x 36" in line for line in report.by_declaration)
    assert not beside(program.module(), nn.Conv2d(3, 5, 4, 4), domain=one_size).passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 8}, "weight_bits and input_bits are about a layer beside its reference: give that, too"),
        ({"reference": 3}, "reference must be a torch.nn.Module that is built, got int"),
        ({"reference": nn.Conv2d(3, 5, 4, 4), "weight_bits": 1}, "weight_bits must be a number from 2 to 16, got 1"),
    ],
)
def test_references_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotRun, match=message):
        verify_instance(nn.Conv2d(3, 5, 4, 4), torch.zeros(1, 3, 8, 8), **options)


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (lambda x: x, torch.zeros(1, 3, 8, 8), "module must be a torch.nn.Module that is built, got function"),
        (
            nn.BatchNorm2d(3),
            torch.zeros(1, 3, 8, 8),
            "names must say which of its parameters are weight and",
        ),
        (
            nn.Conv2d(3, 4, (2, 3)),
            torch.zeros(1, 3, 8, 8),
            r"weight has shape \[4, 3, 2, 3\], which is no patch of",
        ),
        (nn.Conv2d(3, 4, 4), torch.zeros(8), "example_input has 1 axes"),
        (nn.Conv2d(3, 4, 4), torch.zeros(1, 3, 3, 8), "the example is none that can be judged: input.sizes"),
    ],
)
def test_what_cannot_be_told_is_refused(module: Any, example: Tensor, message: str) -> None:
    with pytest.raises(CannotRun, match=message):
        verify_instance(module, example)


def test_what_is_built_is_no_implementation() -> None:
    with pytest.raises(CannotRun, match=r"Conv2d is built already: give what builds it, or verify_instance\(module"):
        verify(nn.Conv2d(3, 4, 2))
