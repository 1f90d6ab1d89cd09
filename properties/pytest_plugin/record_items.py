"""Records as test items: ``pytest regressions/`` replays each file as a test of its own."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from properties.failures.record import record_files
from properties.failures.replay import Outcome, replay
from properties.runs.options import PREFIX


class RecordItem(pytest.Item):
    """One record: passes where the failure is gone."""

    def runtest(self) -> None:
        """Replay the record."""
        implementation = self.config.getoption(f"--{PREFIX}implementation")
        device = self.config.getoption(f"--{PREFIX}device")
        timeout = self.config.getoption(f"--{PREFIX}case-timeout")
        replayed = replay(self.path, implementation=implementation, device=device, timeout=timeout)
        if replayed.outcome is not Outcome.FIXED:
            pytest.fail(str(replayed), pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """What stands above the message of a failure."""
        return self.path, None, self.path.name


class RecordFile(pytest.File):
    """A file that is, or should be, a record."""

    def collect(self) -> Iterable[pytest.Item]:
        """Its only item."""
        yield RecordItem.from_parent(self, name="replay")


class RecordFolder(pytest.Directory):
    """A folder of records, damaged ones included, beside whatever else it holds."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """What a folder collects, and every file that is, or should be, a record."""
        yield from pytest.Dir.from_parent(self, path=self.path).collect()
        for path in record_files([self.path]):
            yield RecordFile.from_parent(self, path=path)
