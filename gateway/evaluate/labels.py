"""The labels of certain rows, and when they came."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, or_, select

from gateway.evaluate import tables
from gateway.evaluate.captured import Key

_CHUNK = 500  # values of one IN clause


class Label(NamedTuple):
    """What was true of one row."""

    value: float  # that which was observed last
    received_ns: int  # when the first one came, Unix


def read_labels_of(
    connection: Connection, model: str, predictions: Sequence[str]
) -> Mapping[Key, Label]:
    """Read the labels of some predictions, by row.

    Those that an audit asked for are left out: they are of harder rows than most.
    """
    table, audited = tables.labels.c, tables.audited.c
    of_audit = and_(
        audited.model == model,
        audited.prediction_id == table.prediction_id,
        audited.row == table.row,
    )
    found: dict[Key, Label] = {}
    for start in range(0, len(predictions), _CHUNK):
        query = (
            select(table.prediction_id, table.row, table.label, table.received_ns)
            .select_from(tables.labels)
            .outerjoin(tables.audited, of_audit)
            .where(table.model == model, table.label.is_not(None))
            .where(or_(audited.chosen.is_(None), audited.chosen.is_(False)))
            .where(table.prediction_id.in_(predictions[start : start + _CHUNK]))
            .order_by(table.observed_ns, table.revision)
        )
        for prediction, row, label, received_ns in connection.execute(query):
            known = found.get((prediction, row))
            first_ns = received_ns if known is None else min(known.received_ns, received_ns)
            found[prediction, row] = Label(label, first_ns)
    return found
