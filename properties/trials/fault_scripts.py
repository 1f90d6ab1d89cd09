"""Runs the scripts of ``torch_faults``: does torch itself fail here, for a dtype and shape?"""

import atexit
import json
import subprocess
import sys
from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import torch

from properties.trials.implementation import CannotRun

# How a script ends: torch is right, torch is wrong. By a signal where memory was destroyed.
_RIGHT, _WRONG = 0, 3


@lru_cache(maxsize=1024)
def script_fails(fault: str, dtype: str, shape: tuple[int, ...], *numbers: int) -> bool:
    """Whether a script of ``torch_faults``, run in a process of its own, shows its fault on this machine.

    Args:
        fault: the script's name.
        dtype: of its tensors.
        shape: of its input.
        numbers: what else it asks for, such as patch_size and stride.

    Raises:
        CannotRun: where the script itself cannot be run.
    """
    arguments = [str(_script(fault)), dtype, ",".join(map(str, shape)), *map(str, numbers)]
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([torch.get_num_threads(), *arguments]) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    if not answer:
        _server.cache_clear()
        raise CannotRun(f"the process that runs the scripts of torch's faults ended with {server.wait()}")
    status = int(answer)
    if status not in (_RIGHT, _WRONG) and status > 0:
        shown = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        last = (shown.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotRun(f"the script of torch's fault {fault!r} exited with {status}: {last}")
    return status != _RIGHT


@cache
def _server() -> subprocess.Popen[str]:
    """One for this process, which starts torch once and not for each question; it ends with this process."""
    command = [sys.executable, "-m", "properties.trials.fault_server"]
    root = Path(__file__).parents[2]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    # Which closes its pipes, so that it ends.
    atexit.register(server.communicate)
    return server


def _script(fault: str) -> Traversable:
    return files("properties.trials").joinpath("torch_faults", f"{fault}.py")
