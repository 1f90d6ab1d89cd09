"""Runs scripts of ``torch_faults`` in processes of their own, a line of JSON each; torch is imported once for all.

What forks has run nothing of torch, so that every script begins as in a new process. Each line that comes is the list
of a number of threads, since kernels differ by it, a script's path and its arguments; the answer is a line with how the
script ended: its exit status, or the negative number of the signal that ended it.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from runpy import run_path
from typing import IO

# What the scripts import, too.
import torch


def serve(questions: IO[str], answers: IO[str]) -> None:
    """Answer until nothing more can come."""
    for line in questions:
        threads, script, *arguments = json.loads(line)
        if "torch.compile" in Path(script).read_text():
            # Before the fork, so that it is imported once: that takes longer than most scripts.
            importlib.import_module("torch._inductor.compile_fx")
        child = os.fork()
        if child == 0:
            _run(threads, script, *arguments)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _run(threads: int, *arguments: str) -> None:
    """Run a script, and end the process as a Python process that runs it ends."""
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silent, stream)
    torch.set_num_threads(threads)
    sys.argv = [*arguments]
    status = 0
    try:
        run_path(arguments[0], run_name="__main__")
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        status = 1
    os._exit(status)


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
