"""The process that a part of a run is carried out in, away: it can be started where ``multiprocessing`` can not.

It imports nothing of the harness itself. That is done once, by the process that all those are copies of which do the
work: the one that hands out shards and the ones that run them.
"""

import multiprocessing
import os
import sys
import threading
from multiprocessing.process import BaseProcess


def carry_out(folder: str) -> None:
    """Do the task that is in a folder, and end this process."""
    from properties.runs.remote import do_task

    sys.exit(do_task(folder))


def end_with_parent(process: BaseProcess) -> None:
    """Whoever waits for this process holds the other end of its standard input, and may be killed."""
    sys.stdin.read()
    process.kill()
    os._exit(1)


if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["properties.runs.remote"])
    # By its own name, not that of the main module, which the copy would have to run again.
    from properties.runs import start_remote

    worker = context.Process(target=start_remote.carry_out, args=(sys.argv[1],))
    worker.start()
    threading.Thread(target=end_with_parent, args=(worker,), daemon=True).start()
    worker.join()
    sys.exit(worker.exitcode)
