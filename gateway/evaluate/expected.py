"""How often an answer is wrong that the model is so sure of, by the bundle's held-out rows."""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gateway.errors import GatewayError
from guards.quality.unlabelled.isotonic import fit_curve
from models.bundle import Bundle, load_held_out
from models.errors import ModelError
from models.held_out import HeldOut

Floats = NDArray[np.float64]

log = logging.getLogger(__name__)


def open_held_out(open_bundle: Callable[[str], Bundle], digest: str) -> HeldOut | None:
    """Read what is known of held-out rows; None where nothing is, or it cannot be read."""
    try:
        return load_held_out(open_bundle(digest))
    except (GatewayError, ModelError) as error:
        log.warning("held-out rows of %s cannot be read: %s", digest, error)
        return None


def expected_wrong(probabilities: Floats, held_out: HeldOut | None) -> Floats:
    """Chance of each answer, (n, classes), to be wrong, (n,): as held-out rows have it.

    Without those, as the model has it.
    """
    confidence = probabilities.max(axis=1)
    if held_out is None or held_out.classes is None or not len(held_out.classes.labels):
        return np.asarray(1 - confidence)
    source = held_out.classes
    return np.asarray(1 - fit_curve(source.confidence, source.right)(confidence))
