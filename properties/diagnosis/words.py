"""Evidence in words: the one place where a diagnosis becomes a sentence."""

import math
from collections.abc import Sequence
from fractions import Fraction

from properties.cases.case import Case
from properties.diagnosis.changes import axes_named
from properties.diagnosis.evidence import GRADIENTS, Evidence, Only, View
from properties.diagnosis.hypotheses import HYPOTHESES

_TEXTS = {hypothesis.id: hypothesis.text for hypothesis in HYPOTHESES} | {
    "raises": "it raises {error}",
    "unsteady": "not found: the case does not fail every time",
    "unknown": "not found: no hypothesis predicts what the probes gave",
}
_PARTS = {"x": "the input", "result": "the result"}
_LEVELS = {
    "dtype": "in {}",
    "layout": "for {} inputs",
    "weight_layout": "where the weight is {}",
    "stride": "where the stride is {} the patch",
    "channels": "where C_in and C_out are {}",
    "bias": "{} a bias",
    "cotangent": "for a cotangent that is {}",
    "mode": "in the mode {}",
    "origin": "where the input is a {}",
    "autocast": "under autocast to {}",
    "patch_size": "where patch_size is {}",
    "in_features": "where in_features is {}",
    "out_features": "where out_features is {}",
    "batch": "where the batch is {}",
    "windows": "where an axis has {} windows",
    "input_gradient": "where the input needs {} gradient",
    "weight_gradient": "where the weight needs {} gradient",
    "bias_gradient": "where the bias needs {} gradient",
}
_MOST_STARTS = 6


def sentence(evidence: Evidence, shown: Case) -> str:
    """What was found, when it is so, and on which case it was measured where that is not the one that is shown."""
    text = _TEXTS[evidence.id].format(**{name: _parameter(name, value) for name, value in evidence.parameters.items()})
    words = [f"{_looked_at(evidence.view)}{text}"]
    if evidence.only_when:
        words.append(f"only {listed([_feature(only) for only in evidence.only_when])}")
    said = ", ".join(words)
    other = _differences(evidence.measured_on, shown)
    return f"{said} (measured with {', '.join(other)})" if other else said


def gist(cause: str) -> str:
    """What a sentence says was found, without when it is so and on what it was measured; empty where nothing was."""
    return "" if cause.startswith("not found") else cause.partition(" (measured with ")[0].partition(", only ")[0]


def _looked_at(view: View) -> str:
    words = "under autocast, " if view.autocast else ""
    words += "when compiled, from the second size on, " if view.later else "when compiled, " if view.compiled else ""
    return words + (f"the gradient of the {view.of}: " if view.of in GRADIENTS else "")


def _parameter(name: str, value: object) -> str:
    match name, value:
        case "error", str(error):
            return error.partition(". ")[0].rstrip(".,: ")
        case "factor", float(factor):
            return scaled(factor)
        case "part", str(part):
            return _PARTS.get(part, f"the {part}")
        case "parts", tuple(parts):
            return f"{listed([_PARTS.get(part, f'the {part}') for part in parts])} {'are' if len(parts) > 1 else 'is'}"
        case "times", float(times):
            return {2.0: "twice", -1.0: "with the wrong sign"}.get(times, f"{number(times)} times")
        case "from", int(first):
            return f" from {first} on" if first else ""
        case "found" | "expected", tuple(starts):
            words = ["outside" if start is None else str(start) for start in starts]
            return ", ".join(words[:_MOST_STARTS]) + (", ..." if len(words) > _MOST_STARTS else "")
        case "rule", str(rule):
            return f": {rule}" if rule else ""
        case "axes", tuple(axes):
            return axes_named(axes)
        case "token" | "pixel", tuple(place):
            return f"({listed(place, ',')})".replace(" ,", ",")
        case "sample", other:
            return "" if other is None else f" of sample {other}"
        case "place", place:
            return "" if place is None else f" at {place}"
        case "value", float(amount):
            return number(amount)
        case _:
            return str(value)


def _feature(only: Only) -> str:
    levels = [str(level).replace("_", " ") for level in only.levels]
    if only.factor == "stride" and len(levels) == 2:
        (other,) = {"smaller than", "equal to", "larger than"} - set(levels)
        levels = [f"not {other}"]
    if only.factor == "data_dim":
        return f"in {listed([f'{level}D' for level in levels])}"
    if only.factor == "remainder":
        return f"where {levels[0]} pixels remain after the last window"
    if only.factor == "sizes":
        return f"where the sizes of the axes are {levels[0]}"
    if only.relation == "from":
        at = f"{int(levels[0]):,}"
        named = {"batch": f"a batch of {at}", "windows": f"{at} windows on an axis"}
        return f"from {named.get(only.factor, f'{only.factor} {at}')} on"
    return _LEVELS[only.factor].format(only.relation if only.relation != "in" else listed(levels, "or"))


def _differences(case: Case, shown: Case) -> list[str]:
    """What of a case is other than of the one that is shown, values apart."""

    def described(one: Case) -> dict[str, str]:
        spec, given = one.spec, one.input
        return {
            "data_dim": f"{spec.data_dim}D",
            "channels": f"{spec.in_features} -> {spec.out_features} channels",
            "patch_size": f"patch_size {spec.patch_size}",
            "stride": f"stride {spec.effective_stride}",
            "bias": "a bias" if spec.bias else "no bias",
            "batch": f"batch {given.batch}",
            "sizes": f"sizes {' x '.join(map(str, given.sizes))}",
            "layout": f"{given.layout} input",
            "cotangent": f"a cotangent {one.backward.cotangent}" if one.backward.requires_grad else "",
        }

    own = described(shown)
    return [words for name, words in described(case).items() if words != own[name]]


def listed(parts: Sequence[object], last: str = "and") -> str:
    """``a, b and c``."""
    *most, end = map(str, parts)
    return f"{', '.join(most)} {last} {end}" if most else end


def number(value: float) -> str:
    """A factor as a person writes it: ``2``, ``1/3``, ``0.7071``."""
    if not math.isfinite(value):
        return str(value)
    fraction = Fraction(value).limit_denominator(64)
    return str(fraction) if abs(float(fraction) - value) <= 1e-6 * abs(value) else f"{value:.4g}"


def scaled(factor: float) -> str:
    """What has happened to something that is a multiple of what it should be."""
    named = {0.0: "zero", -1.0: "of the wrong sign"}
    return named.get(factor, f"{number(factor)} times what it should be")
