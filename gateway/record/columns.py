"""Decision records as Arrow columns, and back: the one mapping, derived from the record itself.

A field that is added to the record becomes a column that older rows do not have; they
read as the field's default.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from gateway.record.decision import (
    Decision,
    Exploration,
    Hex16,
    Hex16OrNone,
    Hex32,
    Int64,
    Name,
    Payload,
    Stages,
)

COMMITTED = "committed_ns"  # when the recorder committed the row
DAY = "day"
_EXPLORE = "explore_"  # prefix of the columns of Exploration
_TYPES: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    bytes: pa.binary(),
    str: pa.string(),
    Name: pa.string(),
    Hex16: pa.string(),
    Hex16OrNone: pa.string(),
    Hex32: pa.string(),
    Int64: pa.int64(),
    float: pa.float64(),
    tuple[Int64, ...]: pa.list_(pa.int64()),
    tuple[float, ...]: pa.list_(pa.float64()),
    tuple[str, ...]: pa.list_(pa.string()),
}
_FIELDS = msgspec.structs.fields(Decision)
_STAGES = msgspec.structs.fields(Stages)
_EXPLORATION = msgspec.structs.fields(Exploration)
_encoder = msgspec.msgpack.Encoder()
_payloads = msgspec.msgpack.Decoder(Payload)
EMPTY_PAYLOAD = _encoder.encode(Payload((), ()))  # as the column holds it


def _schema() -> pa.Schema:
    columns = [pa.field(COMMITTED, pa.int64()), pa.field(DAY, pa.string())]
    for field in _FIELDS:
        match field.name:
            case "stages":
                columns += [pa.field(stage.name, _TYPES[stage.type]) for stage in _STAGES]
            case "exploration":
                columns += [pa.field(_EXPLORE + f.name, _TYPES[f.type]) for f in _EXPLORATION]
            case "payload":
                columns.append(pa.field("payload", pa.binary()))
            case _:
                columns.append(pa.field(field.name, _TYPES[field.type]))
    return pa.schema(columns)


SCHEMA = _schema()


def to_table(decisions: Sequence[Decision], *, committed_ns: int) -> pa.Table:
    """Lay the records out in columns."""
    columns: list[Iterable[Any]] = [
        [committed_ns] * len(decisions),
        [decision.day for decision in decisions],
    ]
    astuple = msgspec.structs.astuple
    for field, values in zip(_FIELDS, zip(*map(astuple, decisions), strict=True), strict=True):
        match field.name:
            case "stages":
                columns += zip(*map(astuple, values), strict=True)
            case "exploration":
                absent = (None,) * len(_EXPLORATION)
                rows = [absent if value is None else astuple(value) for value in values]
                columns += zip(*rows, strict=True)
            case "payload":
                columns.append([None if v is None else _encoder.encode(v) for v in values])
            case _:
                columns.append(values)
    arrays = [pa.array(c, kind) for c, kind in zip(columns, SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def from_table(table: pa.Table) -> list[tuple[int, Decision]]:
    """Read ``(committed_ns, record)`` back; the inverse of `to_table`."""
    absent = [None] * table.num_rows
    columns = {name: table[name].to_pylist() for name in table.column_names}
    fields: list[list[Any]] = []
    for field in _FIELDS:
        match field.name:
            case "stages":
                stages = zip(*(columns.get(f.name, absent) for f in _STAGES), strict=True)
                fields.append([Stages(*values) for values in stages])
            case "exploration":
                drawn = zip(
                    *(columns.get(_EXPLORE + f.name, absent) for f in _EXPLORATION), strict=True
                )
                fields.append([_exploration(values) for values in drawn])
            case "payload":
                blobs = columns.get("payload", absent)
                fields.append([None if blob is None else _payloads.decode(blob) for blob in blobs])
            case _:
                fields.append(_filled(columns.get(field.name, absent), field))
    return list(zip(columns[COMMITTED], map(Decision, *fields), strict=True))


def _filled(values: list[Any], field: msgspec.structs.FieldInfo) -> list[Any]:
    """Give rows older than the field its default, and lists their tuple."""
    if pa.types.is_list(_TYPES[field.type]):
        return [() if value is None else tuple(value) for value in values]
    if field.default is msgspec.NODEFAULT:
        return values
    return [field.default if value is None else value for value in values]


def _exploration(values: tuple[Any, ...]) -> Exploration | None:
    if values[0] is None:  # the policy
        return None
    filled = zip(values, _EXPLORATION, strict=True)
    return Exploration(*(_filled([value], field)[0] for value, field in filled))
