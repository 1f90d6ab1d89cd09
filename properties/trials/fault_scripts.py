"""Runs the scripts of ``torch_faults``: does torch itself fail here, for a dtype and shape?"""

import subprocess
import sys
from contextlib import redirect_stdout
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import StringIO
from runpy import run_path

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
    command = [sys.executable, str(_script(fault)), dtype, ",".join(map(str, shape)), *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode not in (_RIGHT, _WRONG) and done.returncode > 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotRun(f"the script of torch's fault {fault!r} exited with {done.returncode}: {last}")
    return done.returncode != _RIGHT


@lru_cache(maxsize=1024)
def script_fails_here(fault: str, dtype: str, shape: tuple[int, ...], *numbers: int) -> bool:
    """Whether a script of ``torch_faults`` that harms no process shows its fault in this one."""
    known = sys.argv
    sys.argv = [fault, dtype, ",".join(map(str, shape)), *map(str, numbers)]
    try:
        with redirect_stdout(StringIO()):
            run_path(str(_script(fault)), run_name="__main__")
    except SystemExit as ended:
        return ended.code == _WRONG
    finally:
        sys.argv = known
    return False


def _script(fault: str) -> Traversable:
    return files("properties.trials").joinpath("torch_faults", f"{fault}.py")
