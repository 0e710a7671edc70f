"""A normal-like interval that stays valid however often one looks."""

import numpy as np

from guards.quality.offpolicy.estimate import Estimate
from guards.quality.offpolicy.interval import Interval


def asymptotic_sequence(estimate: Estimate, *, planned_units: int, alpha: float = 0.05) -> Interval:
    """Give the interval of an asymptotic confidence sequence, at the present rows.

    The chance that the true value ever leaves it, from the time on at which the
    central limit theorem may be trusted, tends to at most ``alpha``.

    Args:
        estimate: From all rows so far.
        planned_units: Independent units (rows, if there are no units) at which the
            interval is to be tightest; any number is valid, chosen beforehand.
        alpha: Accepted chance of ever being wrong.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), "Time-uniform central
    limit theory and asymptotic confidence sequences", Annals of Statistics 52(6),
    theorem 2.2, with its equation for the tightest rho.
    """
    pulls = estimate.per_unit
    n = len(pulls)
    if n < 2:
        return Interval(float("-inf"), float("inf"), alpha, anytime=True)
    log_level = -2 * np.log(alpha)
    rho_squared = (log_level + np.log(log_level + 1)) / planned_units
    scaled = n * rho_squared + 1
    radius = np.sqrt(2 * scaled / (n**2 * rho_squared) * np.log(np.sqrt(scaled) / alpha))
    half = float(np.std(pulls) * radius)
    return Interval(estimate.value - half, estimate.value + half, alpha, anytime=True)
