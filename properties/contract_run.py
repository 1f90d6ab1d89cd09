"""A run under pytest: one test item for each property and shard, and one report for all of them.

Each item sends what it counted along with its test report, which xdist carries to the process that prints the summary.
"""

import io
from collections import defaultdict
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console

from oracles.agreement import OracleError, check_oracles
from properties.case import Case
from properties.failure import Failure, investigate
from properties.options import PREFIX
from properties.plan import plan_from_options
from properties.property import Property
from properties.report import Report, conclude
from properties.result import Found, ShardResult
from properties.shard import run_shard
from properties.summary import headline, print_report

_OUTCOME = pytest.StashKey[dict[str, Any]]()


class ContractRun:
    """What one process knows of the run, and the hooks that make a pytest session of it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.plan = plan_from_options(lambda name: config.getoption(f"--{PREFIX}{name}"))
        self.selected: dict[str, list[Property]] = defaultdict(list)
        self.done: dict[str, ShardResult] = {}
        self.explained: dict[str, Failure] = {}
        # In the process that prints the summary: what all items reported, whichever process ran them.
        self.reported: dict[str, ShardResult] = {}
        self.messages: dict[str, str] = {}

    def pytest_report_header(self) -> str:
        """Say what is verified, and the seed that repeats it."""
        return f"patchify: {headline(self.plan)}"

    def pytest_sessionstart(self) -> None:
        """Stop at once where an oracle is wrong on this machine."""
        try:
            check_oracles(torch.device(self.plan.device))
        except OracleError as error:
            pytest.exit(f"could not run: {error}", returncode=2)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one item of every property on every shard."""
        if "contract_check" in metafunc.fixturenames:
            checks = [(self, prop, shard) for shard in self.plan.shards for prop in self.plan.properties_of(shard)]
            metafunc.parametrize(
                "contract_check",
                [
                    pytest.param(check, id=f"{check[1].name}-{check[2]}", marks=pytest.mark.xdist_group(check[2]))
                    for check in checks
                ],
            )

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which properties were selected, so that no others are run."""
        for item in session.items:
            if isinstance(item, pytest.Function) and "contract_check" in getattr(item, "fixturenames", ()):
                check: Any = item.callspec.params["contract_check"]
                self.selected[check[2]].append(check[1])

    def check(self, item: pytest.Item, prop: Property, shard: str) -> None:
        """Run one property on one shard, and fail with its smallest case where it does not hold."""
        if shard not in self.done:
            self.done[shard] = run_shard(replace(self.plan, properties=tuple(self.selected[shard])), shard)
        result = self.done[shard]
        tally = result.tallies[prop.name]
        outcome = item.stash[_OUTCOME] = replace(result, tallies={prop.name: tally}).to_json()
        if tally.smallest_failure is None:
            return
        first = prop.name not in self.explained
        message = self._investigate(prop, tally.smallest_failure).message
        outcome["message"] = message
        if prop.name in self.plan.expected_failures:
            pytest.xfail(self.plan.expected_failures[prop.name])
        again = (
            f"{message.splitlines()[0]}\n  on this shard too; another failure of this property shows the smallest case"
        )
        pytest.fail(message if first else again, pytrace=False)

    def _investigate(self, prop: Property, found: Found) -> Failure:
        """Shards on which the same property fails share the smallest case of the first."""
        if prop.name not in self.explained:
            self.explained[prop.name] = investigate(
                self.plan,
                prop,
                found,
                shrink=not self.config.getoption(f"--{PREFIX}no-shrink"),
                regressions=self.config.getoption(f"--{PREFIX}regressions"),
            )
        return self.explained[prop.name]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send what an item counted along with its report."""
        report = yield
        if report.when == "call" and _OUTCOME in item.stash:
            report.contract_outcome = item.stash[_OUTCOME]  # type: ignore[attr-defined]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what an item counted."""
        outcome = dict(getattr(report, "contract_outcome", {}))
        if outcome:
            message = outcome.pop("message", None)
            result = ShardResult.from_json(outcome)
            self.reported.setdefault(result.shard, result).tallies.update(result.tallies)
            for name in result.tallies if message else ():
                self.messages.setdefault(name, message)

    def report(self) -> Report:
        """The report on everything that was reported to this process."""
        names = {name for result in self.reported.values() for name in result.tallies}
        plan = replace(self.plan, properties=tuple(prop for prop in self.plan.properties if prop.name in names))
        results = tuple(self.reported[shard] for shard in self.plan.shards if shard in self.reported)
        failures = [
            Failure(name, Case.from_json(tally.smallest_failure.case), self.messages[name])
            for name, tally in Report(plan, results).tallies.items()
            if tally.smallest_failure is not None
        ]
        return conclude(plan, results, failures)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session where the items passed one by one, but the run did not: a property ran no check, say."""
        if self.reported and session.exitstatus == pytest.ExitCode.OK and not self.report().passed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the verdict table."""
        if self.reported:
            text = io.StringIO()
            print_report(self.report(), Console(file=text, width=120), messages=False)
            terminalreporter.section("patchify contract")
            terminalreporter.write(text.getvalue())
