"""T8: credit approvals whose labels are only seen if approved, on real defaults.

UCI credit default, 30,000 people.  A logistic model is trained again after every 1,000
applications, on those that were approved; it approves below a probability of default of
.2, and by a shape of `guards/explore/threshold.py` some above.  What it starts from is the
log of an older rule, which denied whoever was late last month.  After twenty rounds it is
judged on people that nobody has seen: a model that never observes whom it denies cannot
know what they would have done.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata

from guards.explore.policies import Boundary, UniformReject
from guards.explore.settings import ThresholdExplore
from guards.explore.threshold import approval

THRESHOLD = 0.2
LOSS = 4.0  # a default costs what four good loans earn: .2 breaks even
ROUNDS, APPLICATIONS = 20, 1_000
WEIGHT_CAP = 20.0  # of training rows; the estimates are not capped
Floats = NDArray[np.float64]

# None: what the model is trained on is everybody, approved or not.
ARMS: dict[str, ThresholdExplore | None] = {
    "greedy": ThresholdExplore(
        threshold=THRESHOLD, hard_stop=1.0, shape=UniformReject(epsilon=0.0)
    ),
    "uniform reject 2%": ThresholdExplore(
        threshold=THRESHOLD, hard_stop=1.0, shape=UniformReject(epsilon=0.02)
    ),
    "uniform reject 5%": ThresholdExplore(
        threshold=THRESHOLD, hard_stop=1.0, shape=UniformReject(epsilon=0.05)
    ),
    "boundary 10%, band .15": ThresholdExplore(
        threshold=THRESHOLD, hard_stop=1.0, shape=Boundary(epsilon=0.1, width=0.15)
    ),
    "full information": None,
}


@dataclass(frozen=True)
class People:
    """Everybody, in the order of the file."""

    features: Floats  # (n, d), standardised, with an intercept
    defaulted: Floats  # (n,)
    late: NDArray[np.bool_]  # (n,), last month


def load(path: Path) -> People:
    """Read the file, whose lines end with a carriage return."""
    text = path.read_text().replace("\r\n", "\n").replace("\r", "\n")
    table = np.loadtxt(text.splitlines()[1:], delimiter=",")
    amounts, late = table[:, [1, *range(12, 24)]], table[:, 6:12]
    people = table[:, 2:6]
    features = np.column_stack(
        [
            np.sign(amounts) * np.log1p(np.abs(amounts)),
            late,
            late >= 1,
            late >= 2,
            people[:, 3],
            people[:, 0] == 2,
            *(people[:, 1] == level for level in (1, 2, 3)),
            people[:, 2] == 1,
        ]
    )
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    with_intercept = np.column_stack([np.ones(len(scaled)), scaled])
    return People(with_intercept, table[:, -1], late[:, 0] >= 1)


def fit(features: Floats, labels: Floats, weights: Floats, start: Floats) -> Floats:
    """Fit a ridge logistic regression from ``start``: Newton steps, halved until they help."""
    coefficients, loss = start, _loss(start, features, labels, weights)
    for _ in range(50):
        p = expit(features @ coefficients)
        slope = features.T @ (weights * (labels - p)) - coefficients
        curvature = (features * (weights * p * (1 - p))[:, None]).T @ features
        step = np.linalg.solve(curvature + np.eye(len(slope)), slope)
        tried = _loss(coefficients + step, features, labels, weights)
        while tried > loss and np.abs(step).max() > 1e-8:
            step = step / 2
            tried = _loss(coefficients + step, features, labels, weights)
        coefficients, loss = coefficients + step, tried
        if np.abs(step).max() < 1e-5:
            break
    return coefficients


def _loss(coefficients: Floats, features: Floats, labels: Floats, weights: Floats) -> float:
    scores = features @ coefficients
    lost = np.logaddexp(0, scores) - labels * scores
    return float(weights @ lost + coefficients @ coefficients / 2)


def run(arm: ThresholdExplore | None, people: People, seed: int) -> dict[str, float]:
    """Twenty rounds of approving and learning, then a judgement on unseen people."""
    features, labels = people.features, people.defaulted
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    first, rest = order[:APPLICATIONS], order[APPLICATIONS:]
    if arm is not None:
        first = first[~people.late[first]]
    seen, weights = [first], [np.ones(len(first))]
    model = np.zeros(features.shape[1])
    approved_rows = profit = 0.0
    for round_ in range(ROUNDS):
        train = np.concatenate(seen)
        model = fit(features[train], labels[train], np.concatenate(weights), model)
        rows = rest[round_ * APPLICATIONS : (round_ + 1) * APPLICATIONS]
        p = _approval(arm, expit(features[rows] @ model))
        approved = random.uniform(size=len(rows)) < p
        approved_rows += float(approved.sum())
        profit += float((1 - (1 + LOSS) * labels[rows[approved]]).sum())
        learned = np.ones_like(approved) if arm is None else approved
        seen.append(rows[learned])
        inverse = np.ones(len(rows)) if arm is None else 1 / np.maximum(p, 1 / WEIGHT_CAP)
        weights.append(inverse[learned])
    return {
        **_judge(model, features, labels, rest[ROUNDS * APPLICATIONS :]),
        "approved": approved_rows / (ROUNDS * APPLICATIONS),
        "profit per 1,000": 1000 * profit / (ROUNDS * APPLICATIONS),
    }


def _approval(arm: ThresholdExplore | None, scores: Floats) -> Floats:
    return (scores < THRESHOLD) * 1.0 if arm is None else approval(scores, arm)


def _judge(
    model: Floats, features: Floats, labels: Floats, rows: NDArray[np.intp]
) -> dict[str, float]:
    scores, truth = expit(features[rows] @ model), labels[rows]
    bad = truth == 1
    ranks = rankdata(scores)
    above = ranks[bad].sum() - bad.sum() * (bad.sum() + 1) / 2
    denied = scores >= THRESHOLD
    return {
        "auc": float(above / (bad.sum() * (~bad).sum())),
        "reject gap": float(scores[denied].mean() - truth[denied].mean()),
    }


def measure(path: Path, *, seeds: int, seed: int) -> dict[str, Any]:
    """Run every arm on the same orders of people."""
    people = load(path)
    arms: dict[str, Any] = {}
    for name, arm in ARMS.items():
        rows = [run(arm, people, seed + i) for i in range(seeds)]
        arms[name] = {
            key: [float(np.mean([r[key] for r in rows])), float(np.std([r[key] for r in rows]))]
            for key in rows[0]
        }
    explored = arms["uniform reject 5%"]["reject gap"][0]
    greedy = arms["greedy"]["reject gap"][0]
    return {
        "seeds": seeds,
        "first_seed": seed,
        "arms": arms,
        "targets": {
            "T8 |reject gap| <= .03 at 5 %": {"found": explored, "holds": abs(explored) <= 0.03},
            "T8 greedy >= .06": {"found": greedy, "holds": greedy >= 0.06},
        },
    }
