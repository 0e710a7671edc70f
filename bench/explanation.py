"""Do reasons name what is wrong?  One or two fields of ordinary rows are spoilt by six sigma.

Target T16: the first reason is the spoilt field in 95 of 100 rows when the value lies six standard
deviations of its column out, in 85 when it lies six deviations from what the other fields lead to
expect; of two spoilt fields both are the first two reasons in 85.

Run: ``python bench/explanation.py``.  Data: scikit-learn's breast cancer, and ADBench's ordinary
rows where ``../shared/data`` is there.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from results import write
from sklearn.datasets import load_breast_cancer

from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.verdict import Reason, Rows

SEED = 0
SIGMAS = 6.0
ROWS = 300  # spoilt, per data set and kind
MOST_ROWS = 4000  # of a data set
LEAST_ROWS = 1000  # a third of them calibrates at 1 %
MOST_COLUMNS = 64
ADBENCH = Path(__file__).parent.parent.parent / "shared" / "data" / "adbench"
SETTINGS = OutlierSettings(alpha=0.01)
LEAST_STRANGE = 30  # rows, or nothing is said about their reasons
KINDS = ("marginal", "conditional", "two_fields")
FIELD_KINDS = ("tail", "conditional", "missing", "nonfinite")


@dataclass(frozen=True, slots=True)
class Table:
    """Ordinary rows in three parts."""

    name: str
    reference: Rows
    held_out: Rows
    test: Rows
    alpha: float


def tables() -> Iterator[Table]:
    """Two that are generated, one of scikit-learn's, and those of ADBench that are large enough."""
    rng = np.random.default_rng(SEED)
    hidden = rng.normal(size=(3000, 3)) @ rng.normal(size=(3, 10))
    yield cut("three hidden causes", hidden + 0.3 * rng.normal(size=hidden.shape))
    centres = 4 * rng.normal(size=(5, 8))
    yield cut("five clusters", centres[rng.integers(0, 5, 3000)] + rng.normal(size=(3000, 8)))
    yield cut("breast_cancer", load_breast_cancer().data, alpha=0.05)
    for path in sorted(ADBENCH.glob("*.npz")) if ADBENCH.is_dir() else []:
        with np.load(path) as arrays:
            rows = arrays["X"][arrays["y"] == 0].astype(np.float64)
        if len(rows) >= LEAST_ROWS and rows.shape[1] <= MOST_COLUMNS:
            yield cut(path.stem, rows)


def cut(name: str, rows: Rows, *, alpha: float = SETTINGS.alpha) -> Table:
    """Shuffle and cut: half reference, three tenths held out, the rest to test."""
    order = np.random.default_rng(SEED).permutation(len(rows))[:MOST_ROWS]
    rows = rows[order]
    half, rest = len(rows) // 2, len(rows) * 8 // 10
    return Table(name, rows[:half], rows[half:rest], rows[rest:], alpha)


def spoil(table: Table, kind: str, rng: np.random.Generator) -> tuple[Rows, np.ndarray]:
    """Spoil fields of test rows; returns the rows, and which fields (rows, 1 or 2)."""
    spread = table.reference.std(axis=0)
    movable = np.flatnonzero(spread > 0)
    scale = unexplained(table.reference) if kind == "conditional" else spread
    rows = table.test[rng.integers(0, len(table.test), ROWS)].copy()
    count = 2 if kind == "two_fields" else 1
    fields = np.array([rng.choice(movable, count, replace=False) for _ in rows])
    signs = rng.choice((-1.0, 1.0), fields.shape)
    at = np.arange(len(rows))[:, None]
    if kind == "conditional":
        rows[at, fields] += SIGMAS * signs * scale[fields]
    else:  # so far from the centre, not from where it happened to be
        rows[at, fields] = table.reference.mean(axis=0)[fields] + SIGMAS * signs * scale[fields]
    return rows, fields


def unexplained(reference: Rows) -> Rows:
    """Standard deviation of each column given the others, by least squares on the reference."""
    spread = reference.std(axis=0)
    standard = (reference - reference.mean(axis=0)) / np.where(spread > 0, spread, 1)
    covariance = standard.T @ standard / len(standard) + 1e-6 * np.eye(reference.shape[1])
    return spread / np.sqrt(np.diag(np.linalg.inv(covariance)))


def fields_of(reasons: tuple[Reason, ...]) -> list[str]:
    """The fields that the reasons name, in order."""
    return [reason.feature for reason in reasons if reason.kind in FIELD_KINDS]


def measure(table: Table) -> dict[str, dict[str, float]]:
    """Per kind of injection: how many rows were strange, and whether the reasons were right."""
    settings = SETTINGS.model_copy(update={"alpha": table.alpha})
    guard = OutlierGuard.fit(table.reference, table.held_out, settings)
    found = {}
    for kind in KINDS:
        rows, fields = spoil(table, kind, np.random.default_rng(SEED))
        right, repaired, exact = [], [], []
        for row, why in explain(guard, rows).items():
            spoilt = {f"column {field}" for field in fields[row]}
            right.append(set(fields_of(why)[: len(spoilt)]) == spoilt)
            repair = [set(reason.feature.split(", ")) for reason in why if reason.kind == "repair"]
            repaired.append(bool(repair))
            exact.append(repair == [spoilt])
        found[kind] = {
            "strange": len(right) / len(rows),
            "right": share(right),
            "repaired": share(repaired),
            "repaired_exactly": share(exact),
        }
    return found


def explain(guard: OutlierGuard, rows: Rows) -> dict[int, tuple[Reason, ...]]:
    """Ask about every row alone: of many at once, only the first are explained in full."""
    verdicts = [guard.check(rows[at : at + 1]) for at in range(len(rows))]
    return {at: verdict.reasons[0] for at, verdict in enumerate(verdicts) if verdict.reasons}


def share(outcomes: list[bool]) -> float | None:
    """Share of outcomes that are true; None of too few to say."""
    return float(np.mean(outcomes)) if len(outcomes) >= LEAST_STRANGE else None


def cost(table: Table) -> dict[str, float]:
    """Microseconds per row: to judge ordinary rows, and what a strange row costs on top."""
    guard = OutlierGuard.fit(table.reference, table.held_out, SETTINGS)
    rows, _ = spoil(table, "marginal", np.random.default_rng(SEED))
    strange = np.flatnonzero(guard.is_strange(rows))

    def best_us(*, picked: Rows, judge: object) -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            judge(picked)  # type: ignore[operator]
            took.append(time.perf_counter() - began)
        return min(took) / len(picked) * 1e6

    found = {}
    for count in (1, 32):
        picked = rows[strange[:count]]
        judged = best_us(picked=picked, judge=guard.p_values)
        explained = best_us(picked=picked, judge=guard.check)
        found[f"{count}_rows"] = {"judged_us": judged, "explained_us": explained - judged}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    found = {}
    for table in tables():
        found[table.name] = measure(table)
        print(f"{table.name:22} {told(found[table.name])}", flush=True)
    summary = {kind: summarise([of[kind]["right"] for of in found.values()]) for kind in KINDS}
    print(summary)
    costs = cost(next(tables()))
    print(costs)
    write(__file__, seed=SEED, figures={"right": summary, "cost": costs, "tables": found})


def told(found: dict[str, dict[str, float | None]]) -> str:
    """Put the figures of one table into a line."""
    return "  ".join(
        f"{kind} of {of['strange']:.2f}: "
        + " ".join(
            f"{name} {'-' if of[name] is None else format(of[name], '.2f')}"
            for name in ("right", "repaired", "repaired_exactly")
        )
        for kind, of in found.items()
    )


def summarise(shares: list[float | None]) -> dict[str, float]:
    """Mean and least over the tables where enough rows were strange."""
    known = [share for share in shares if share is not None]
    return {"tables": len(known), "mean": float(np.mean(known)), "least": min(known)}


if __name__ == "__main__":
    main()
