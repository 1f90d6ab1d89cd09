"""Makes ``docs/layers.md`` of what ``benchmarks.correct`` and ``benchmarks.mutation`` have found.

python -m benchmarks.layers_page > docs/layers.md
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks import correct, mutation

HERE = Path(__file__).parent
SEEDS = (1, 2, 3)


def page() -> Iterator[str]:
    """The page, line by line."""
    yield from (
        "# Right layers, and mutants made of them",
        "",
        "Made by `python -m benchmarks.layers_page` of what `python -m benchmarks.correct` and",
        "`python -m benchmarks.mutation` found; not written by hand. Either goes on where it stopped.",
        "",
        "## Right layers",
        "",
        "No law may fail a layer of `tests/correct` at level contract. A part of a run is what runs in eager mode,",
        "what is compiled, or the small scope. `lost` are checks that a fault of torch takes, `not judged` ones that",
        "were too dear.",
        "",
        "```",
        *correct.table(correct.read(HERE / "correct.jsonl"), correct.work(SEEDS)),
        "```",
        "",
        "## Mutants",
        "",
        "Each judged by the quick profile at both levels until a law fails it; drawn from all in random order. Those",
        "that cannot be constructed are `stillborn`; `equivalent` ones compute the same, for the reason that is given.",
        "",
        "```",
        *mutation.summary([one.name for one in mutation.every()], mutation.read(HERE / "mutation.jsonl")),
        "```",
    )


if __name__ == "__main__":
    print(*page(), sep="\n")
