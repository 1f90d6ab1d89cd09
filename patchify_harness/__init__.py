"""The front doors of the harness: what is imported, the command, and the pytest plugin.

The packages behind them have common names, ``properties`` and ``oracles``, which a project may have for packages of its
own. So nothing here imports them before it is asked to, and what is then found under their names is looked at first.
"""

from typing import TYPE_CHECKING, Any

from patchify_harness.packages import import_harness

if TYPE_CHECKING:
    from properties import *  # noqa: F403


def __getattr__(name: str) -> Any:
    # What Python itself asks a package for, such as __path__, is never the harness's.
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    harness = import_harness("properties")
    if name != "__all__" and name not in harness.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(harness, name)
