"""Torch's global settings that a layer could change."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Setting:
    """How to read and write a setting, and a value that no layer is likely to give it and that harms no computation."""

    read: Callable[[], Any]
    write: Callable[[Any], None]
    unlikely: Any


def _of(holder: Any, name: str, unlikely: Any) -> Setting:
    """A setting that is an attribute."""
    return Setting(lambda: getattr(holder, name), lambda value: setattr(holder, name, value), unlikely)


def _set_grad_mode(enabled: bool) -> None:
    torch.set_grad_enabled(enabled)


def _set_anomaly_detection(enabled: bool) -> None:
    torch.autograd.set_detect_anomaly(enabled)


SETTINGS: dict[str, Setting] = {
    "the default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    "gradient mode": Setting(torch.is_grad_enabled, _set_grad_mode, True),
    "the number of threads": Setting(torch.get_num_threads, torch.set_num_threads, 3),
    "the use of deterministic algorithms": Setting(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, False
    ),
    "anomaly detection": Setting(torch.is_anomaly_enabled, _set_anomaly_detection, False),
    "the precision of matrix products": Setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"
    ),
    "torch.backends.cudnn.enabled": _of(torch.backends.cudnn, "enabled", True),
    "torch.backends.cudnn.benchmark": _of(torch.backends.cudnn, "benchmark", False),
    "torch.backends.cudnn.deterministic": _of(torch.backends.cudnn, "deterministic", False),
    "torch.backends.cudnn.allow_tf32": _of(torch.backends.cudnn, "allow_tf32", True),
    "autocast on the CPU": Setting(
        lambda: torch.is_autocast_enabled("cpu"), lambda value: torch.set_autocast_enabled("cpu", value), False
    ),
}
