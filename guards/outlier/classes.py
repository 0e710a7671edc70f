"""One threshold for each class that the model predicts, where rows allow.

A class that is hard to learn takes all the false alarms if every class shares one threshold: they
are as many as promised, and its rows pay for them alone.

Source: Vovk (2012), "Conditional validity of inductive conformal predictors", ACML: calibrated
apart, the promise holds within each class (Mondrian).
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.outlier.conformal import Aim, Calibration
from guards.verdict import Guarantee

WITHIN = "ordinary traffic of a predicted class is exchangeable with its calibration rows"
POOLED = -1


@dataclass(frozen=True, slots=True)
class ByClass:
    """Ranks a score among those of its own class; of all classes where those are too few.

    Classes have unlike numbers of rows, so unlike p-values are their thresholds.  Each is
    stretched until the threshold is ``alpha`` for all: that only ever makes a p-value larger.
    """

    pooled: Calibration
    own: tuple[Calibration, ...]
    place: NDArray[np.intp]  # (classes,), in ``own``; POOLED
    classes: NDArray[np.intp]  # (n,), of the scores of ``pooled``, in their order
    aim: Aim

    @classmethod
    def of(cls, pooled: Calibration, classes: NDArray[np.intp], *, count: int, aim: Aim) -> Self:
        """Calibrate every class that has enough of the scores.

        Args:
            pooled: All scores, in ascending order.
            classes: The class predicted for the row of each of them, shape (n,).
            count: How many classes there are.
            aim: What each threshold is to promise.
        """
        own, place = list[Calibration](), np.full(count, POOLED)
        for at in range(count):
            scores = pooled.scores[classes == at]
            rank = aim.rank(len(scores))
            if rank:
                place[at] = len(own)
                own.append(Calibration(scores, rank, aim.guarantee(len(scores)), aim.sides))
        return cls(pooled, tuple(own), place, classes, aim)

    @property
    def threshold(self) -> float:
        """Largest p-value that counts as strange, in every class."""
        return self.aim.alpha

    @property
    def guarantee(self) -> Guarantee:
        """What is promised within every class that has enough rows; of the fewest of them."""
        if not self.own:
            return self.pooled.guarantee
        fewest = min(len(calibration.scores) for calibration in self.own)
        return replace(self.aim.guarantee(fewest), assumption=WITHIN)

    def p_values(
        self, scores: NDArray[np.float64], classes: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Rank scores (n,) of rows that are predicted to be of ``classes`` (n,)."""
        found = np.empty(len(scores))
        place = self.place[classes]
        for at in np.unique(place):
            calibration = self.pooled if at == POOLED else self.own[at]
            here = place == at
            plain = calibration.p_values(scores[here])
            stretched = plain * (self.aim.alpha / calibration.threshold)
            # The last digit of a product must not lift the threshold itself over alpha.
            most = np.where(plain <= calibration.threshold, self.aim.alpha, 1.0)
            found[here] = np.minimum(stretched, most)
        return found
