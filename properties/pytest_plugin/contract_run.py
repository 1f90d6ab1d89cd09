"""A run under pytest: one test item for each property and shard, or part of the run, and one report for all of them.

The first item of a shard has all of it run, by a process that the layer may end. What was found goes along with the
item's test report, which xdist carries to the process that prints the summary.
"""

import io
from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from rich.console import Console

from oracles.agreement import OracleError
from properties.cases.shrinking import complexity
from properties.failures.record import Record
from properties.laws.law import Law
from properties.reports.json import write_report
from properties.reports.text import WIDTH, headline, print_report
from properties.runs.configuration import configured, words_on
from properties.runs.failure import failure_from
from properties.runs.journal import Journal
from properties.runs.local_workers import LocalWorkers
from properties.runs.options import OPTIONS, PREFIX, Option
from properties.runs.outputs import check_outputs
from properties.runs.plan import plan_from_options
from properties.runs.report import Report, conclude
from properties.runs.result import Found, ShardResult, Tally
from properties.trials.faults import available, check_machine
from properties.trials.implementation import CannotRun

# What a worker of xdist is given under this name.
_STEERED = "patchify_steered"
_OUTCOME = pytest.StashKey[dict[str, Any]]()


def of_project(config: pytest.Config) -> dict[str, Any]:
    """What the project configures and the command line does not say, by the names of options' members.

    Raises:
        CannotRun: where the project configures nonsense.
    """
    options = {option.member: option for option in OPTIONS}
    words = {word.partition("=")[0] for word in config.invocation_params.args}

    def is_given(option: Option) -> bool:
        flag = f"--{PREFIX}{option.flag}"
        return flag in words or config.getoption(flag) != option.absent

    return {name: value for name, value in configured("pytest").items() if not is_given(options[name])}


class ContractRun:
    """What one process knows of the run, and the hooks that make a pytest session of it."""

    def __init__(self, config: pytest.Config, of_project: Mapping[str, Any]) -> None:
        self.config = config
        self.of_project = of_project
        self.plan = plan_from_options(self._option).with_steered(getattr(config, "workerinput", {}).get(_STEERED, {}))
        available(self.plan.device)
        check_outputs(json=self._option("json"), html=self._option("html"), regressions=self._option("regressions"))
        self.temporary = TemporaryDirectory(prefix="patchify-run-")
        self.done: dict[str, list[ShardResult]] = {}
        self.examined: dict[str, Record] = {}
        # In the process that prints the summary: what all items reported, whichever process ran them.
        self.reported: dict[str, ShardResult] = {}
        # Why the report is not there as a file.
        self.unwritten = ""
        self.selected: set[str] = set()
        self.records: dict[str, Record] = {}

    def _option(self, name: str) -> Any:
        """What the command line says, or else the project's configuration."""
        value = self.config.getoption(f"--{PREFIX}{name}")
        return self.of_project.get(name.replace("-", "_"), value)

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The shards that are run together, by the name that stands in the ids of their items."""
        parts: int | None = self._option("shards")
        if parts is None:
            return {shard: (shard,) for shard in self.plan.shards}
        return {f"{number}of{parts}": replace(self.plan, part=(number, parts)).shards for number in range(1, parts + 1)}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker of xdist the steered cases, which take seconds to choose."""
        node.workerinput[_STEERED] = self.plan.steered

    def pytest_report_header(self) -> str:
        """Say what is verified, and the seed that repeats it."""
        other = self.config.getoption("--hypothesis-seed", None)
        note = "" if other is None else f"; --hypothesis-seed {other} changes none of its cases"
        told = f"; {words_on(self.of_project)}" if self.of_project else ""
        return f"patchify: {headline(self.plan)}{told}{note}"

    def pytest_sessionstart(self) -> None:
        """Stop at once where an oracle is wrong on this machine."""
        try:
            check_machine(self.plan.device)
        except OracleError as error:
            pytest.exit(f"could not run: {error}", returncode=2)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one item of every property on every group of shards."""
        if "contract_check" not in metafunc.fixturenames:
            return
        checks = []
        for group, shards in self.groups.items():
            judged = {prop.name for shard in shards for prop in self.plan.properties_of(shard)}
            checks += [
                pytest.param((self, prop, group), id=f"{prop.name}-{group}")
                for prop in self.plan.properties
                if prop.name in judged
            ]
        metafunc.parametrize("contract_check", checks)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Run no properties but those that were selected."""
        selected = set()
        for item in session.items:
            if isinstance(item, pytest.Function) and "contract_check" in getattr(item, "fixturenames", ()):
                check: Any = item.callspec.params["contract_check"]
                selected.add(check[1].name)
        self.plan = replace(self.plan, properties=tuple(prop for prop in self.plan.properties if prop.name in selected))

    @cached_property
    def workers(self) -> LocalWorkers:
        """The process that runs the shards of this one."""
        journal = Journal(Path(self.temporary.name))
        journal.start(self.plan)
        return LocalWorkers(journal, jobs=1, case_timeout=self._option("case-timeout"))

    def check(self, item: pytest.Item, prop: Law, group: str) -> None:
        """Have a group of shards run, if that is not done, and fail where one property does not hold on it."""
        outcome = item.stash[_OUTCOME] = {}
        if group not in self.done:
            self.done[group] = self._run(self.groups[group])
            outcome["results"] = [result.to_json() for result in self.done[group]]
            outcome["selected"] = [prop.name for prop in self.plan.properties]
        tally = self._tally(group, prop)
        # In the JUnit report, too.
        item.user_properties += [
            ("run_seed", self.plan.seed),
            ("checks", tally.checks),
            ("inapplicable", sum(tally.inapplicable.values())),
        ]
        failed = next((one for one in (prop, *self.plan.owners) if self._tally(group, one).failed), None)
        if failed is None:
            return
        prop, tally = failed, self._tally(group, failed)
        assert tally.smallest_failure is not None
        first = prop.name not in self.examined
        record = self._examine(prop, tally.smallest_failure)
        outcome["record"] = record.to_json()
        if prop.name in self.plan.expected_failures:
            pytest.xfail(self.plan.expected_failures[prop.name])
        message = failure_from(self.plan, record).message
        again = (
            f"{message.splitlines()[0]}\n  on this shard too; another failure of this property shows the smallest case"
        )
        pytest.fail(message if first else again, pytrace=False)

    def _tally(self, group: str, prop: Law) -> Tally:
        tally = Tally()
        for result in self.done[group]:
            tally = tally.merged(result.tallies.get(prop.name, Tally()))
        return tally

    def _run(self, shards: tuple[str, ...]) -> list[ShardResult]:
        try:
            self.workers.run_shards(shards)
        except CannotRun as error:
            pytest.fail(f"could not run: {error}", pytrace=False)
        return self.workers.journal.results(self.plan, shards)

    def _examine(self, prop: Law, found: Found) -> Record:
        """Shards on which the same property fails share the smallest case of the first."""
        if prop.name not in self.examined:
            self.examined |= self.workers.examine({prop.name: found}, shrink=not self._option("no-shrink"))
        return self.examined[prop.name]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send what an item found along with its report."""
        report = yield
        if report.when == "call" and _OUTCOME in item.stash:
            report.contract_outcome = item.stash[_OUTCOME]  # type: ignore[attr-defined]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what an item found."""
        outcome = getattr(report, "contract_outcome", {})
        for result in outcome.get("results", ()):
            self.reported[result["shard"]] = ShardResult.from_json(result)
        self.selected.update(outcome.get("selected", ()))
        if "record" in outcome:
            record = Record.from_json(outcome["record"])
            # The workers of xdist have each found a smallest case of their own.
            known = self.records.setdefault(record.prop.name, record)
            self.records[record.prop.name] = min(known, record, key=lambda one: complexity(one.case))

    @cached_property
    def report(self) -> Report:
        """The report on everything that was reported to this process, and the properties that were selected.

        Under xdist this process has selected nothing itself.
        """
        properties = tuple(prop for prop in self.plan.properties if prop.name in self.selected)
        plan = replace(self.plan, properties=properties)
        results = [self.reported[shard] for shard in plan.shards if shard in self.reported]
        props = {prop.name: prop for prop in (*plan.properties, *plan.owners)}

        def known(found: Mapping[str, Found]) -> dict[str, Record]:
            """A session that ended early has not come to the items of all properties that failed."""
            return {name: self.records.get(name) or self._examine(props[name], one) for name, one in found.items()}

        return conclude(plan, results, known, regressions=self._option("regressions"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session where the items passed one by one, but the run did not: a property ran no check, say."""
        if not hasattr(self.config, "workerinput") and self.reported:
            self._finish(session)
        self.temporary.cleanup()

    def _finish(self, session: pytest.Session) -> None:
        passed = self.report.passed
        if session.exitstatus == pytest.ExitCode.OK and not passed:
            incomplete = self.report.incomplete
            session.exitstatus = pytest.ExitCode.INTERRUPTED if incomplete else pytest.ExitCode.TESTS_FAILED
        try:
            write_report(self.report, json_file=self._option("json"), html_file=self._option("html"))
        except CannotRun as error:
            self.unwritten = str(error)
            session.exitstatus = pytest.ExitCode.INTERRUPTED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the verdict table."""
        if self.reported:
            text = io.StringIO()
            verbose = self.config.get_verbosity() > 0
            print_report(self.report, Console(file=text, width=WIDTH), messages=False, verbose=verbose)
            terminalreporter.section("patchify contract")
            terminalreporter.write(text.getvalue())
        if self.unwritten:
            terminalreporter.write_line(self.unwritten, red=True)
