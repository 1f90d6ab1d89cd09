"""The contract as a test: ``pytest --pyargs properties --patchify-implementation package.module:Name``."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from properties.laws.law import Law
    from properties.pytest_plugin.contract_run import ContractRun


def test_property(request: pytest.FixtureRequest, contract_check: "tuple[ContractRun, Law, str]") -> None:
    """The property holds on every case of the shard."""
    run, prop, shard = contract_check
    run.check(request.node, prop, shard)
