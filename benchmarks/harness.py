"""What the harness costs: checks per CPU second of a run, and of the same laws as tests of their own under Hypothesis.

    python -m benchmarks.harness > benchmarks/harness.txt

In a run every law that judges drawn cases judges the same trial, which has one layer, one forward pass, one backward
pass and one of each expectation. As a test under ``@given`` each law has its own draw, layer and oracle. Arithmetic
alone is the CPU time of the run that was spent in the layer, in autograd, and in the oracles.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from hypothesis import HealthCheck, Phase, given, settings

from oracles import adjoint, unfold
from patchify import Patchify
from properties.cases.case import Case
from properties.cases.drawing import cases
from properties.laws.law import Law
from properties.runs.plan import make_plan
from properties.runs.shard import run_cases
from properties.runs.shard_names import is_random
from properties.trials.verdict import Inapplicable

DRAWN = 300
# Of each law as a test of its own: there are so many laws that few examples take as long as a run.
EXAMPLES = 40
ROUNDS = 3
# Where the arithmetic is: the layer, the backward pass, the oracles.
_ARITHMETIC = (
    (Patchify, "forward"),
    (torch.autograd, "grad"),
    (unfold, "forward"),
    *((adjoint, name) for name in ("input_gradient", "weight_gradient", "bias_gradient")),
)


def main() -> int:
    """Print a row for each, and the ratios."""
    torch.set_num_threads(1)
    plan = make_plan("patchify:Patchify", seed=7, levels=("contract", "robust"), cases=DRAWN, strength=0)
    shards = [shard for shard in plan.shards if shard.startswith("random")]
    assert all(map(is_random, shards))
    laws = plan.properties_of(shards[0])
    print(f"{len(laws)} laws, {DRAWN} drawn cases, {EXAMPLES} examples of each law as a test of its own", flush=True)
    for number in range(1, ROUNDS + 1):
        with _timed() as spent:
            began = time.process_time()
            checks = sum(
                not isinstance(verdict, Inapplicable)
                for shard in shards
                for result in run_cases(plan, shard, plan.cases_of(shard))
                for verdict in result.verdicts.values()
            )
            seconds = time.process_time() - began
        began = time.process_time()
        alone = sum(_tested(law) for law in laws)
        tests = time.process_time() - began
        rates = {"a run": checks / seconds, "tests of their own": alone / tests, "arithmetic alone": checks / spent[0]}
        told = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
        times = f"a run over tests {rates['a run'] / rates['tests of their own']:.1f}"
        share = f"over arithmetic {spent[0] / seconds:.2f}"
        print(f"round {number}, checks per CPU second: {told}; {times}, {share}", flush=True)
    return 0


def _tested(law: Law) -> int:
    """How often a law says yes or no of a right layer where it is a test of its own."""
    checks = 0

    @settings(
        max_examples=EXAMPLES,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def test(case: Case) -> None:
        nonlocal checks
        checks += not isinstance(law.judge_case(case, Patchify), Inapplicable)

    test()
    return checks


@contextmanager
def _timed() -> Iterator[list[float]]:
    """CPU seconds within the arithmetic, as the only element of a list."""
    spent = [0.0]
    depth = 0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal depth
            depth += 1
            began = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                depth -= 1
                # What is called within another is part of that.
                spent[0] += (time.process_time() - began) * (depth == 0)

        return call

    with ExitStack() as patches:
        for owner, name in _ARITHMETIC:
            patches.enter_context(patch.object(owner, name, timed(getattr(owner, name))))
        yield spent


if __name__ == "__main__":
    sys.exit(main())
