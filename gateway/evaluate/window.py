"""The newest captured rows of a version: read from the evidence once, then kept at hand."""

from collections import deque

from sqlalchemy import Engine, select

from gateway.evaluate import tables
from gateway.evaluate.captured import Captured, join_captured, read_captured
from gateway.evaluate.cells import OWN
from gateway.record.evidence import Evidence
from gateway.registry.database import reading
from models.manifest import Manifest

MOST_ROWS = 5000  # beyond, an estimate is no longer unsure for want of rows
BATCH_REQUESTS = 2000  # in one read of the evidence


class Window:
    """The newest rows of one version that were captured."""

    def __init__(self, engine: Engine, evidence: Evidence, manifest: Manifest) -> None:
        self._engine = engine
        self._evidence = evidence
        self._manifest = manifest
        self._parts: deque[Captured] = deque()
        self._rows = 0
        self._seq: int | None = None  # of the last request seen

    def advance(self) -> int:
        """Read what was captured since the last time; return how many rows that was."""
        new = 0
        while waiting := self._waiting():
            found = self._evidence.read(
                since_ns=min(arrived_ns for _, _, arrived_ns in waiting),
                ids=[prediction for _, prediction, _ in waiting],
                model=self._manifest.name,
            )
            decided = {decision.prediction_id: decision for _, decision in found}
            for _, prediction, _ in waiting:
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

    def _waiting(self) -> list[tuple[int, str, int]]:
        """List the next captured requests by seq; at first, the newest ones."""
        table = tables.requests.c
        query = (
            select(table.seq, table.prediction_id, table.arrived_ns)
            .where(table.model == self._manifest.name, table.version == self._manifest.version)
            .where(table.captured, table.served_by.in_(OWN))
        )
        if self._seq is None:
            query = query.order_by(table.seq.desc()).limit(MOST_ROWS)
        else:
            query = query.where(table.seq > self._seq).order_by(table.seq).limit(BATCH_REQUESTS)
        with reading(self._engine) as connection:
            found = [tuple(row) for row in connection.execute(query)]
        return sorted(found)

    def _forget(self) -> None:
        self._rows = sum(map(len, self._parts))
        while self._parts and self._rows - len(self._parts[0]) >= MOST_ROWS:
            self._rows -= len(self._parts.popleft())
