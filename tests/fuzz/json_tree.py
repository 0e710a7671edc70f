"""JSON as a tree that may say what JSON may not: keys twice, NaN, any text for a value."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.fuzz.faults import CANARY

# A tree is a list, a `Pairs`, a `Token`, or anything that `json` writes.
HOSTILE = (
    "NaN", "-Infinity", "1e999", "-1e999", "9" * 5000, "-0", "-1", "0", "1.5", "1e2",
    "01", "+1", ".5", "true", "null", "'a'", "[", "}", "{}", "[]", "[[]]", "[1,]", "[null]",
    str(2**31), str(2**32), str(2**62), str(2**63), str(2**64), str(-(2**63)),
    '"\\ud800"', '"\\u0000"', '"\\x"', '""', '[""]', "\xff", f'"{CANARY}"', f'"{CANARY * 500}"',
    '{"a": 1, "a": 2}', "[" * 100 + "]" * 100,
)  # fmt: skip
KEYS = (
    "inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data", "timeout",
    "priority", "binary_data_size", "binary_data", "binary_data_output", "classification",
    "sequence_id", "shared_memory_region", "model_name", "", CANARY, "\x00", "a" * 5000,
)  # fmt: skip


class Token(str):
    """Text that goes out as it is."""


class Pairs(list[tuple[str, Any]]):
    """An object whose keys need not differ."""


def tree(value: Any) -> Any:
    """Make a tree of what `json` reads."""
    if isinstance(value, dict):
        return Pairs((key, tree(item)) for key, item in value.items())
    return [tree(item) for item in value] if isinstance(value, list) else value


def text(node: Any) -> str:
    """Write a tree down."""
    if isinstance(node, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{text(item)}" for key, item in node) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(text, node)) + "]"
    return str(node) if isinstance(node, Token) else json.dumps(node)


def mutate(root: Any, rng: random.Random) -> None:
    """Break one place of a tree, in place."""
    branch = rng.choice([node for node in _branches(root) if node])
    at = rng.randrange(len(branch))
    rng.choice(WAYS)(branch, at, rng)


def _branches(node: Any) -> Iterator[Any]:
    if isinstance(node, list):
        yield node
        for item in node:
            yield from _branches(item[1] if isinstance(node, Pairs) else item)


def _put(branch: Any, at: int, item: Any) -> None:
    branch[at] = (branch[at][0], item) if isinstance(branch, Pairs) else item


def _replace(branch: Any, at: int, rng: random.Random) -> None:
    _put(branch, at, Token(rng.choice(HOSTILE)))


def _remove(branch: Any, at: int, rng: random.Random) -> None:
    del branch[at]


def _double(branch: Any, at: int, rng: random.Random) -> None:
    branch.insert(rng.randrange(len(branch) + 1), branch[at])


def _flood(branch: Any, at: int, rng: random.Random) -> None:
    branch += [branch[at]] * rng.choice((2, 8, 65))


def _wrap(branch: Any, at: int, rng: random.Random) -> None:
    item = branch[at][1] if isinstance(branch, Pairs) else branch[at]
    _put(branch, at, rng.choice(([item], Pairs([("a", item)]), [])))


def _rename(branch: Any, at: int, rng: random.Random) -> None:
    if isinstance(branch, Pairs):
        branch[at] = (rng.choice(KEYS), branch[at][1])
    else:
        _replace(branch, at, rng)


def _add(branch: Any, at: int, rng: random.Random) -> None:
    item = Token(rng.choice(HOSTILE))
    branch.insert(at, (rng.choice(KEYS), item) if isinstance(branch, Pairs) else item)


WAYS: tuple[Callable[[Any, int, random.Random], None], ...] = (
    _replace, _replace, _remove, _double, _flood, _wrap, _rename, _add,
)  # fmt: skip
