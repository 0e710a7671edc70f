"""The guards of a version, one after the other, and what a guard's own failure means."""

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from guards.contract.rules import Texts
from guards.verdict import Action, Guard, Reason, Rows, Verdict
from models.bundle import GuardSet
from models.manifest import GuardsSpec

log = logging.getLogger(__name__)

GUARD_FAILED = "guard_failed"  # the kind of reason that is no fault of the row's


class GuardChain:
    """Judges rows with every guard of a version.  Immutable; safe from any thread."""

    def __init__(self, guards: GuardSet, spec: GuardsSpec) -> None:
        self._schema = guards.schema
        self._inputs: list[tuple[Guard, Literal["open", "closed"]]] = []  # behind the schema
        self._outputs: list[tuple[Guard, Literal["open", "closed"]]] = []  # of the outlier guard
        if guards.outlier is not None and spec.outlier is not None:
            judged = self._outputs if guards.outlier.reads == "outputs" else self._inputs
            judged.append((guards.outlier, spec.outlier.on_error))
        self.output = guards.output
        self._output_on_error = spec.output.on_error
        # Advice that only flags may be left out when the time is short; what stops a row may not.
        self.optional: tuple[str, ...] = ()
        if spec.outlier is not None and spec.outlier.action in ("allow", "flag"):
            self.optional = ("outlier",)
        is_outlier_dry = spec.outlier is not None and spec.outlier.dry_run is True
        self._always_dry = frozenset({"outlier"} if is_outlier_dry else ())

    def check_schema(self, rows: Rows, texts: Texts, dry_run: Collection[str]) -> Verdict:
        """Hold the rows against the feature contract; what it repairs comes before all else."""
        check = partial(self._schema.check, texts=texts)
        return self._check(self._schema.name, check, rows, "closed", dry_run)

    def check_inputs(
        self, rows: Rows, dry_run: Collection[str], *, skip: Collection[str] = ()
    ) -> list[Verdict]:
        """Let the other guards of inputs judge rows that may have been repaired."""
        return [
            self._check(guard.name, guard.check, rows, on_error, dry_run)
            for guard, on_error in self._inputs
            if guard.name not in skip
        ]

    @property
    def reads_outputs(self) -> bool:
        """Whether the outlier guard judges what the model answered, not what it was asked."""
        return bool(self._outputs)

    def check_output_rows(
        self, rows: Rows, dry_run: Collection[str], *, skip: Collection[str] = ()
    ) -> list[Verdict]:
        """Let the outlier guard judge `output_rows`; no verdict where it judges inputs."""
        return [
            self._check(guard.name, guard.check, rows, on_error, dry_run)
            for guard, on_error in self._outputs
            if guard.name not in skip
        ]

    @property
    def offers_sets(self) -> bool:
        """Whether there are prediction sets to ask for."""
        calibration = self.output.calibration
        return calibration is not None and calibration.sets is not None

    def check_outputs(self, rows: Rows, dry_run: Collection[str]) -> Verdict:
        """Judge the model's answer."""
        return self._check(
            self.output.name, self.output.check, rows, self._output_on_error, dry_run
        )

    def _check(
        self,
        name: str,
        check: Callable[[Rows], Verdict],
        rows: Rows,
        on_error: Literal["open", "closed"],
        dry_run: Collection[str],
    ) -> Verdict:
        try:
            verdict = check(rows)
        except Exception as error:  # noqa: BLE001  a guard's own failure must not fail the request
            log.error("guard %s failed (%s), fail-%s", name, type(error).__name__, on_error)
            verdict = _failed(name, len(rows), on_error)
        if name in dry_run or name in self._always_dry:
            return replace(verdict, actions=np.zeros_like(verdict.actions), repairs=())
        return verdict


def _failed(guard: str, rows: int, on_error: Literal["open", "closed"]) -> Verdict:
    """Fail open: flag every row.  Fail closed: send every row to the fallback ladder."""
    action = Action.FLAG if on_error == "open" else Action.FALLBACK
    why = (Reason(feature="", kind=GUARD_FAILED, expected=f"fail-{on_error}"),)
    return Verdict(
        guard,
        np.full(rows, action, dtype=np.uint8),
        reasons=dict.fromkeys(range(rows), why),
    )
