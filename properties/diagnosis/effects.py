"""What a layer does besides computing its output: to arguments, settings, modes, and gradients that are there."""

import torch
from torch import Tensor

from properties.cases.case import Case
from properties.diagnosis.probe import Subject
from properties.diagnosis.weight import describe_weight
from properties.diagnosis.words import scaled
from properties.laws.purity import other_trials
from properties.trials.settings import SETTINGS, undisturbed
from properties.trials.tensors import TORCH_DTYPES
from properties.trials.trial import Trial


def cause_of_change(subject: Subject, case: Case) -> str | None:
    """Which argument forward or backward changes in place, and to what."""
    subject.spend()
    trial = subject.trial(case)
    with undisturbed(subject.device, tf32=case.tf32):
        layer, x, cotangent = trial.make_layer(), trial.make_input(), trial.make_cotangent()
        watched = {"the input": x, "conv.weight": layer.conv.weight, "the cotangent": cotangent}
        if case.spec.bias:
            watched["conv.bias"] = layer.conv.bias
        before = {name: (tensor.detach().clone(), tensor.requires_grad) for name, tensor in watched.items()}
        tokens = trial.embed(layer, x, "forward")
        if words := _changed("forward", before, watched):
            return words
        if tokens.requires_grad:
            trial.differentiate(layer, x, tokens, cotangent)
        return _changed("backward", before, watched)


def _changed(doing: str, before: dict[str, tuple[Tensor, bool]], watched: dict[str, Tensor]) -> str | None:
    for name, (values, requires_grad) in before.items():
        now = watched[name]
        if now.requires_grad != requires_grad:
            return f"{doing} sets requires_grad of {name} to {now.requires_grad}"
        found, given = now.detach().double(), values.double()
        if torch.equal(found.nan_to_num(), given.nan_to_num()):
            continue
        ratios = (found / given)[given != 0]
        if ratios.numel() and torch.allclose(ratios, ratios[0].expand_as(ratios), rtol=1e-6, atol=0):
            factor = float(ratios[0])
            done = "sets it to zero" if factor == 0 else f"multiplies it by {factor:.6g}"
            return f"{doing} changes {name} in place: it {done}"
        words = describe_weight(given, found) if name == "conv.weight" else None
        return f"{doing} changes {name} in place{(words and f': {words}') or ''}"
    return None


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


def cause_of_accumulation(subject: Subject, case: Case) -> str | None:
    """What ``.grad`` holds after a second backward pass."""
    subject.spend()
    trial = subject.trial(case)
    with undisturbed(subject.device, tf32=case.tf32):
        layer, x = trial.make_layer(), trial.make_input()
        name = case.backward.requires_grad[0]
        holder = x if name == "input" else getattr(layer.conv, name)
        grads = []
        for _ in range(2):
            torch.autograd.backward(trial.embed(layer, x, "forward"), trial.make_cotangent())
            if holder.grad is None:
                return f"backward leaves no gradient of the {name}"
            grads.append(holder.grad.detach().double().clone())
    once = trial.expected_gradient(name).values
    if torch.allclose(grads[0], once) and torch.allclose(grads[1], once):
        return f"a second backward pass replaces the gradient of the {name} instead of adding to it"
    ratios = (grads[1] / once)[once != 0]
    if ratios.numel() and torch.allclose(ratios, ratios[0].expand_as(ratios)):
        return f"after two backward passes .grad of the {name} is {scaled(float(ratios[0]) / 2).removeprefix('is ')}"
    return None


def cause_of_conversion(subject: Subject, case: Case) -> str | None:
    """What a layer does after it has been converted to another dtype, and back."""
    subject.spend()
    trial = subject.trial(case)
    other = torch.float64 if TORCH_DTYPES[case.input.dtype] != torch.float64 else torch.float32
    with undisturbed(subject.device, tf32=case.tf32):
        layer = trial.make_layer()
        layer(trial.make_input())
        found = layer.to(other)(trial.make_input().to(other)).dtype
        if found == TORCH_DTYPES[case.input.dtype]:
            kept, wanted = _name(found), _name(other)
            return f"after a call in {kept} the output stays {kept}, though layer and input are converted to {wanted}"
        if found != other:
            return f"after conversion to {_name(other)} the output is {_name(found)}"
    return None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def cause_of_mode(subject: Subject, case: Case) -> str | None:
    """Whether forward changes the mode of the layer, or no gradient flows in one of them."""
    for training in (False, True):
        mode = "train" if training else "eval"
        trial = _one(subject, case)
        with undisturbed(subject.device, tf32=case.tf32):
            layer, x = trial.make_layer(), trial.make_input()
            layer.train(training)
            tokens = trial.embed(layer, x, "forward")
            if layer.training != training:
                return f"forward of a layer in {mode} mode puts it into {'train' if layer.training else 'eval'} mode"
            if case.backward.requires_grad and not tokens.requires_grad:
                return f"in {mode} mode the output is detached: no gradient flows"
    return None


def _one(subject: Subject, case: Case) -> Trial:
    subject.spend()
    return subject.trial(case)


def cause_of_reuse(subject: Subject, case: Case) -> str | None:
    """Whether a later call overwrites the output of an earlier one."""
    trial = _one(subject, case)
    with undisturbed(subject.device, tf32=case.tf32):
        layer = trial.make_layer()
        first = trial.embed(layer, trial.make_input(), "forward")
        before = first.detach().clone()
        second = trial.embed(layer, -trial.make_input().detach(), "forward")
        if torch.equal(first.detach().nan_to_num(), before.nan_to_num()):
            return None
        if torch.equal(first.detach(), second.detach()):
            return "a call overwrites the output of the call before with its own"
        return "a call changes the output of the call before"


def cause_of_other_sizes(subject: Subject, case: Case) -> str | None:
    """For which later call something is left behind, or for which earlier one something is changed."""
    trial = _one(subject, case)
    with undisturbed(subject.device, tf32=case.tf32):
        for other in other_trials(trial):
            layer, x = trial.make_layer(), trial.make_input()
            tokens = trial.embed(layer, x, "forward")
            if other.case.input.batch != case.input.batch:
                kind = "another batch"
            else:
                kind = "other sizes with the same grid" if other.case.grid == case.grid else "another grid"
            if not torch.equal(other.embed(layer, other.make_input(), "forward"), other.tokens):
                return f"a call leaves something behind that changes the output of a later one for {kind}"
            if not case.backward.requires_grad:
                continue
            for name, found in trial.differentiate(layer, x, tokens, trial.make_cotangent()).items():
                if found is None or not torch.equal(found, trial.gradient(name)):
                    return f"a forward pass for {kind} changes the {name} gradient of the one before it"
    return None
