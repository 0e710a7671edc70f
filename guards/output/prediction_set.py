"""Sets of classes that hold the true one with a stated probability, whatever the model is worth.

Sources: Sadinle, Lei, Wasserman (2019), "Least ambiguous set-valued classifiers with bounded error
levels", JASA 114(525), for lac; Romano, Sesia, Candès (2020), "Classification with valid and
adaptive coverage", NeurIPS, for aps.  There a class counts with a random part of its own
probability, and here with none of it: the same row always gets the same set, and one class is
enough where a model is sure and right.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from guards.errors import CalibrationTooSmallError
from guards.outlier.conformal import Aim
from guards.output.classes import Probabilities

Score = Literal["lac", "aps"]


@dataclass(frozen=True, slots=True)
class PredictionSets:
    """Split conformal sets.

    The set of a fresh row holds its class with probability at least ``coverage``, over
    the draw of the row and of the ``n`` calibration rows, as long as they are exchangeable.
    """

    score: Score
    coverage: float
    n: int
    threshold: float  # a class belongs to the set if its score is at most this

    @classmethod
    def fit(
        cls,
        probabilities: Probabilities,
        labels: NDArray[np.integer],
        *,
        coverage: float,
        score: Score,
    ) -> Self:
        """Calibrate on rows that nothing else was fitted on, shape (n, classes).

        Raises:
            CalibrationTooSmallError: only sets of all classes would be sure enough.
        """
        n = len(labels)
        aim = Aim(1 - coverage, 1.0, "marginal")
        rank = aim.rank(n)
        if rank == 0:
            raise CalibrationTooSmallError("output", aim.needed(), n, 1 - coverage, 1.0)
        scores = _scores(probabilities, score)[np.arange(n), labels]
        return cls(score, coverage, n, float(np.sort(scores)[n - rank]))

    def sets(self, probabilities: Probabilities) -> NDArray[np.bool_]:
        """Say which classes belong to the set of each row, (n, classes).

        The likeliest always does; of a row that is not finite, nothing is known: all do.
        """
        held = _scores(probabilities, self.score) <= self.threshold
        held[np.arange(len(held)), probabilities.argmax(axis=1)] = True
        held[~np.isfinite(probabilities).all(axis=1)] = True
        return held


def _scores(probabilities: Probabilities, score: Score) -> NDArray[np.float64]:
    """Score each class of each row: larger fits worse.

    lac: by how unlikely it is; aps: by how likely the classes before it are together.
    """
    if score == "lac":
        return 1 - probabilities
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1)
    before = np.zeros_like(ordered)
    np.cumsum(ordered[:, :-1], axis=1, out=before[:, 1:])
    scores = np.empty_like(before)
    np.put_along_axis(scores, order, before, axis=1)
    return scores
