"""Which worker of xdist runs which test items."""

import re

from xdist.scheduler import LoadScopeScheduling

# As ``ContractRun`` names its items.
_ITEM = re.compile(r"test_contract\.py::test_property\[\w+-(?P<group>[^\]]+)\]$")


class ShardScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps the items of one shard, or group of shards, together, and those of other tests by their file or class.

    The distribution ``loadgroup`` of xdist would do it by a mark, but in xdist 3.8 with pytest 9.2 it does not.
    """

    def _split_scope(self, nodeid: str) -> str:
        item = _ITEM.search(nodeid)
        scope: str = item["group"] if item else super()._split_scope(nodeid)
        return scope
