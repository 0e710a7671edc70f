"""PAPE, light: calibrated where the traffic is, not where the held-out rows were.

Held-out rows are weighted by how much more frequent their like is in traffic; the ratio of the
densities is read off a logistic regression that tells the two apart.  Assumes that the label of a
row depends on its features as it did (covariate shift).

Source: Białek et al. (2024), "Estimating model performance under covariate shift without labels",
arXiv 2401.08348.  Light: logistic regression on features and their squares in place of boosting.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from guards.quality.unlabelled.isotonic import Floats, fit_curve
from guards.quality.unlabelled.source import Labelled, Unlabelled

FLOOR = 0.05  # of a weight: none may vanish
CEILING = 20.0
RIDGE = 1.0
CLIP = 5.0  # standard deviations, so that a single gross value does not carry the fit
LEAST_EFFECTIVE_SHARE = 0.1  # of the held-out rows: with less the weights say nothing


def pape(source: Labelled, traffic: Unlabelled) -> float:
    """Estimate the accuracy on traffic; NaN where the weights leave too few rows to tell."""
    weights = density_ratio(_features(source), _features(traffic))
    effective = weights.sum() ** 2 / (weights @ weights)
    if effective < LEAST_EFFECTIVE_SHARE * len(weights):
        return float("nan")
    curve = fit_curve(source.confidence, source.right, weights)
    return float(curve(traffic.confidence).mean())


def density_ratio(source: Floats, traffic: Floats) -> Floats:
    """Estimate how much more frequent each source row, (n, d), is in traffic: (n,), mean 1."""
    middle, spread = source.mean(axis=0), source.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    rows = np.clip((np.concatenate([source, traffic]) - middle) / spread, -CLIP, CLIP)
    design = np.column_stack([np.ones(len(rows)), rows, rows**2])
    is_traffic = np.concatenate([np.zeros(len(source)), np.ones(len(traffic))])
    mass = np.where(is_traffic == 1, 0.5 / len(traffic), 0.5 / len(source)) * len(rows)

    def loss(beta: Floats) -> tuple[float, Floats]:
        margin = design @ beta
        value = float(mass @ (np.logaddexp(0, margin) - is_traffic * margin))
        slope = design.T @ (mass * (expit(margin) - is_traffic))
        return value + RIDGE / 2 * float(beta[1:] @ beta[1:]), slope + RIDGE * np.append(
            0, beta[1:]
        )

    found = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B")
    ratio = np.exp(np.clip(design[: len(source)] @ found.x, -20, 20))
    ratio = np.clip(ratio / ratio.mean(), FLOOR, CEILING)
    return np.asarray(ratio / ratio.mean())


def _features(rows: Labelled | Unlabelled) -> Floats:
    """Where features are not known, what the model made of them."""
    return rows.probabilities[:, 1:] if rows.features is None else rows.features
