"""Runs the scripts of ``torch_faults``: does torch itself fail here, for a dtype and shape?"""

import atexit
import json
import os
import subprocess
import sys
from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO

import torch

from properties.trials.fault_server import serve
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
    questions, answers = _forked or _started()
    print(json.dumps([torch.get_num_threads(), *arguments]), file=questions, flush=True)
    answer = answers.readline()
    if not answer:
        raise CannotRun("the process that runs the scripts of torch's faults has ended")
    status = int(answer)
    if status not in (_RIGHT, _WRONG) and status > 0:
        shown = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        last = (shown.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotRun(f"the script of torch's fault {fault!r} exited with {status}: {last}")
    return status != _RIGHT


# Where a copy of this process takes questions and gives answers, once there is one.
_forked: tuple[IO[str], IO[str]] | None = None


def fork_server() -> None:
    """Have scripts run by a copy of this process, which has imported torch and run nothing of it."""
    global _forked
    theirs, questions = os.pipe()
    answers, ours = os.pipe()
    if os.fork() == 0:
        # What stays open here does not end where this process ends.
        os.dup2(theirs, 0)
        os.dup2(ours, 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        serve(os.fdopen(0), os.fdopen(1, "w"))
        os._exit(0)
    os.close(theirs)
    os.close(ours)
    _forked = os.fdopen(questions, "w"), os.fdopen(answers)


@cache
def _started() -> tuple[IO[str], IO[str]]:
    """The same of a new process, which imports torch, and ends with this one."""
    command = [sys.executable, "-m", "properties.trials.fault_server"]
    root = Path(__file__).parents[2]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    assert server.stdin is not None
    assert server.stdout is not None
    # Which closes its pipes, so that it ends.
    atexit.register(server.communicate)
    return server.stdin, server.stdout


def _script(fault: str) -> Traversable:
    return files("properties.trials").joinpath("torch_faults", f"{fault}.py")
