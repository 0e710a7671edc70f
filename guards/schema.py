"""Checks rows against the feature contract of a model."""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from guards.columns import column_names
from guards.contract.checks import VALUE_KINDS, Limits, finite_kinds, is_finite
from guards.contract.feature import Feature, there
from guards.contract.rules import RowRule, Rule, Texts
from guards.contract.text import shown, text_faults
from guards.errors import ShapeMismatchError
from guards.settings import Settings
from guards.verdict import Action, Reason, Repair, Rows, Verdict, action_of

MAX_REASONS = 8  # per row; a row of 784 NaNs is explained well enough by the first few
NO_TEXTS: Texts = MappingProxyType({})

OnRow = Literal["allow", "flag", "fallback", "reject"]
OnValue = Literal["allow", "flag", "impute", "fallback", "reject"]


class OnViolation(Settings):
    """What each kind of violation leads to; `impute` puts the feature's default in its place."""

    missing: OnValue = Field(default="reject", description="NaN or no word, where it is no value.")
    nonfinite: OnValue = Field(default="reject", description="Infinity, anywhere.")
    range: OnValue = Field(default="flag", description="Below low or above high.")
    category: OnValue = Field(default="flag", description="A value that is no category.")
    type: OnValue = Field(default="flag", description="Not whole, not 0 or 1, not UTF-8.")
    text: OnValue = Field(default="flag", description="A text's length, script or repetition.")
    image: OnRow = Field(default="flag", description="An image with too little contrast.")
    rule: OnRow = Field(default="flag", description="Fields that do not go together.")

    def of(self, kind: str) -> OnValue:
        """Give the action for a kind of reason."""
        return getattr(self, _SETTING.get(kind, kind))  # type: ignore[no-any-return]


_SETTING = {"length": "text", "script": "text", "repetition": "text", "contrast": "image"}


class SchemaSettings(Settings):
    """Settings of `SchemaGuard`."""

    features: tuple[Feature, ...] = Field(
        default=(), description="Columns in order; none: any width, only finiteness is checked."
    )
    rules: tuple[Rule, ...] = Field(default=(), description="What must hold between the fields.")
    on_violation: OnViolation = OnViolation()

    @model_validator(mode="after")
    def _can_be_kept(self) -> "SchemaSettings":
        if not self.features:
            return self  # they are inferred, and checked then
        names = [feature.name for feature in self.features]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two features have the same name: {twice}")
        for feature in self.features:
            for kind in _imputed(feature, self.on_violation):
                if feature.default is None:
                    raise ValueError(f"{feature.name} has no default, and {kind} is to be imputed")
        _row_rules(self)
        return self


def _imputed(feature: Feature, on: OnViolation) -> Iterator[str]:
    """List the kinds of violation of a feature that its default would be put in place of."""
    can_break = {
        "missing": not feature.missing and feature.kind != "text",
        "nonfinite": not feature.is_text,
        "range": feature.low is not None or feature.high is not None,
        "category": feature.categories is not None,
        "type": feature.kind in ("integer", "boolean", "text"),
        "text": feature.text is not None,
    }
    return (kind for kind, can in can_break.items() if can and on.of(kind) == "impute")


class SchemaGuard:
    """Checks every value of every row against the feature contract."""

    name = "schema"

    def __init__(self, settings: SchemaSettings) -> None:
        features = there(settings.features, "serving")
        numeric = [feature for feature in features if not feature.is_text]
        self._texts = [feature for feature in features if feature.is_text]
        self._columns = [feature for feature in numeric for _ in range(feature.count)]
        self._names = [
            name for feature in numeric for name in column_names((feature.name,), feature.count)
        ]
        self._limits = {
            dtype: Limits.of(numeric, dtype)
            for dtype in (np.dtype(np.float32), np.dtype(np.float64))
        }
        self._rules = _row_rules(settings)
        self._on = on = settings.on_violation
        todos: list[OnValue] = ["allow", *(on.of(kind) for kind in VALUE_KINDS[1:])]
        if not self._columns:  # nobody has described them, so nothing can take their place
            todos = ["reject" if todo == "impute" else todo for todo in todos]
        self._actions = np.array([_action(todo) for todo in todos], np.uint8)  # by kind
        self._imputes = np.array([todo == "impute" for todo in todos], np.bool_)

    def check(self, rows: Rows, texts: Texts = NO_TEXTS) -> Verdict:
        """Judge each of ``n`` rows.

        Args:
            rows: Shape (n, d), the numbers.
            texts: Shape (n, ...) each, the inputs of BYTES by their names; what is not given is
                not judged.

        Raises:
            ShapeMismatchError: the rows are not as wide as the features described.
        """
        if rows.ndim != 2 or (self._columns and rows.shape[1] != len(self._columns)):
            raise ShapeMismatchError(self.name, len(self._columns), rows.shape)
        if rows.dtype not in self._limits:
            rows = rows.astype(np.float64)
        findings = _Findings(len(rows), self._on)
        self._check_numbers(rows, findings)
        for feature in self._texts:
            if feature.name in texts:
                self._check_texts(feature, texts[feature.name], findings)
        for rule in self._rules:
            if not rule.texts <= texts.keys():
                continue
            for row in np.flatnonzero(rule.broken(rows, texts)):
                findings.add(int(row), Reason("row", "rule", None, rule.told))
        return findings.verdict(self.name)

    def _check_numbers(self, rows: Rows, findings: "_Findings") -> None:
        limits = self._limits[rows.dtype]
        ordinary = limits.ordinary(rows) if self._columns else is_finite(rows)
        if ordinary.all():
            return
        suspects = np.flatnonzero(~ordinary)
        strange = rows[suspects]
        kinds = limits.kinds(strange) if self._columns else finite_kinds(strange)
        findings.act(suspects, self._actions[kinds].max(axis=1))
        for row, values, found in zip(suspects.tolist(), strange, kinds, strict=True):
            for column in np.flatnonzero(found)[:MAX_REASONS].tolist():
                kind = VALUE_KINDS[found[column]]
                findings.explain(row, self._reason(column, float(values[column]), kind))
        for at, column in np.argwhere(self._imputes[kinds]).tolist():
            findings.repair(Repair(int(suspects[at]), column, self._columns[column].default))
        for columns, contrast in limits.images:
            spans = np.ptp(strange[:, columns], axis=1)
            for row, span in zip(suspects.tolist(), spans.tolist(), strict=True):
                if span < contrast:
                    name = self._columns[columns.start].name
                    findings.add(row, Reason(name, "contrast", span, f"at least {contrast:g}"))

    def _reason(self, column: int, value: float, kind: str) -> Reason:
        # As words: neither NaN nor infinity exists in JSON.
        observed = value if np.isfinite(value) else str(value)
        if not self._columns:
            return Reason(column_names((), column + 1)[column], kind, observed, "a finite number")
        feature = self._columns[column]
        is_number = kind in ("missing", "nonfinite")
        expected = "a finite number" if is_number else _expected(feature)
        if self._on.of(kind) == "impute":
            expected += _replaced(feature)
        return Reason(self._names[column], kind, observed, expected)

    def _check_texts(self, feature: Feature, texts: NDArray[Any], findings: "_Findings") -> None:
        names = column_names((feature.name,), feature.count)
        known = {str(category).encode() for category in feature.categories or ()}
        for row, values in enumerate(texts.reshape(len(texts), -1).tolist()):
            for column, value in enumerate(values):
                if value in known:
                    continue
                for kind, expected in text_faults(value, feature):
                    if self._on.of(kind) == "impute":
                        expected += _replaced(feature)
                        findings.repair(Repair(row, column, feature.default, feature.name))
                    findings.add(row, Reason(names[column], kind, shown(value), expected))


class _Findings:
    """What is found in some rows, piece by piece."""

    def __init__(self, rows: int, on: OnViolation) -> None:
        self._on = on
        self._actions = np.zeros(rows, np.uint8)
        self._reasons: dict[int, tuple[Reason, ...]] = {}
        self._repairs: list[Repair] = []

    def act(self, rows: NDArray[np.intp], actions: NDArray[np.uint8]) -> None:
        """Let something happen to some rows, if nothing worse does."""
        self._actions[rows] = np.maximum(self._actions[rows], actions)

    def explain(self, row: int, reason: Reason) -> None:
        """Say why something happens to a row."""
        known = self._reasons.get(row, ())
        if len(known) < MAX_REASONS:
            self._reasons[row] = (*known, reason)

    def repair(self, repair: Repair) -> None:
        """Have a value replaced."""
        self._repairs.append(repair)

    def add(self, row: int, reason: Reason) -> None:
        """Act on one violation, and say why."""
        self._actions[row] = max(self._actions[row], _action(self._on.of(reason.kind)))
        self.explain(row, reason)

    def verdict(self, guard: str) -> Verdict:
        """Put it together."""
        return Verdict(guard, self._actions, reasons=self._reasons, repairs=tuple(self._repairs))


def _action(todo: OnValue) -> Action:
    """Say what becomes of a row; one that was repaired is flagged."""
    return Action.FLAG if todo == "impute" else action_of(todo)


def _replaced(feature: Feature) -> str:
    return f"; {feature.default} took its place"


def _row_rules(settings: SchemaSettings) -> tuple[RowRule, ...]:
    """Let the rules find their fields; a rule needs single columns.

    Raises:
        ValueError: a rule names none.
    """
    features = there(settings.features, "serving")
    columns: dict[str, int] = {}
    width = 0
    for feature in features:
        if feature.is_text:
            continue
        if feature.count == 1:
            columns[feature.name] = width
        width += feature.count
    texts = [feature.name for feature in features if feature.is_text and feature.count == 1]
    return tuple(RowRule(rule, columns, texts) for rule in settings.rules)


def _expected(feature: Feature) -> str:
    if feature.kind == "boolean":
        return "0 or 1"
    if feature.categories is not None:
        return "one of " + ", ".join(f"{value:g}" for value in feature.categories[:MAX_REASONS])
    low = "-∞" if feature.low is None else f"{feature.low:g}"
    high = "∞" if feature.high is None else f"{feature.high:g}"
    whole = "a whole number, " if feature.kind == "integer" else ""
    return f"{whole}{low} to {high}{' ' + feature.unit if feature.unit else ''}"
