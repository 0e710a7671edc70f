"""What the guards and the explorer said about one request's rows, for the client and the record."""

from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from gateway.serving.certainty import Certainty
from gateway.serving.chain import GUARD_FAILED
from gateway.serving.chooser import Decided
from gateway.serving.item import Judged
from guards.explore.choices import NOBODY
from guards.output.faults import CONFIDENCE as UNSURE
from guards.verdict import Action, Verdict

VERDICT, P_VALUE, REASONS = "handrail.verdict", "handrail.p_value", "handrail.reasons"
SERVED, CHOICE, PROPENSITY = "handrail.served", "handrail.choice", "handrail.propensity"
ABSTAIN, CONFIDENCE = "handrail.abstain", "handrail.confidence"
PREDICTION_SET = "handrail.prediction_set"
EXTRA_OUTPUTS = frozenset(
    {VERDICT, P_VALUE, REASONS, SERVED, CHOICE, PROPENSITY, ABSTAIN, CONFIDENCE, PREDICTION_SET}
)


class Verdicts:
    """Reads one request's verdicts; nothing is computed before somebody asks."""

    def __init__(
        self,
        judged: Judged | None,
        rows: int,
        decided: Decided | None,
        *,
        certainty: Certainty | None = None,
    ) -> None:
        self._judged = judged
        self._certainty = certainty  # None: there is no answer to be sure of
        self._rows = rows
        self.decided = decided  # of the answer that goes out; None: it is no choice

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
    def failed_guards(self) -> tuple[str, ...]:
        """Guards that failed themselves, whatever that led to."""
        if self._judged is None:
            return ()
        return tuple(v.guard for v in self._judged.verdicts if _rows_for(v, GUARD_FAILED))

    @property
    def abstained(self) -> int:
        """Rows of which the model was not sure enough."""
        if self._judged is None or not self._judged.verdicts:
            return 0
        return int(self._abstains().sum())

    @property
    def coverage(self) -> float:
        """Probability with which the prediction set of a row holds its class."""
        return self._known_certainty.coverage

    @property
    def explored(self) -> int:
        """Decisions in which something else than the greedy choice was drawn and served."""
        return 0 if self.decided is None else int(self.decided.choices.explored.sum())

    @property
    def explore_closed(self) -> str:
        """The first reason why a decision was not randomised; "" where all were, or none is."""
        if self.decided is None:
            return ""
        return next((why for why in self.decided.choices.reasons if why is not None), "")

    @property
    def _known_certainty(self) -> Certainty:
        assert self._certainty is not None  # only who has an answer asks
        return self._certainty

    def _abstains(self) -> NDArray[np.bool_]:
        abstains = np.zeros(self._rows, np.bool_)
        for verdict in () if self._judged is None else self._judged.verdicts:
            abstains[_rows_for(verdict, UNSURE)] = True
        return abstains

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
        """Outputs that go out unasked: what is served and its propensity, where it is a choice."""
        if self.decided is None:
            return {}
        named = () if self.decided.ids is None else (SERVED,)
        return {name: self.output(name) for name in (*named, CHOICE, PROPENSITY)}

    def output(self, name: str) -> NDArray[Any]:
        """Build one of `EXTRA_OUTPUTS`; NaN or -1 where there is none.

        One value per row; of a choice per decision, and of a slate (decisions, slots).
        """
        if name == VERDICT:
            return self.actions
        if name == P_VALUE:
            p_values = None if self._judged is None else self._judged.p_values
            return np.full(self._rows, np.nan) if p_values is None else p_values
        if name == ABSTAIN:
            return self._abstains()
        if name == CONFIDENCE:
            return self._known_certainty.confidence()
        if name == PREDICTION_SET:
            return self._known_certainty.prediction_set()
        if name == REASONS:
            why = self.reasons()
            told = [orjson.dumps(why.get(row, [])) for row in range(self._rows)]
            return np.array([*told, None], dtype=object)[:-1]
        if self.decided is None:
            return np.full(self._rows, np.nan if name == PROPENSITY else -1)
        if name == PROPENSITY:
            found: NDArray[Any] = self.decided.choices.propensity
        elif name == CHOICE or self.decided.ids is None:
            found = self.decided.choices.served
        else:
            found = _named(self.decided.ids, self.decided.choices.served)
        return found[:, 0] if self.decided.is_single else found


def _named(ids: NDArray[Any], served: NDArray[np.int64]) -> NDArray[Any]:
    """Put the ids in the place of candidates; where there is none, -1 or no text at all."""
    named = np.take_along_axis(ids, np.maximum(served, 0), axis=1)
    named[served == NOBODY] = b"" if ids.dtype == object else -1
    return named


def _rows_for(verdict: Verdict, kind: str) -> list[int]:
    """List the rows with a reason of one kind."""
    return [
        row for row, why in verdict.reasons.items() if any(reason.kind == kind for reason in why)
    ]
