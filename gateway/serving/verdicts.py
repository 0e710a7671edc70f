"""What the guards and the explorer said about one request's rows, for the client and the record."""

from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from gateway.serving.microbatch import Judged
from guards.verdict import Action

VERDICT, P_VALUE = "handrail.verdict", "handrail.p_value"
PROPENSITY, CHOICE, REASONS = "handrail.propensity", "handrail.choice", "handrail.reasons"
EXTRA_OUTPUTS = frozenset({VERDICT, P_VALUE, PROPENSITY, CHOICE, REASONS})


class Verdicts:
    """Reads one request's verdicts; nothing is computed before somebody asks."""

    def __init__(self, judged: Judged | None, rows: int, *, is_fallback: bool) -> None:
        self._judged = judged
        self._rows = rows
        self._is_fallback = is_fallback  # then nothing was explored

    @property
    def skipped_guards(self) -> tuple[str, ...]:
        """Guards for which there was no time."""
        return () if self._judged is None else self._judged.skipped_guards

    @property
    def actions(self) -> NDArray[np.uint8]:
        """The worst action per row, shape (rows,)."""
        worst = np.zeros(self._rows, dtype=np.uint8)
        if self._judged is not None:
            for verdict in self._judged.verdicts:
                np.maximum(worst, verdict.actions, out=worst)
        return worst

    def count(self, action: Action) -> int:
        """Count the rows whose worst action is ``action``."""
        if self._judged is None or not self._judged.verdicts:
            return 0
        return int((self.actions == action).sum())

    @property
    def flagged(self) -> int:
        """Rows that some guard did not simply allow."""
        if self._judged is None or not self._judged.verdicts:
            return 0
        return int((self.actions > Action.ALLOW).sum())

    @property
    def explored(self) -> int:
        """Rows whose served choice was drawn instead of the greedy one."""
        if self._is_fallback or self._judged is None or self._judged.choices is None:
            return 0
        return int(self._judged.choices.explored.sum())

    def reasons(self) -> dict[int, list[dict[str, Any]]]:
        """Why, by row; strange rows only."""
        why: dict[int, list[dict[str, Any]]] = {}
        if self._judged is not None:
            for verdict in self._judged.verdicts:
                for row, reasons in verdict.reasons.items():
                    told = [{"guard": verdict.guard} | msgspec.to_builtins(r) for r in reasons]
                    why.setdefault(row, []).extend(told)
        return why

    def default_outputs(self) -> dict[str, NDArray[Any]]:
        """Outputs that go out unasked: the served choice and its propensity, where it was drawn."""
        if self._is_fallback or self._judged is None or self._judged.choices is None:
            return {}
        return {CHOICE: self.output(CHOICE), PROPENSITY: self.output(PROPENSITY)}

    def output(self, name: str) -> NDArray[Any]:
        """Build one of `EXTRA_OUTPUTS`, one value per row; NaN or -1 where there is none."""
        if name == VERDICT:
            return self.actions
        if name == P_VALUE:
            p_values = None if self._judged is None else self._judged.p_values
            return np.full(self._rows, np.nan) if p_values is None else p_values
        if name == REASONS:
            why = self.reasons()
            told = [orjson.dumps(why.get(row, [])) for row in range(self._rows)]
            return np.array([*told, None], dtype=object)[:-1]
        choices = None if self._is_fallback or self._judged is None else self._judged.choices
        if name == PROPENSITY:
            return np.full(self._rows, np.nan) if choices is None else choices.propensity[:, 0]
        return np.full(self._rows, -1, dtype=np.int64) if choices is None else choices.served[:, 0]
