"""What a diagnosis is made of: right layers are measured right, cases grow, probes are bounded, words come last."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchify import Patchify
from properties.cases.case import COTANGENTS, PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.diagnosis import diagnose, explain
from properties.diagnosis.changes import some
from properties.diagnosis.evidence import GRADIENTS, LEVELS, OUTPUT, Evidence, Only, View
from properties.diagnosis.growth import grow
from properties.diagnosis.hypotheses import HYPOTHESES
from properties.diagnosis.probe import MOST_PROBES, Measured, Spent, Subject
from properties.diagnosis.windows import wrong_windows
from properties.diagnosis.words import number, sentence
from properties.trials.verdict import Failed
from tests.correct import CORRECT
from tests.helpers import misbehaving
from tests.helpers.mutant_cases import BY_NAME

RIGHT_CASES = (
    Case(Spec(2, 3, 1, 3, 2, bias=True), Input(3, (12,)), backward=Backward(PARAMETERS_AND_INPUT, "random")),
    Case(Spec(3, 2, 2, 2, 3, bias=True), Input(2, (9, 7)), backward=Backward(PARAMETERS_AND_INPUT, "random")),
    Case(Spec(2, 2, 3, 2, 1, bias=True), Input(2, (3, 4, 5)), backward=Backward(PARAMETERS_AND_INPUT, "random")),
)
SMALL = Case(Spec(2, 2, 1, 2, 3, bias=True), Input(2, (9,)), Fill("exact", 3))
FAILED = Failed("something", observed="1", expected="2")


@pytest.mark.parametrize("case", RIGHT_CASES, ids=lambda case: f"{case.spec.data_dim}D")
@pytest.mark.parametrize("layer", CORRECT, ids=lambda layer: layer.__name__)
def test_nothing_is_wrong_with_right_layers(layer: type[nn.Module], case: Case) -> None:
    subject = Subject(BY_NAME["values_exact"], layer)

    for of in (OUTPUT, *GRADIENTS):
        seen = subject.observe(View(of), case)
        assert len(seen) == 4
        assert all(one.is_right for one in seen)
    measured = Measured(subject, View(), case, subject.observe(View(), case))
    assert list(wrong_windows(measured)) == []
    for about in ("arguments", "start", "refusal"):
        for hypothesis in HYPOTHESES:
            if about in hypothesis.of:
                assert list(hypothesis.predict(Measured(subject, View(about), case))) == []


def test_a_prediction_that_is_right_explains_nothing() -> None:
    class Doubled(Patchify):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    (*_, seen) = Subject(BY_NAME["values_exact"], Doubled).observe(View(), SMALL)
    assert not seen.is_right
    assert seen.explained_by(2 * seen.given.right)
    assert not seen.explained_by(seen.given.right)
    assert not seen.explained_by(torch.full_like(seen.given.right, torch.nan))


def test_cases_grow_in_every_respect_but_their_axes() -> None:
    grown = grow(Case(), lambda case: True)

    assert grown.spec.data_dim == 1
    assert grown.spec.bias
    assert min(grown.spec.in_features, grown.spec.patch_size, grown.input.batch, *grown.grid) >= 3


def test_cases_stay_as_small_as_they_must() -> None:
    assert grow(Case(), lambda case: case.input.batch == 1).input.batch == 1


def test_what_does_not_fail_again_is_said_to_be_unsteady() -> None:
    evidence = diagnose(BY_NAME["values_exact"], SMALL, FAILED, Patchify)
    assert evidence is not None
    assert evidence.id == "unsteady"


def test_what_nothing_fits_is_said_plainly() -> None:
    class Scrambled(Patchify):
        """No hypothesis is about this."""

        def forward(self, x: Tensor) -> Tensor:
            tokens: Tensor = super().forward(x)
            return tokens + (tokens * 1.7).sin() * (tokens.flip(1).cos() + tokens.roll(1, -1))

    prop = BY_NAME["values_exact"]
    verdict = prop.judge_case(SMALL, Scrambled, "cpu")
    assert isinstance(verdict, Failed)
    evidence = diagnose(prop, SMALL, verdict, Scrambled)
    assert evidence is not None
    # What was measured is true, or nothing is said to be found.
    assert evidence.id in ("unknown", "not_linear", "reads_outside")


def test_probes_are_bounded() -> None:
    class Counted(Patchify):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Counted.calls += 1
            return super().forward(x) + x.sum() ** 2

    prop = BY_NAME["values_exact"]
    verdict = prop.judge_case(SMALL, Counted, "cpu")
    assert isinstance(verdict, Failed)
    Counted.calls = 0
    diagnose(prop, SMALL, verdict, Counted)
    assert 0 < Counted.calls <= MOST_PROBES + 1
    with pytest.raises(Spent):
        Subject(prop, Counted, left=0).look(View(), SMALL)


@pytest.mark.parametrize("name", ["values_exact", "runs_forward", "input_gradient_exact", "constructs", "holds_conv"])
@pytest.mark.parametrize(
    "layer",
    [
        layer
        for layer in vars(misbehaving).values()
        if isinstance(layer, type) and layer.__module__ == misbehaving.__name__ and layer is not misbehaving.Interrupted
    ],
    ids=lambda layer: layer.__name__,
)
def test_nothing_that_a_layer_does_is_raised(layer: Any, name: str) -> None:
    case = Case(SMALL.spec, SMALL.input, SMALL.fill, backward=Backward(PARAMETERS_AND_INPUT, "random"))
    verdict = BY_NAME[name].judge_case(case, layer, "cpu")

    for failed in (FAILED, *([verdict] if isinstance(verdict, Failed) else [])):
        assert "\n" not in explain(BY_NAME[name], case, failed, layer)


def test_the_result_of_a_layer_may_be_anything() -> None:
    for give in (
        lambda y: y.sum(), lambda y: y[..., 0], lambda y: y[:, :0], lambda y: y.new_empty(0), lambda y: y[None, None],
        lambda y: y * torch.nan, lambda y: y * torch.inf, lambda y: y.expand(2, *y.shape), lambda y: y.long().double(),
    ):  # fmt: skip

        class Strange(Patchify):
            def forward(self, x: Tensor, give: Any = give) -> Tensor:
                given: Tensor = give(super().forward(x))
                return given

        for name in ("values_exact", "grid_shape"):
            verdict = BY_NAME[name].judge_case(SMALL, Strange, "cpu")
            if isinstance(verdict, Failed):
                assert explain(BY_NAME[name], SMALL, verdict, Strange)


# For every kind of evidence its parameters, and how it reads.
FORMS: dict[str, tuple[dict[str, object], str]] = {
    "random": ({}, "it is random: two runs on the same data differ"),
    "gradient_missing": ({}, "no gradient reaches it"),
    "output_axes": ({"how": "the channels come first"}, "its axes are others: the channels come first"),
    "bias_missing": ({}, "the bias is not added"),
    "bias_repeated": ({"times": 2.0}, "the bias is added twice"),
    "bias_on_some": ({"where": "the last token"}, "the bias is missing for the last token"),
    "bias_elsewhere": ({"how": "along the samples"}, "the bias is added along the samples"),
    "factor": ({"what": "it", "factor": 0.5}, "it is 1/2 times what it should be"),
    "factor_on_some": ({"where": "the last token", "factor": 0.0}, "for the last token it is zero"),
    "memory_order": ({"part": "x", "how": "in order"}, "the memory of the input is read in order"),
    "not_counted": ({"where": "the last sample"}, "the last sample counts for nothing"),
    "samples_mixed": ({"how": "reversed"}, "samples are in wrong places: reversed"),
    "index_wraps": ({"how": "an index wraps"}, "an index wraps"),
    "tokens_moved": ({"how": "swapped"}, "tokens are in wrong places: swapped"),
    "taps_reordered": ({"how": "read backwards along axis 0"}, "the taps are read backwards along axis 0"),
    "flattened_differently": ({"how": "mixed"}, "mixed"),
    "channels_reordered": ({"how": "reversed"}, "reversed"),
    "products_dropped": ({"how": "of the last tap"}, "products are left out: of the last tap"),
    "weight_stale": ({}, "it does not change with conv.weight"),
    "stripes": ({}, "patches are reshaped without swapping axes: tokens are stripes of the input"),
    "dilation": ({"taps": 2}, "taps are 2 pixels apart instead of 1"),
    "stride": ({"axes": (0, 1), "stride": 3, "instead": 5}, "the stride on axes 0 and 1 is 3 instead of 5"),
    "window_count": (
        {"axes": (0,), "from": 0, "found": (0, 2), "expected": (0,), "rule": "rounded up"},
        "windows on axis 0 start at 0, 2 instead of 0: rounded up",
    ),
    "window_origin": (
        {"axes": (0,), "from": 80, "found": (None, 2), "expected": (0, 1), "rule": ""},
        "windows from 80 on on axis 0 start at outside, 2 instead of 0, 1",
    ),
    "axes_swapped": ({"part": "x", "how": "backwards"}, "the input is read backwards"),
    "normalised": ({"how": "the mean is subtracted"}, "the mean is subtracted"),
    "activation": ({"part": "result", "how": "relu"}, "a function is applied to the result: relu"),
    "gradient_overlap": ({"how": "their mean"}, "where windows overlap it is their mean instead of their sum"),
    "gradient_uncovered": ({}, "it is not zero at pixels that no window covers"),
    "rounding": ({"parts": ("weight", "x"), "how": "rounded"}, "the weight and the input are rounded"),
    "constant_added": ({"value": 1.0, "place": (0, 1, 0)}, "1 is added at (0, 1, 0), whatever goes in"),
    "nonfinite_lost": ({"part": "bias", "how": "NaN is taken for zero"}, "NaN is taken for zero, in the bias"),
    "range": ({"power": -40}, "numbers of 2**-40 do not come through"),
    "is_nan": ({}, "values are NaN that should not be"),
    "reads_outside": (
        {"token": (3,), "pixel": (1,), "sample": 2},
        "token (3) changes with pixel (1) of sample 2, outside of its window",
    ),
    "not_linear": ({"part": "x"}, "it is not linear in the input"),
    "arguments_swapped": ({"one": "stride", "other": "bias"}, "by position, stride and bias change places"),
    "unset": (
        {"why": "they are on the meta device", "advice": "build it on another one"},
        "its parameters hold no values, for they are on the meta device: build it on another one",
    ),
    "wrapped": (
        {"of": "Sequential", "inside": "0"},
        "the layer is inside another module, Sequential, as 0: give that",
    ),
    "held_elsewhere": (
        {"weight": "a", "names": ("a", "b")},
        "its weight is called a: adapt(make, names=('a', 'b')) judges such a layer",
    ),
    "starts": ({"name": "conv.bias", "how": "at 0"}, "conv.bias starts at 0, not uniform in ±1/sqrt(K)"),
    "accepted_as": ({"what": "an input", "how": "padded"}, "an input is accepted: padded"),
    "raises": ({"error": "ValueError: no. Never."}, "it raises ValueError: no"),
    "unsteady": ({}, "not found: the case does not fail every time"),
    "unknown": ({}, "not found: no hypothesis predicts what the probes gave"),
}


def test_every_kind_of_evidence_has_a_form() -> None:
    assert set(FORMS) == {hypothesis.id for hypothesis in HYPOTHESES} | {"raises", "unsteady", "unknown"}


@pytest.mark.parametrize("id", FORMS)
def test_form(id: str) -> None:
    parameters, words = FORMS[id]
    assert sentence(Evidence(id, parameters, SMALL), SMALL) == words


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (Only("dtype", ("float32", "float64")), "in float32 or float64"),
        (Only("data_dim", (2, 3)), "in 2D and 3D"),
        (Only("layout", ("channels_first",)), "for channels first inputs"),
        (Only("weight_layout", ("channels_last",)), "where the weight is channels last"),
        (Only("stride", ("smaller than",)), "where the stride is smaller than the patch"),
        (Only("stride", ("smaller than", "larger than")), "where the stride is not equal to the patch"),
        (Only("remainder", ("some",)), "where some pixels remain after the last window"),
        (Only("sizes", ("unequal",)), "where the sizes of the axes are unequal"),
        (Only("channels", ("equal",)), "where C_in and C_out are equal"),
        (Only("bias", ("without",)), "without a bias"),
        (Only("input_gradient", ("no",)), "where the input needs no gradient"),
        (Only("weight_gradient", ("a",)), "where the weight needs a gradient"),
        (Only("bias_gradient", ("a",)), "where the bias needs a gradient"),
        (Only("cotangent", COTANGENTS[:2]), "for a cotangent that is ones or random"),
        (Only("mode", ("eval",)), "in the mode eval"),
        (Only("origin", ("result",)), "where the input is a result"),
        (Only("autocast", ("bfloat16",)), "under autocast to bfloat16"),
        (Only("patch_size", (8,), "from"), "from patch_size 8 on"),
        (Only("in_features", (), "odd"), "where in_features is odd"),
        (Only("out_features", (64,)), "where out_features is 64"),
        (Only("batch", (2,), "from"), "from a batch of 2 on"),
        (Only("windows", (65536,), "from"), "from 65,536 windows on an axis on"),
    ],
    ids=lambda value: value.factor if isinstance(value, Only) else "",
)
def test_form_of_features(only: Only, words: str) -> None:
    assert sentence(Evidence("bias_missing", {}, SMALL, (only,)), SMALL) == f"the bias is not added, only {words}"
    assert only.factor in LEVELS


def test_it_is_said_what_was_looked_at_and_on_which_case() -> None:
    view = View("weight", autocast=True, compiled=True, later=True)
    larger = Case(Spec(3, 7, 1, 2, 3, bias=True), Input(2, (12,)))

    assert sentence(Evidence("factor", {"what": "it", "factor": -1.0}, larger, view=view), SMALL) == (
        "under autocast, when compiled, from the second size on, the gradient of the weight: it is of the wrong sign "
        "(measured with 3 -> 7 channels, sizes 12)"
    )


def test_rules_for_some_of_many_hold_for_any_number() -> None:
    rules = dict(some(5, "token"))

    assert rules["the last token"](3).tolist() == [False, False, True]
    assert rules["the tokens past the last multiple of 4"](7).tolist() == [False] * 4 + [True] * 3
    assert not rules["the tokens past the last multiple of 4"](3).any()


@pytest.mark.parametrize(("value", "words"), [(2.0, "2"), (1 / 3, "1/3"), (0.7071, "0.7071"), (float("inf"), "inf")])
def test_number(value: float, words: str) -> None:
    assert number(value) == words
