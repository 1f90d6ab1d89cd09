"""What a layer does besides computing its output: to arguments, settings, modes, and gradients that are there."""

import torch
from torch import Tensor

from properties.cases.case import Case
from properties.diagnosis.probe import Subject
from properties.trials.settings import SETTINGS, undisturbed
from properties.trials.trial import Trial


def cause_of_setting(subject: Subject, case: Case) -> str | None:
    """Which of torch's settings forward or backward changes, from what to what."""
    subject.spend()
    trial = subject.trial(case)
    with undisturbed(subject.device, tf32=case.tf32):
        kept = {name: setting.read() for name, setting in SETTINGS.items()}
        for given in (kept, {name: setting.unlikely for name, setting in SETTINGS.items()}):
            for name, setting in SETTINGS.items():
                setting.write(given[name])
            layer, x, cotangent = trial.make_layer(), trial.make_input(), trial.make_cotangent()
            tokens = trial.embed(layer, x, "forward")
            doing = "forward"
            for _ in range(2):
                for name, setting in SETTINGS.items():
                    if setting.read() != given[name]:
                        return f"{doing} changes {name} from {given[name]} to {setting.read()}"
                if tokens.requires_grad:
                    trial.differentiate(layer, x, tokens, cotangent)
                    doing = "backward"
    return None


def cause_of_random(subject: Subject, case: Case) -> str | None:
    """Whether forward draws from torch's generator, or seeds it."""
    states = [_random_state(subject, case, seed) for seed in (1, 2)]
    if all(torch.equal(before, after) for before, after in states):
        return None
    if torch.equal(states[0][1], states[1][1]):
        return "forward seeds torch's random generator: it is in the same state afterwards, whatever it was before"
    return "forward draws random numbers: torch's generator has moved"


def _random_state(subject: Subject, case: Case, seed: int) -> tuple[Tensor, Tensor]:
    subject.spend()
    trial = subject.trial(case)
    with undisturbed(subject.device, tf32=case.tf32):
        layer, x = trial.make_layer(), trial.make_input()
        trial.set_seed(seed)
        before = torch.get_rng_state()
        trial.embed(layer, x, "forward")
        return before, torch.get_rng_state()


def _one(subject: Subject, case: Case) -> Trial:
    subject.spend()
    return subject.trial(case)
