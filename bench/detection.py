"""How well the outlier guard detects, and whether its false-alarm promise holds.

Real tables, one-class: half of the ordinary rows are the reference, the others and all anomalies
are the test.  PyOD's kNN, IForest, ECOD and LOF see the same rows in the same run, and every method
gets the same cross-fitted threshold.  Run: ``python bench/detection.py``; needs
``../shared/data/adbench``.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from results import write
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from guards.outlier.choice import TELLING
from guards.outlier.conformal import Calibration, marginal_rank
from guards.outlier.cross import cross_scores
from guards.outlier.detector import OUTPUT_PRESETS, Detector
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.outlier.heads import Answer
from guards.stress.frame import Frame
from guards.stress.images import image_probes
from guards.stress.probes import PROBES
from guards.verdict import Rows

TABLES = Path(__file__).parents[2] / "shared" / "data" / "adbench"
REFERENCE_ROWS = 4096
TEST_ROWS = 5000  # of each kind at most: more changes no third digit
SEEDS = (0, 1, 2)
ALPHAS = (0.01, 0.05)
DRAWS, HELD_OUT, FRESH = 200, 1000, 100_000
METHODS = ("handrail", "kNN5 (z)", "kNN", "IForest", "ECOD", "LOF")

Fit = Callable[[Rows], Any]  # gives something with ``score``


class Pyod:
    """A PyOD detector on standardised rows, behind the interface of ours."""

    def __init__(self, name: str, reference: Rows) -> None:
        from pyod.models.ecod import ECOD
        from pyod.models.iforest import IForest
        from pyod.models.knn import KNN
        from pyod.models.lof import LOF

        self.centre, spread = reference.mean(axis=0), reference.std(axis=0)
        self.spread = np.where(spread > 0, spread, 1.0)
        makers: dict[str, Callable[[], Any]] = {
            "kNN5 (z)": lambda: KNN(n_neighbors=5, method="mean", n_jobs=1),
            "kNN": lambda: KNN(n_jobs=1),
            "IForest": lambda: IForest(random_state=0, n_jobs=1),
            "ECOD": lambda: ECOD(n_jobs=1),
            "LOF": lambda: LOF(novelty=True, n_jobs=1),
        }
        self.model = makers[name]()
        self.model.fit((reference - self.centre) / self.spread)

    def score(self, rows: Rows) -> Rows:
        """Larger is stranger."""
        return np.asarray(self.model.decision_function((rows - self.centre) / self.spread))


def fitter(method: str, reference: Rows) -> Fit:
    """Choose, where there is a choice, by pseudo-anomalies made of the reference alone."""
    if method != "handrail":
        return partial(Pyod, method)
    settings = OutlierSettings(calibration="cross", alpha=0.5)
    preset = OutlierGuard.fit(reference, reference[:0], settings).detector_name
    return partial(Detector.fit, neighbours=5, preset=preset)


def tables() -> Iterator[tuple[str, Rows, Rows]]:
    for path in sorted(TABLES.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            yield path.stem, arrays["X"].astype(np.float64), arrays["y"].astype(int)


def one_class(rows: Rows, labels: Rows, seed: int) -> tuple[Rows, Rows, Rows]:
    """Draw reference, ordinary test rows and anomalies."""
    rng = np.random.default_rng(seed)
    ordinary = rng.permutation(np.flatnonzero(labels == 0))
    anomalies = rng.permutation(np.flatnonzero(labels == 1))
    half = len(ordinary) // 2
    return (
        rows[ordinary[:half][:REFERENCE_ROWS]],
        rows[ordinary[half:][:TEST_ROWS]],
        rows[anomalies[:TEST_ROWS]],
    )


def judge(method: str, reference: Rows, ordinary: Rows, anomalies: Rows) -> dict[str, float]:
    """AUROC, and what is detected at thresholds that both alphas set."""
    began = time.perf_counter()
    fit = fitter(method, reference)
    usual, strange = (fit(reference).score(rows) for rows in (ordinary, anomalies))
    calibration = np.sort(cross_scores(reference, fit))  # everybody in the folds of the guard
    labels = np.repeat([0, 1], [len(usual), len(strange)])
    found = {"auroc": float(roc_auc_score(labels, np.concatenate([usual, strange])))}
    for alpha in ALPHAS:
        rank = marginal_rank(len(calibration), alpha)
        cut = calibration[-rank] if rank else np.inf  # too few rows: nothing may be flagged
        found[f"tpr@{alpha:g}"] = float(np.mean(strange > cut))
        found[f"fpr@{alpha:g}"] = float(np.mean(usual > cut))
    return found | {"seconds": time.perf_counter() - began}


def compare(seeds: tuple[int, ...]) -> dict[str, Any]:
    """T2: every method on every table."""
    by_table: dict[str, dict[str, dict[str, float]]] = {}
    for name, rows, labels in tables():
        runs = defaultdict(list)
        for seed in seeds:
            parts = one_class(rows, labels, seed)
            for method in METHODS:
                runs[method].append(judge(method, *parts))
        by_table[name] = {method: mean(found) for method, found in runs.items()}
        print(name, {m: round(f["auroc"], 3) for m, f in by_table[name].items()}, flush=True)
    means = {method: mean([t[method] for t in by_table.values()]) for method in METHODS}
    ours = means["handrail"]
    margins = {
        f"{figure} above {other}": round(ours[figure] - means[other][figure], 4)
        for other in METHODS[1:]
        for figure in ("auroc", "tpr@0.01", "tpr@0.05")
    }
    return {"means": means, "margins": margins, "tables": by_table}


def mean(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([f[name] for f in found])), 4) for name in found[0]}


def promise() -> dict[str, float]:
    """T1: false-alarm rates over draws of calibration rows, on fresh rows that nobody has seen."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 8))
    draw = lambda n: rng.standard_t(5, size=(n, 8)) @ mixing  # noqa: E731
    detector = Detector.fit(draw(1000), neighbours=5)
    fresh = detector.score(draw(FRESH))
    rates = []
    for _ in range(DRAWS):
        held_out = detector.score(draw(HELD_OUT))
        cal = Calibration.of(held_out, alpha=0.01, delta=0.05, guard="outlier")
        rates.append(float(np.mean(cal.p_values(fresh) <= cal.threshold)))
    return {
        "draws": DRAWS,
        "share of draws above alpha": float(np.mean(np.array(rates) > 0.01)),
        "mean rate": float(np.mean(rates)),
    }


def classifiers(seeds: tuple[int, ...]) -> dict[str, Any]:
    """T5: an MLP on digits 0 to 7; 8 and 9, corruptions and noise are strange."""
    runs = [_classifier(seed) for seed in seeds]
    names = runs[0]["auroc"]
    means = {name: round(float(np.mean([run["auroc"][name] for run in runs])), 4) for name in names}
    worst = min(run["auroc"]["auto"] - run["auroc"]["msp"] for run in runs)
    return {
        "auroc": means,
        "auto above the better of msp and energy": round(
            means["auto"] - max(means["msp"], means["energy"]), 4
        ),
        "auto above msp, worst seed": round(worst, 4),
        "chosen": [run["chosen"] for run in runs],
        "by strangers": {
            kind: mean([run["kinds"][kind] for run in runs]) for kind in runs[0]["kinds"]
        },
    }


def _classifier(seed: int) -> dict[str, Any]:
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.data))
    rows, labels = digits.data[order], digits.target[order]
    known = labels < 8
    inside, unknown = rows[known], rows[~known]
    train, held_out, test = np.split(inside, [800, 1100])
    model = MLPClassifier((64,), max_iter=300, random_state=seed).fit(train, labels[known][:800])

    def answer(given: Rows) -> Rows:
        hidden = np.maximum(given @ model.coefs_[0] + model.intercepts_[0], 0)
        return np.concatenate([hidden @ model.coefs_[1] + model.intercepts_[1], hidden], axis=1)

    frame = Frame.of((8, 8), train)
    assert frame is not None
    rng = np.random.default_rng(seed)
    strangers = {"unknown digits": unknown} | {
        name: probe(test, rng) for name, probe in image_probes(frame, slice(0, 64)).items()
    }

    def fit(detector: str) -> OutlierGuard:
        return OutlierGuard.fit(
            answer(train),
            answer(held_out),
            OutlierSettings.model_validate({"detector": detector, "alpha": 0.05}),
            reads="outputs",
            answer=Answer(slice(0, 8), is_probability=False),
            spoil=lambda picked: [answer(PROBES[name](train[picked], rng)) for name in TELLING],
        )

    guards = {name: fit(name) for name in ("auto", *OUTPUT_PRESETS)}
    usual = {name: guard.scores(answer(test)) for name, guard in guards.items()}
    kinds = {
        kind: {
            name: float(
                roc_auc_score(
                    np.repeat([0, 1], [len(usual[name]), len(given)]),
                    np.concatenate([usual[name], guard.scores(answer(given))]),
                )
            )
            for name, guard in guards.items()
        }
        for kind, given in strangers.items()
    }
    auroc = {name: float(np.mean([k[name] for k in kinds.values()])) for name in guards}
    return {"auroc": auroc, "kinds": kinds, "chosen": guards["auto"].detector_name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="splits of every table")
    seeds = tuple(range(parser.parse_args().seeds))
    if not TABLES.is_dir():
        raise SystemExit("skipped: ../shared/data/adbench is not here")
    began = time.perf_counter()
    figures = {
        "promise (T1)": promise(),
        "classifier (T5)": classifiers(seeds),
        "tables (T2)": compare(seeds),
        "seconds": round(time.perf_counter() - began, 1),
    }
    write(__file__, seed=0, figures=figures)
    print(figures["promise (T1)"], figures["classifier (T5)"]["auroc"])
    print(figures["tables (T2)"]["margins"])


if __name__ == "__main__":
    main()
