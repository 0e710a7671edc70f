"""The newest captured rows of a version: read from the evidence once, then kept at hand."""

from collections import deque
from itertools import accumulate, takewhile
from typing import Any

from sqlalchemy import Engine, Select, select

from gateway.config import MIB
from gateway.evaluate import tables
from gateway.evaluate.captured import Captured, join_captured, read_captured
from gateway.evaluate.cells import OWN
from gateway.record.evidence import Evidence
from gateway.registry.database import reading
from models.manifest import DTYPES, Manifest
from models.signature import Signature

MOST_ROWS = 5000  # beyond, an estimate is no longer unsure for want of rows
MOST_BYTES = 512 * MIB  # of their payloads; read part by part, and little of them is kept
BATCH_BYTES = 64 * MIB  # of payloads in one read of the evidence
BATCH_REQUESTS = 2000  # in one read
TEXT_BYTES = 256  # a guess at the length of a text

_Waiting = tuple[int, str, int, int]  # seq, prediction id, when it arrived, rows


class Window:
    """The newest rows of one version that were captured; fewer of them where each is large."""

    def __init__(self, engine: Engine, evidence: Evidence, manifest: Manifest) -> None:
        self._engine = engine
        self._evidence = evidence
        self._manifest = manifest
        row_bytes = bytes_of_row(manifest.signature)
        self._most_rows = max(1, min(MOST_ROWS, MOST_BYTES // row_bytes))
        self._batch_rows = max(1, BATCH_BYTES // row_bytes)
        self._parts: deque[Captured] = deque()
        self._seq = 0  # of the last request seen

    def advance(self) -> int:
        """Read what was captured since the last time; return how many rows that was.

        What would be forgotten at once, because newer rows take its place, is not read.
        """
        self._seq = self._begin()
        new = 0
        while waiting := self._waiting(self._seq):
            found = self._evidence.read(
                since_ns=min(arrived_ns for _, _, arrived_ns, _ in waiting),
                ids=[prediction for _, prediction, _, _ in waiting],
                model=self._manifest.name,
            )
            decided = {decision.prediction_id: decision for _, decision in found}
            for _, prediction, _, _ in waiting:
                decision = decided.get(prediction)
                part = None if decision is None else read_captured(decision, self._manifest)
                if part is not None:
                    self._parts.append(part)
                    new += len(part)
            self._seq = waiting[-1][0]
            self._forget()
        return new

    @property
    def captured(self) -> Captured | None:
        """All of them, in the order in which they were judged; None where there is none."""
        return join_captured(self._parts) if self._parts else None

    def _begin(self) -> int:
        """Find the seq after which the newest rows come, of those that were not seen."""
        seq = tables.requests.c.seq
        unseen = self._query().where(seq > self._seq).order_by(seq.desc())
        found = self._list(unseen.limit(self._most_rows))
        sums = accumulate(rows for _, _, _, rows in found)
        kept = sum(1 for _ in takewhile(lambda rows: rows < self._most_rows, sums)) + 1
        return min((seq for seq, _, _, _ in found[:kept]), default=self._seq + 1) - 1

    def _waiting(self, seq: int) -> list[_Waiting]:
        """List the next captured requests, as many as are read at once."""
        table = tables.requests.c
        query = self._query().where(table.seq > seq).order_by(table.seq).limit(BATCH_REQUESTS)
        found = self._list(query)
        sums = accumulate(rows for _, _, _, rows in found)
        fitting = sum(1 for _ in takewhile(lambda rows: rows <= self._batch_rows, sums))
        return found[: max(fitting, 1)]

    def _query(self) -> Select[Any]:
        table = tables.requests.c
        return (
            select(table.seq, table.prediction_id, table.arrived_ns, table.rows)
            .where(table.model == self._manifest.name, table.version == self._manifest.version)
            .where(table.captured, table.served_by.in_(OWN))
        )

    def _list(self, query: Select[Any]) -> list[_Waiting]:
        with reading(self._engine) as connection:
            return [
                (r.seq, r.prediction_id, r.arrived_ns, r.rows) for r in connection.execute(query)
            ]

    def _forget(self) -> None:
        rows = sum(map(len, self._parts))
        while self._parts and rows - len(self._parts[0]) >= self._most_rows:
            rows -= len(self._parts.popleft())


def bytes_of_row(signature: Signature) -> int:
    """Tell how large one row of a payload is, about."""
    return sum(
        spec.row_width
        * (TEXT_BYTES if spec.datatype == "BYTES" else DTYPES[spec.datatype].itemsize)
        for spec in (*signature.inputs, *signature.outputs)
    )
