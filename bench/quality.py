"""How well is quality known with few, late or no labels?  Targets T14 and T15, and estimates.

T14: an audit of 5 % of the rows against as many labels drawn at random.  T15: champion against
challenger under continuous looks.  Label-free estimates on ``adult`` and ``elec``, where their
assumptions may or may not hold; late labels on generated card fraud.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import results
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier

from guards.quality.audit.inference import audited_loss
from guards.quality.audit.sampler import drawn, propensities
from guards.quality.challenger import Contest, Winner, advance
from guards.quality.delay import adjust_for_delay, fit_arrivals
from guards.quality.unlabelled.source import Labelled, Unlabelled
from guards.quality.unlabelled.spread import estimate_accuracy
from models.examples.transactions import DAY_S, Transactions, draw_transactions

DATA = Path(__file__).parents[1] / "../shared/data"
ALPHA = 0.05
POWER = 0.8
AUDIT_ROWS, AUDIT_SHARE = 4000, 0.05
LOOK_EVERY = 10  # rows
PAIRS = ((0.20, 0.15), (0.20, 0.10), (0.30, 0.25), (0.05, 0.03))  # losses of champion, challenger
SOONER = 5  # times as soon does one hear that an answer was right
WEEK_ROWS = 336  # of elec: half-hours

Floats = NDArray[np.float64]
Json = dict[str, Any]


def main() -> None:
    """Run every section and write ``bench/results/quality.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=500, help="audits, and contests, per cell")
    arguments = parser.parse_args()
    figures: Json = {}
    for name, section in (
        ("audit (T14)", audits),
        ("contest (T15)", contests),
        ("late labels", late_labels),
        ("no labels", no_labels),
    ):
        begun = time.perf_counter()
        figures[name] = section(arguments.seed, arguments.runs)
        print(f"{name} ({time.perf_counter() - begun:.0f} s): {figures[name]}", flush=True)
    print(results.write(__file__, seed=arguments.seed, figures=figures))


def audits(seed: int, runs: int) -> Json:
    """Audit worlds in which what was expected explains more or less of the loss."""
    cells = {f"noise {noise:g}": _audit(noise, seed, runs) for noise in (0.05, 0.1, 0.2, 0.4)}
    return {
        "runs": runs,
        "rows": AUDIT_ROWS,
        "labels": AUDIT_SHARE * AUDIT_ROWS,
        "target": "width at most 0.8 of the classical where R2 >= 0.4; coverage at least 0.93",
        "cells": cells,
    }


def _audit(noise: float, seed: int, runs: int) -> Json:
    rng = np.random.default_rng([seed, int(100 * noise)])
    truth = 2.0 / 7.0  # the mean of the losses, which are not cut
    covered, anytime, classical_covered = 0, 0, 0
    ratios, explained = [], []
    z = norm.ppf(1 - ALPHA / 2)
    for run in range(runs):
        expected = rng.beta(2.0, 5.0, AUDIT_ROWS)
        loss = expected + noise * rng.normal(size=AUDIT_ROWS)
        explained.append(np.corrcoef(expected, loss)[0, 1] ** 2)
        chances = propensities(
            expected, np.zeros(AUDIT_ROWS, np.bool_), budget=AUDIT_SHARE * AUDIT_ROWS
        )
        labelled = drawn([f"{run}/{row}" for row in range(AUDIT_ROWS)], chances, salt=b"bench")
        found = audited_loss(loss, labelled, chances, expected, alpha=ALPHA)
        assert found is not None
        covered += truth in found.interval
        anytime += truth in found.anytime
        labels = loss[rng.choice(AUDIT_ROWS, found.labels, replace=False)]
        half = z * labels.std(ddof=1) / np.sqrt(len(labels))
        classical_covered += abs(labels.mean() - truth) <= half
        ratios.append((found.interval.high - found.interval.low) / (2 * half))
    return {
        "r2": round(float(np.mean(explained)), 3),
        "width over classical": round(float(np.mean(ratios)), 3),
        "coverage": covered / runs,
        "coverage, anytime": anytime / runs,
        "coverage, classical": float(classical_covered / runs),
    }


def contests(seed: int, runs: int) -> Json:
    """Let equals and unequals compete, and look after every tenth row."""
    rng = np.random.default_rng([seed, 15])
    equal = [_contest(0.2, 0.2, 5000, rng) for _ in range(runs)]
    peeked = [_peeked_test(0.2, 5000, rng) for _ in range(runs)]
    cells = {}
    for champion, challenger in PAIRS:
        needed = _fixed_rows(champion, challenger)
        ends = [_contest(champion, challenger, 10 * needed, rng) for _ in range(runs)]
        rows = np.array([state.rows for state, _ in ends])
        cells[f"{champion:g} against {challenger:g}"] = {
            "fixed-n rows": needed,
            "mean rows": float(rows.mean()),
            "over fixed n": round(float(rows.mean() / needed), 3),
            "share decided by fixed n": round(float(np.mean(rows <= needed)), 3),
            "challenger won": float(np.mean([won is Winner.CHALLENGER for _, won in ends])),
        }
    return {
        "alpha": ALPHA,
        "false win rate": float(np.mean([won is not Winner.UNDECIDED for _, won in equal])),
        "false win rate of a t-test looked at as often": float(np.mean(peeked)),
        "target": "false win rate at most alpha; mean rows at most 1.6 of fixed n at power 0.8",
        "cells": cells,
    }


def _contest(
    champion: float, challenger: float, rows: int, rng: np.random.Generator
) -> tuple[Contest, Winner]:
    differences = (rng.random(rows) < champion).astype(float) - (rng.random(rows) < challenger)
    state, winner = Contest.begin(), Winner.UNDECIDED
    for start in range(0, rows, LOOK_EVERY):
        state = advance(state, differences[start : start + LOOK_EVERY])
        winner = state.winner(alpha=ALPHA)
        if winner is not Winner.UNDECIDED:
            break
    return state, winner


def _peeked_test(loss: float, rows: int, rng: np.random.Generator) -> bool:
    differences = (rng.random(rows) < loss).astype(float) - (rng.random(rows) < loss)
    n = np.arange(1, rows + 1)
    mean = differences.cumsum() / n
    spread = np.sqrt(np.maximum((differences**2).cumsum() / n - mean**2, 1e-12))
    z = np.abs(mean) * np.sqrt(n) / spread
    return bool(np.any(z[29::LOOK_EVERY] > norm.ppf(1 - ALPHA / 2)))


def _fixed_rows(champion: float, challenger: float) -> int:
    """Rows that a test of known effect needs, looked at once."""
    variance = champion * (1 - champion) + challenger * (1 - challenger)
    z = norm.ppf(1 - ALPHA / 2) + norm.ppf(POWER)
    return int(np.ceil(z**2 * variance / (champion - challenger) ** 2))


def late_labels(seed: int, runs: int) -> Json:
    """Card fraud: errors of a model that alerts, sixty days after its habits broke."""
    del runs
    rng = np.random.default_rng([seed, 20])
    train = draw_transactions(20_000, rng, regime="before")
    model = HistGradientBoostingClassifier(random_state=seed, max_iter=80)
    model.fit(train.rows, train.is_fraud)
    mature = draw_transactions(40_000, rng, regime="before")
    cells = {}
    for days in (10, 20, 40):
        recent = draw_transactions(2000 * days, rng, regime="after")
        cells[f"{days} days after the change"] = _late(model, mature, recent, days * DAY_S)
    return {
        "median days until one hears of an error, of a right answer": [18, 18 / SOONER],
        "cells": cells,
    }


def _late(model: Any, mature: Transactions, recent: Transactions, now_s: float) -> Json:
    """Compare the labels to date, and their adjustment, with what all labels will say."""
    wrong_before, delays = _told(model, mature)
    for_ever = np.full(len(delays), np.inf)  # all labels of mature rows are there
    late = [fit_arrivals(delays[k], for_ever[k]) for k in (wrong_before, ~wrong_before)]
    wrong, delays = _told(model, recent)
    ages = np.maximum((now_s - recent.at_s) / DAY_S, 0)
    expected = 1 - model.predict_proba(recent.rows).max(axis=1)
    found = adjust_for_delay(
        expected, wrong, delays <= ages, ages, late_wrong=late[0], late_right=late[1]
    )
    return {key: round(value, 4) for key, value in asdict(found).items()} | {
        "truth": round(float(wrong.mean()), 4),
        "expected by confidence alone": round(float(expected.mean()), 4),
    }


def _told(model: Any, rows: Transactions) -> tuple[NDArray[np.bool_], Floats]:
    """Which answers are wrong, and after how many days one hears."""
    wrong = model.predict(rows.rows) != rows.is_fraud
    days = (rows.labelled_s - rows.at_s) / DAY_S
    return wrong, np.where(wrong, days, days / SOONER)


def no_labels(seed: int, runs: int) -> Json:
    """Estimate accuracies that are known here, from data as they are."""
    del runs
    if not DATA.exists():
        return {"skipped": "no ../shared/data"}
    return {"adult": _adult(seed), "elec, by week": _elec(seed)}


def _adult(seed: int) -> Json:
    """Held-out rows are those of men, traffic those of women, and what is left of both."""
    rng = np.random.default_rng([seed, 30])
    rows, labels, is_woman = _read_adult("adult-train.csv")
    test, test_labels, test_woman = _read_adult("adult-test.csv")
    order = rng.permutation(len(rows))
    fit, held = order[: len(order) // 2], order[len(order) // 2 :]
    model = HistGradientBoostingClassifier(random_state=seed).fit(rows[fit], labels[fit])
    told = {}
    for name, source, traffic in (
        ("no shift", held, np.ones(len(test), np.bool_)),
        ("from men to women", held[~is_woman[held]], test_woman),
    ):
        told[name] = _compared(
            model, rows[source], labels[source], test[traffic], test_labels[traffic]
        )
    return told


def _compared(model: Any, held: Floats, held_labels: Any, traffic: Floats, labels: Any) -> Json:
    known = Labelled(model.predict_proba(held), held_labels, held)
    unknown = Unlabelled(model.predict_proba(traffic), traffic)
    found = estimate_accuracy(known, unknown)
    assert found is not None
    truth = float(np.mean(unknown.probabilities.argmax(axis=1) == labels))
    return {
        "truth": round(truth, 4),
        "held out": round(found.held_out, 4),
        "estimates": {one.method: round(one.accuracy, 4) for one in found.estimates},
    }


def _read_adult(file: str) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    lines = [
        [field.strip().rstrip(".") for field in line.split(",")]
        for line in (DATA / file).read_text().splitlines()
        if line.count(",") == 14
    ]
    columns = list(zip(*lines, strict=True))
    numeric = (0, 2, 4, 10, 11, 12)
    coded = [
        np.array(columns[at], float)
        if at in numeric
        else np.array([int.from_bytes(value.encode()[:4], "big") % 997 for value in columns[at]])
        for at in range(14)
    ]
    labels = np.array([value == ">50K" for value in columns[14]], np.int64)
    return np.column_stack(coded), labels, np.array([sex == "Female" for sex in columns[9]])


def _elec(seed: int) -> Json:
    """Electricity prices: the concept drifts, which no label-free estimate can see."""
    table = np.genfromtxt(DATA / "elec.csv", delimiter=",", skip_header=1)
    rows, labels = table[:, :-1], table[:, -1].astype(np.int64)
    fit, held = slice(0, 10_000), slice(10_000, 15_000)
    model = HistGradientBoostingClassifier(random_state=seed).fit(rows[fit], labels[fit])
    known = Labelled(model.predict_proba(rows[held]), labels[held], rows[held])
    errors: dict[str, list[float]] = {}
    for start in range(15_000, len(rows) - WEEK_ROWS, WEEK_ROWS):
        week = slice(start, start + WEEK_ROWS)
        unknown = Unlabelled(model.predict_proba(rows[week]), rows[week])
        truth = float(np.mean(unknown.probabilities.argmax(axis=1) == labels[week]))
        found = estimate_accuracy(known, unknown)
        assert found is not None
        for one in found.estimates:
            errors.setdefault(one.method, []).append(abs(one.accuracy - truth))
        errors.setdefault("held-out accuracy", []).append(abs(found.held_out - truth))
    return {
        "weeks": len(errors["cbpe"]),
        "mean absolute error": {
            name: round(float(np.nanmean(found)), 4) for name, found in errors.items()
        },
        "refused weeks": {name: int(np.isnan(found).sum()) for name, found in errors.items()},
    }


if __name__ == "__main__":
    main()
