"""Torch's global settings that a layer could change, and a place where it changes none of the caller's."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Setting:
    """How to read and write a setting, and values that harm no computation: two where there are, so that one of them is
    not what a layer gives it.
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]
    values: tuple[Any, Any]


def _of(holder: Any, name: str) -> Setting:
    """A setting that is an attribute, true or false."""
    return Setting(lambda: getattr(holder, name), lambda value: setattr(holder, name, value), (True, False))


def _set_grad_mode(enabled: bool) -> None:
    torch.set_grad_enabled(enabled)


def _set_anomaly_detection(enabled: bool) -> None:
    torch.autograd.set_detect_anomaly(enabled)


SETTINGS: dict[str, Setting] = {
    "the default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype, (torch.float32, torch.float64)),
    "gradient mode": Setting(torch.is_grad_enabled, _set_grad_mode, (True, False)),
    "the number of threads": Setting(torch.get_num_threads, torch.set_num_threads, (3, 1)),
    # Whether they are asked for, and whether no more than a warning tells where there are none.
    "the use of deterministic algorithms": Setting(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        ((False, False), (True, True)),
    ),
    # Where it is on, all takes far longer.
    "anomaly detection": Setting(torch.is_anomaly_enabled, _set_anomaly_detection, (False, False)),
    "the precision of matrix products": Setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, ("highest", "high")
    ),
    "torch.backends.cudnn.enabled": _of(torch.backends.cudnn, "enabled"),
    "torch.backends.cudnn.benchmark": _of(torch.backends.cudnn, "benchmark"),
    "torch.backends.cudnn.deterministic": _of(torch.backends.cudnn, "deterministic"),
    "torch.backends.cudnn.allow_tf32": _of(torch.backends.cudnn, "allow_tf32"),
    "the use of oneDNN": Setting(torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, (True, False)),
    "whether warnings are repeated": Setting(torch.is_warn_always_enabled, torch.set_warn_always, (False, True)),
    "autocast's cache": Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, (True, False)),
    "autocast's dtype on the CPU": Setting(
        lambda: torch.get_autocast_dtype("cpu"),
        lambda value: torch.set_autocast_dtype("cpu", value),
        (torch.bfloat16, torch.float16),
    ),
    "autocast on the CPU": Setting(
        lambda: torch.is_autocast_enabled("cpu"),
        lambda value: torch.set_autocast_enabled("cpu", value),
        (False, False),
    ),
}


@contextmanager
def undisturbed(device: str, *, tf32: bool = False) -> Iterator[None]:
    """Keep torch's random state, its settings, the warnings and the current folder of the caller as they are.

    Inside there is one thread, since the number of threads changes the order of summation and so the errors that are
    reported; gradients are on, autocast is off and TF32 as asked, whatever the caller is in. Settings that the
    implementation changes do not reach the next trial. Its warnings are not judged, and where the caller has made
    warnings errors, they would be.
    """
    folder = _folder()
    kept = {name: setting.read() for name, setting in SETTINGS.items()}
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    kind = torch.device(device).type
    devices = [] if kind == "cpu" else [torch.device(device)]
    try:
        with (
            torch.random.fork_rng(devices, device_type="cuda" if kind == "cpu" else kind),
            warnings.catch_warnings(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(kind, enabled=False),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        if folder and folder != _folder():
            os.chdir(folder)
        for name, value in kept.items():
            if SETTINGS[name].read() != value:
                SETTINGS[name].write(value)


def _folder() -> str:
    """The current folder; empty where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""
