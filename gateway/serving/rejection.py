"""Where a guard's no is the answer itself, and how it is told."""

import numpy as np

from gateway.errors import RejectedError
from gateway.serving.chain import GUARD_FAILED
from gateway.serving.item import Judged
from guards.outlier.explain import COMPARISONS
from guards.output.faults import CONFIDENCE as UNSURE


def is_about_the_rows(judged: Judged) -> bool:
    """Whether what stopped a request was no failure of the model's.

    Strange rows, rows the model abstains from and a guard that fails closed have nothing to fall
    back on then; that is the answer, and no error of the server.
    """
    kinds = {
        reason.kind
        for verdict in judged.verdicts
        if verdict.guard == judged.stop
        for why in verdict.reasons.values()
        for reason in why
    }
    return bool(kinds) and (judged.stop != "output" or kinds <= {GUARD_FAILED, UNSURE})


def rejection_of(judged: Judged) -> RejectedError:
    """Name the guard, the rows and the kinds, never the values."""
    verdict = next(v for v in judged.verdicts if v.guard == judged.stop)
    rows = np.flatnonzero(verdict.actions == verdict.actions.max()).tolist()
    told = {reason.kind for row in rows for reason in verdict.reasons.get(row, ())}
    kinds = sorted(told - COMPARISONS)
    return RejectedError(judged.stop, rows, kinds)
