"""A session of pytest in a fork of this process: apart from it, and without another import of torch.

It can start no processes as the harness does, since the server that forks them is not its own: it judges no layer.
"""

from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest


def run_forked(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """What ``pytest`` with the arguments gives, whatever it changes in its process."""
    receiving, sending = get_context("fork").Pipe(duplex=False)
    session = get_context("fork").Process(target=_send_result, args=(sending, pytester, arguments))
    session.start()
    sending.close()
    # An end of the process without a result ends this with an EOFError.
    code, outlines, errlines, duration = receiving.recv()
    session.join()
    return pytest.RunResult(code, outlines, errlines, duration)


def _send_result(sending: Connection, pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    done = pytester.runpytest_inprocess(*arguments)
    sending.send((done.ret, done.outlines, done.errlines, done.duration))
