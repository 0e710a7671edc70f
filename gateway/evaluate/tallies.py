"""What the report counts, read from the tables: sums over cells, and joins with the labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Subquery, and_, case, func, select

from gateway.evaluate import tables
from gateway.evaluate.cells import OWN, Cells, Sums
from gateway.evaluate.judged import Cell

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Hits:
    """How many of ``n`` rows were right, or agreed."""

    hits: int = 0
    n: int = 0


@dataclass(frozen=True, slots=True)
class LabelTally:
    """Labels, joined with the answers they are about."""

    # By version, (m, 4): prediction, label, how many rows, and whether an audit asked for them.
    pairs: Mapping[str, Floats]
    unmatched: int  # labels that found no prediction (yet)

    def right(self, version: str) -> Hits:
        """Count right and labelled rows of a version."""
        pairs = self.pairs.get(version)
        if pairs is None:
            return Hits()
        return Hits(int(pairs[pairs[:, 0] == pairs[:, 1], 2].sum()), int(pairs[:, 2].sum()))

    def rows(self, version: str) -> tuple[Floats, Floats]:
        """List prediction and label of each labelled row that has a number for its answer.

        Those that an audit asked for are left out: they are harder than most.
        """
        pairs = self.pairs.get(version, np.empty((0, 4)))
        pairs = pairs[~np.isnan(pairs[:, 0]) & (pairs[:, 3] == 0)]
        counts = pairs[:, 2].astype(np.int64)
        return np.repeat(pairs[:, 0], counts), np.repeat(pairs[:, 1], counts)


@dataclass(frozen=True, slots=True)
class ShadowTally:
    """What a shadow answered."""

    answered: int  # payloads
    failed: int  # payloads
    agreement: Hits  # with rows that the live version answered itself
    correct: Hits  # of rows with a label


def read_cells(connection: Connection, model: str) -> Cells:
    """Read the counts of a model; cells whose requests were all replaced are left out."""
    table = tables.counts
    columns = [table.c[name] for name in (*Cell._fields, *tables.SUMS)]
    query = select(*columns).where(table.c.model == model, table.c.requests > 0)
    width = len(Cell._fields)
    rows = connection.execute(query)
    return Cells({Cell(*row[:width]): Sums(*map(int, row[width:])) for row in rows})


def read_labels(connection: Connection, model: str) -> LabelTally:
    """Join labels with what each version answered itself, in one pass."""
    latest = latest_labels(model)
    predictions, requests = tables.predictions.c, tables.requests.c
    of_row = and_(
        predictions.model == model,
        predictions.prediction_id == latest.c.prediction_id,
        predictions.row == latest.c.row,
    )
    of_request = and_(requests.model == model, requests.prediction_id == latest.c.prediction_id)
    what = (
        requests.version,
        requests.served_by,
        predictions.row.is_not(None),
        predictions.predicted,
        latest.c.label,
        tables.audited.c.chosen,  # NULL: no audit could have
    )
    of_audit = and_(
        tables.audited.c.model == model,
        tables.audited.c.prediction_id == latest.c.prediction_id,
        tables.audited.c.row == latest.c.row,
    )
    query = (
        select(*what, func.count())
        .select_from(latest)
        .outerjoin(tables.predictions, of_row)
        .outerjoin(tables.requests, of_request)
        .outerjoin(tables.audited, of_audit)
        .group_by(*what)
    )
    pairs: dict[str, list[tuple[float, float, int, bool]]] = {}
    unmatched = 0
    for version, served_by, found, predicted, label, chosen, n in connection.execute(query):
        if not found:
            unmatched += n
        elif served_by in OWN:  # NaN for what is no number: it agrees with no label
            value = float("nan") if predicted is None else predicted
            pairs.setdefault(version, []).append((value, label, n, bool(chosen)))
    return LabelTally({version: np.array(rows) for version, rows in pairs.items()}, unmatched)


def read_shadow(
    connection: Connection, model: str, version: str, *, live: str | None
) -> ShadowTally:
    """Compare what a shadow answered with the live version and with the labels."""
    runs = tables.shadow_runs.c
    failures = dict[bool, int](
        tuple(row)
        for row in connection.execute(
            select(runs.failed, func.count())
            .where(runs.model == model, runs.version == version)
            .group_by(runs.failed)
        )
    )
    return ShadowTally(
        answered=failures.get(False, 0),
        failed=failures.get(True, 0),
        agreement=_read_agreement(connection, model, version, live=live),
        correct=_read_correct(connection, model, version),
    )


def _read_agreement(connection: Connection, model: str, version: str, *, live: str | None) -> Hits:
    shadow, predictions, requests = (
        tables.shadow_predictions.c,
        tables.predictions.c,
        tables.requests.c,
    )
    query = (
        select(count_if(shadow.predicted == predictions.predicted), func.count())
        .select_from(tables.shadow_predictions)
        .join(
            tables.predictions,
            and_(
                predictions.model == model,
                predictions.prediction_id == shadow.prediction_id,
                predictions.row == shadow.row,
            ),
        )
        .join(
            tables.requests,
            and_(requests.model == model, requests.prediction_id == shadow.prediction_id),
        )
        .where(shadow.model == model, shadow.version == version)
        .where(requests.version == live, requests.served_by.in_(OWN))
    )
    return _hits(connection.execute(query).one())


def _read_correct(connection: Connection, model: str, version: str) -> Hits:
    shadow = tables.shadow_predictions.c
    latest = latest_labels(model)
    query = (
        select(count_if(shadow.predicted == latest.c.label), func.count())
        .select_from(latest)
        .join(
            tables.shadow_predictions,
            and_(
                shadow.model == model,
                shadow.version == version,
                shadow.prediction_id == latest.c.prediction_id,
                shadow.row == latest.c.row,
            ),
        )
    )
    return _hits(connection.execute(query).one())


def latest_labels(model: str) -> Subquery:
    """Of several labels for one row, the one observed last; of those, the last revision."""
    table = tables.labels.c
    order = func.row_number().over(
        partition_by=(table.prediction_id, table.row),
        order_by=(table.observed_ns.desc(), table.revision.desc()),
    )
    ranked = (
        select(table.prediction_id, table.row, table.label, order.label("place"))
        .where(table.model == model, table.label.is_not(None))
        .subquery()
    )
    return (
        select(ranked.c.prediction_id, ranked.c.row, ranked.c.label)
        .where(ranked.c.place == 1)
        .subquery()
    )


def count_if(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    """Count the rows for which it is true."""
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _hits(row: Any) -> Hits:
    hits, n = row
    return Hits(int(hits), int(n))
