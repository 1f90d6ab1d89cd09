"""When a layer is wrong: which features of a failing case it takes, found by changing them one at a time."""

import re
from collections.abc import Mapping, Sequence

from properties.cases.case import DTYPES, Case
from properties.diagnosis.features import FEATURES, NUMBERS, Judge, number_in_words
from properties.diagnosis.probe import Subject
from properties.diagnosis.words import listed
from properties.trials.verdict import Failed, Passed


def judging(fails: Judge) -> Judge:
    """The same judge, who judges no case twice."""
    known: dict[Case, bool | None] = {}

    def judge(case: Case) -> bool | None:
        if case not in known:
            known[case] = fails(case)
        return known[case]

    return judge


def by_property(subject: Subject) -> Judge:
    """Whether the property fails on a case, None where it says nothing."""

    def fails(case: Case) -> bool | None:
        verdict = subject.verdict(case)
        return isinstance(verdict, Failed) if isinstance(verdict, Failed | Passed) else None

    return fails


def context(
    case: Case, smallest: Case, fails: Judge, cause: str = "", features: Sequence[str] | None = None
) -> list[str]:
    """The features that the failure takes, each in words that follow "only".

    Args:
        case: a failing case, as large as is useful.
        smallest: a failing case, as small as there is: its numbers are where the failure begins.
        fails: judges other cases.
        features: the only ones that may matter, None for all.
        cause: what is wrong; features that go without saying then are left out.
    """
    found: dict[str, str] = {}
    for kind, feature in FEATURES.items():
        words = feature(case, fails) if features is None or kind in features else None
        if words and not goes_without_saying(kind, words, cause, found):
            found[kind] = words
    for kind, (name, now, at) in NUMBERS.items():
        if features is not None and kind not in features:
            continue
        least = 3 if not cause or "raises" in cause or any(part in cause for part in _SEVERAL[kind]) else 2
        words = number_in_words(name, now, at, case, smallest, fails, least)
        if words and not goes_without_saying(kind, words, cause, found):
            found[kind] = words
    return list(found.values())


def goes_without_saying(kind: str, words: str, cause: str, found: Mapping[str, str]) -> bool:
    """Whether a cause, or a feature that was found before, says as much already."""
    smaller = "smaller than the patch" in found.get("stride", "")
    exact = set(DTYPES) - set(re.findall(r"\w+", words)) <= {"bfloat16", "float16"}
    said = {
        "bias": "bias" in cause,
        "remainder": _mentions(cause, *_REMAINDERS),
        "data_dim": words == "in 2D and 3D" and _mentions(cause, "axes", "axis 1", "rows", "products from"),
        "stride": _mentions(cause, "overlap", "left over", "moved to the end", "second one starts")
        or ("not equal" in words and "stride" in cause),
        "sizes": "as many as there should be" in cause,
        "dtype": bool(cause) and words.count("float") > 1 and exact,
        "in_features": "channels" in found or "products from" in cause,
        "out_features": "channels" in found or "bias runs" in cause,
        "gradients": "needs a gradient" in words and "gradient" in cause,
        "patch": _mentions(cause, "products from", "odd size") or ("from" in words and smaller),
        "batch": "the samples and axis" in cause,
    }
    return said.get(kind, False)


_REMAINDERS = (
    "left over", "dropped", "rounded", "fits exactly", "pixel less", "no window covers", "moved to the end",
)  # fmt: skip


def _mentions(cause: str, *parts: str) -> bool:
    return any(part in cause for part in parts)


def only(found: Sequence[str]) -> str:
    """One clause of several features: ``only in 2D and only where the stride is larger than the patch``."""
    return f"only {listed(found)}" if found else ""


# Words of causes that take several of a thing anyway.
_SEVERAL = {
    "patch": ("tap", "kernel", "pixel", "window", "overlap", "patch", "product", "order", "dilation", "mean"),
    "in_features": ("channel", "C_in", "product", "order", "weight", "mean"),
    "out_features": ("channel", "C_out", "order", "weight", "mean", "token"),
    "batch": ("sample", "batch", "mean", "order", "swapped", "token", "bias"),
}
