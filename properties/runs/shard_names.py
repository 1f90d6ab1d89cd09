"""The names of shards: made, taken apart and checked here, and nowhere else.

They stand in records, begin the names of files in the folder of a run, and end the ids of pytest's items. Nothing is
imported here that draws cases: whoever reads a record does not need it.
"""

import re

# What any version may call a shard; the schema of records says the same.
PATTERN = "^[a-zA-Z0-9-]{1,40}$"

# Kinds of which a run has one shard at most, called as they are.
REGRESSIONS, LANDMARKS, HUGE, OUTSIDE = "regressions", "landmarks", "huge", "outside"
# Kinds whose shards are numbered, some of them for each number of axes. What shards draw depends on their names.
RANDOM, STEERED, COMPILED_STEERED = "random", "steered", "compiled-steered"
HISTORIES, COPIES = "histories", "copies"
COMPILED = {data_dim: f"compiled{data_dim}D-" for data_dim in (1, 2, 3)}
SMALL = {data_dim: f"small{data_dim}D-" for data_dim in (1, 2, 3)}
# What a person calls each kind.
NAMES = {
    REGRESSIONS: "records",
    LANDMARKS: "landmarks",
    HUGE: "huge tensors",
    OUTSIDE: "cases outside the domain",
    RANDOM: "random cases",
    STEERED: "cases for missing levels",
    HISTORIES: "histories",
    COPIES: "histories with copies",
    COMPILED_STEERED: "compiled, for missing levels",
    **{kind: f"compiled, {data_dim}D" for data_dim, kind in COMPILED.items()},
    **{kind: f"small scope, {data_dim}D" for data_dim, kind in SMALL.items()},
}
_DATA_DIM = {kind: data_dim for kinds in (COMPILED, SMALL) for data_dim, kind in kinds.items()}


def name_of(kind: str, number: int) -> str:
    """The name of a shard of a kind, numbered from 0.

    Raises:
        ValueError: where no record could hold it.
    """
    name = f"{kind}{number}"
    if not re.fullmatch(PATTERN, name):
        raise ValueError(f"no shard can be called {name!r}: no record could name it")
    return name


def kind_of(shard: str) -> str:
    """The kind of a shard; of a kind, itself."""
    return shard.rstrip("0123456789")


def number_of(shard: str) -> int:
    """Which shard of its kind this is."""
    return int(shard.removeprefix(kind_of(shard)))


def data_dim_of(shard: str) -> int:
    """The number of axes that all cases of a shard, or of a kind of shard, have."""
    return _DATA_DIM[kind_of(shard)]


def is_small(shard: str) -> bool:
    """Whether a shard, or a kind of shard, is of the small scope."""
    return kind_of(shard) in SMALL.values()


def is_compiled(shard: str) -> bool:
    """Whether the cases of a shard, or of a kind of shard, are compiled."""
    return kind_of(shard) in (*COMPILED.values(), COMPILED_STEERED)


def is_random(shard: str) -> bool:
    """Whether the cases of a shard are a random sample."""
    return kind_of(shard) in (RANDOM, HISTORIES, COPIES, *COMPILED.values())
