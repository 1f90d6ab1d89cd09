"""Layers at the sizes of real models, compared with the oracle on integers.

``python -m tests.helpers.model_sizes`` compiles some. What is wrong under a compiler may end the process, so tests
start others for compiled layers.
"""

import sys
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from patchify import Patchify
from properties.cases.case import PARAMETERS_AND_INPUT, Case, Fill, Input, Spec
from properties.trials.comparison import ALL, compare, judged
from properties.trials.implementation import resolve
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import Failed

LAYERS = PATCHIFY, LINEAR = ("patchify:Patchify", "patchify:LinearPatchify")
DTYPES = ("float64", "float32", "bfloat16", "float16")
# What a graph is asked for: training a first layer, training one in the middle, inference.
WANTED: dict[str, tuple[str, ...]] = {
    "all gradients": PARAMETERS_AND_INPUT,
    "parameters": PARAMETERS_AND_INPUT[:2],
    "inference": (),
}


@dataclass(frozen=True)
class Model:
    """A spec and the inputs that it is given one after the other, batch first."""

    spec: Spec
    inputs: tuple[tuple[int, ...], ...]


MODELS: dict[str, Model] = {
    "ViT-B/16": Model(Spec(3, 768, 2, 16, bias=True), ((8, 224, 224), (1, 250, 231))),
    "ViT-B/32": Model(Spec(3, 768, 2, 32, bias=True), ((2, 224, 224), (3, 260, 300))),
    "ViT-L/14": Model(Spec(3, 1024, 2, 14, bias=True), ((2, 224, 224), (1, 230, 308))),
    "Swin, patch 4": Model(Spec(3, 96, 2, 4, bias=True), ((2, 224, 224), (1, 227, 198))),
    "AST 16/10": Model(Spec(1, 768, 2, 16, stride=10, bias=True), ((2, 128, 512), (1, 131, 300))),
    "wav2vec 400/320": Model(Spec(1, 512, 1, 400, stride=320, bias=True), ((2, 16000), (1, 7001))),
    "EEG, patch 200": Model(Spec(19, 200, 1, 200, bias=True), ((4, 1600), (1, 1999))),
    "points in time": Model(Spec(7, 128, 1, 1, bias=True), ((4, 336), (2, 97))),
    "wide sequence, overlapping": Model(Spec(16, 4096, 1, 16, stride=2, bias=True), ((2, 19), (3, 65))),
    "sequence, patch 16": Model(Spec(4, 64, 1, 16, bias=True), ((4, 512), (1, 777))),
    "UNETR 16": Model(Spec(1, 768, 3, 16, bias=True), ((2, 64, 64, 64), (1, 96, 80, 70))),
    "video tubes": Model(Spec(3, 192, 3, 4, bias=False), ((1, 16, 112, 112), (2, 9, 50, 61))),
    "overlapping volumes": Model(Spec(1, 96, 3, 4, stride=2, bias=True), ((2, 32, 32, 32), (1, 17, 40, 23))),
    "image with gaps": Model(Spec(3, 64, 2, 16, stride=48, bias=True), ((2, 160, 208), (1, 150, 300))),
}
# Windows as long as a vector register of float32, in images and volumes.
COMPILED_FULLY = ("ViT-B/16", "UNETR 16")


@lru_cache(maxsize=2)
def right(spec: Spec, given: Input, device: str) -> Trial:
    """A trial that knows the tensors and what is right, whatever the layer and the gradients that are wanted."""
    return Trial(Case(spec, given, Fill("exact", 1000)), Patchify, device)


def wrong(name: str, model: str, dtype: str, wanted: str, *, compiled: bool, device: str = "cpu") -> str:
    """Call one layer at every size of a model, and at the first again: what is wrong first, empty where nothing is."""
    implementation, _ = resolve(name)
    spec = MODELS[model].spec
    names = tuple(name for name in WANTED[wanted] if name != "bias" or spec.bias)
    torch._dynamo.reset()
    layer: nn.Module | None = None
    for batch, *sizes in (*MODELS[model].inputs, MODELS[model].inputs[0]):
        known = right(spec, Input(batch, tuple(sizes), dtype), device)
        trial = Trial(known.case.wanting(*names), implementation, device)
        trial.values = known.values
        if layer is None:
            layer = trial.make_layer()
            call = torch.compile(layer, fullgraph=True) if compiled else layer
        trial.set_parameters(layer)
        x = trial.make_input()
        with torch.set_grad_enabled(bool(names)):
            tokens = trial.embed(call, x, "forward")
        found = trial.differentiate(layer, x, tokens, trial.make_cotangent()) if names else {}
        for what, tensor in {"output": tokens, **found}.items():
            expected = known.expected_tokens if what == "output" else known.expected_gradient(what)
            if tensor is None:
                return f"{what} at {list(x.shape)} is missing"
            outcome = compare("values are wrong", tensor, expected, judged(expected, ALL), what)
            if isinstance(outcome, Failed):
                return f"{what} at {list(x.shape)}: {outcome}"
    return ""


def compiled_ways(model: str) -> list[tuple[str, str]]:
    """In which dtypes, and for which gradients, a model is compiled: each takes seconds."""
    others = [("float32", wanted) for wanted in WANTED if wanted != "all gradients"]
    others += [(dtype, "all gradients") for dtype in DTYPES if dtype != "float32"]
    return [("float32", "all gradients"), *(others if model in COMPILED_FULLY else [])]


def main() -> None:
    """Compile the layer and the models that the arguments name; what is wrong becomes the exit message."""
    name, *models = sys.argv[1:]
    with undisturbed("cpu"):
        for model in models:
            for dtype, wanted in compiled_ways(model):
                # What was being compiled where the process ends without a message.
                print(f"{model}, {dtype}, {wanted}", flush=True)
                if found := wrong(name, model, dtype, wanted, compiled=True):
                    sys.exit(f"{model}, {dtype}, {wanted}: {found}")


if __name__ == "__main__":
    main()
