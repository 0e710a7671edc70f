"""Rules between the fields of one row: a sum, an order, what follows from what.

A small vocabulary instead of an expression language: a contract is data, and nothing in it is run.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from guards.settings import Number, Settings
from guards.verdict import Rows

Texts = Mapping[str, NDArray[Any]]  # inputs of BYTES by name, (n, count) objects of bytes
Relation = Literal["<", "<=", "==", "!=", ">=", ">", "present", "missing"]
_BARE: Final = ("present", "missing")
_ORDER: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt, "<=": operator.le, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip


class Condition(Settings):
    """One comparison: of a field, or the sum of several, with other fields or with a value."""

    left: str | tuple[str, ...] = Field(description="A field, or several to be added up.")
    relation: Relation = Field(alias="is")
    right: str | tuple[str, ...] | None = Field(default=None, description="As `left`.")
    value: Number | str | None = Field(default=None, description="Instead of `right`.")
    tolerance: float = Field(default=0.0, ge=0, description="By how much numbers may miss it.")

    @model_validator(mode="after")
    def _compares_two_things(self) -> "Condition":
        sides = (self.right is not None) + (self.value is not None)
        if sides != (0 if self.relation in _BARE else 1):
            raise ValueError(f"{self.relation!r} takes right or value: one, and none if it is bare")
        if isinstance(self.value, str) and self.relation not in ("==", "!="):
            raise ValueError("a text can only be == or != to a value")
        if not self.own_fields:
            raise ValueError("left and right name at least one field")
        return self

    @property
    def own_fields(self) -> tuple[str, ...]:
        """The fields that it compares."""
        return (*_names(self.left), *_names(self.right))

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field that it names."""
        return self.own_fields

    def __str__(self) -> str:
        """Put it as people write it."""
        right = " + ".join(_names(self.right)) if self.value is None else str(self.value)
        return f"{' + '.join(_names(self.left))} {self.relation} {right}".rstrip()


class Rule(Condition):
    """What must hold of a row, always or where ``when`` does.

    A comparison of a field that is missing says nothing, and breaks no rule.
    """

    when: Condition | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field that it names, also in ``when``."""
        return (*self.own_fields, *(() if self.when is None else self.when.fields))

    def __str__(self) -> str:
        """Put it as people write it."""
        return super().__str__() + ("" if self.when is None else f" where {self.when}")


class RowRule:
    """A rule that knows the columns of its fields.  Immutable."""

    def __init__(self, rule: Rule, columns: Mapping[str, int], texts: Sequence[str]) -> None:
        """Find the fields.

        Raises:
            ValueError: a field is unknown, or is a text where a number is wanted.
        """
        self.told = str(rule)
        self._rule = rule
        self._columns = columns
        self.texts = set(rule.fields) & set(texts)  # what it needs to be told besides the rows
        for condition in (rule, rule.when):
            if condition is not None:
                _check_fields(condition, columns, texts)

    def broken(self, rows: Rows, texts: Texts) -> NDArray[np.bool_]:
        """Find the rows, (n,), that break it."""
        holds = self._holds(self._rule, rows, texts)
        if holds.all():
            return np.zeros(len(rows), np.bool_)
        broken = ~holds & self._says(self._rule, rows, texts)
        if self._rule.when is not None:
            broken &= self._says(self._rule.when, rows, texts)
            broken &= self._holds(self._rule.when, rows, texts)
        return broken

    def _says(self, condition: Condition, rows: Rows, texts: Texts) -> NDArray[np.bool_]:
        """Find the rows of which it says something: none of its fields is missing."""
        said = np.ones(len(rows), np.bool_)
        if condition.relation not in _BARE:
            for name in condition.own_fields:
                said &= self._present(name, rows, texts)
        return said

    def _holds(self, condition: Condition, rows: Rows, texts: Texts) -> NDArray[np.bool_]:
        """Find the rows of which it holds, where it says something."""
        if condition.relation in _BARE:
            there = np.ones(len(rows), np.bool_)
            for name in condition.own_fields:
                there &= self._present(name, rows, texts)
            return there if condition.relation == "present" else ~there
        if isinstance(condition.value, str):
            wanted = condition.value.encode()
            values = texts[condition.own_fields[0]].ravel()
            is_equal = np.array([value == wanted for value in values], np.bool_)
            return is_equal if condition.relation == "==" else ~is_equal
        gap = self._sum(condition.left, rows)
        gap -= self._sum(condition.right, rows) if condition.value is None else condition.value
        return _compare(condition, gap)

    def _present(self, name: str, rows: Rows, texts: Texts) -> NDArray[np.bool_]:
        if name in self._columns:
            return ~np.isnan(rows[:, self._columns[name]])
        return np.array([bool(value) for value in texts[name].ravel()], np.bool_)

    def _sum(self, names: str | tuple[str, ...] | None, rows: Rows) -> NDArray[np.float64]:
        first, *others = (self._columns[name] for name in _names(names))
        total = rows[:, first].astype(np.float64)
        for column in others:
            total += rows[:, column]
        return total


def _compare(condition: Condition, gap: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Compare left minus right with nothing, give or take the tolerance."""
    tolerance = condition.tolerance
    if condition.relation in ("==", "!="):
        is_equal = np.abs(gap) <= tolerance
        return np.asarray(is_equal if condition.relation == "==" else ~is_equal)
    slack = tolerance if condition.relation in ("<", "<=") else -tolerance
    return np.asarray(_ORDER[condition.relation](gap, slack))


def _check_fields(condition: Condition, columns: Mapping[str, int], texts: Sequence[str]) -> None:
    names = set(condition.own_fields)
    if unknown := sorted(names - columns.keys() - set(texts)):
        raise ValueError(f"the rule {condition} names no single column: {unknown}")
    if condition.relation in _BARE:
        return
    if isinstance(condition.value, str):
        if numbers := sorted(names & columns.keys()):
            raise ValueError(f"the rule {condition} compares numbers with a text: {numbers}")
        if len(names) > 1:
            raise ValueError(f"the rule {condition} adds up texts")
    elif words := sorted(names & set(texts)):
        raise ValueError(f"the rule {condition} does arithmetic with texts: {words}")


def _names(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names or ()
