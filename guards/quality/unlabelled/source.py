"""What label-free estimates start from: held-out rows with labels, and traffic without."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Held-out rows: the model never learnt from them."""

    probabilities: Floats  # (n, classes)
    labels: NDArray[np.int64]  # (n,)
    features: Floats | None = None  # (n, d), finite

    @property
    def confidence(self) -> Floats:
        """Probability of the likeliest class, (n,)."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the likeliest class is the label, (n,)."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.labels)


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Traffic."""

    probabilities: Floats  # (n, classes)
    features: Floats | None = None  # (n, d), finite
    strange: NDArray[np.bool_] | None = None  # (n,), that the outlier guard knows nothing like

    @property
    def confidence(self) -> Floats:
        """Probability of the likeliest class, (n,)."""
        return np.asarray(self.probabilities.max(axis=1))
