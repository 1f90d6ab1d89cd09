"""``verify_instance``: one layer that is built, with its own weights; copies are judged."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from properties import CannotRun, Report, verify, verify_instance

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
