"""The evidence: every decision record of every node, in one Delta table.

Partitioned by model and day.  One commit per recorder cycle carries, for every segment
it read, the last record it holds: a recorder that starts again knows where to go on, and
a commit that two recorders try is refused to one of them.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from pyarrow.dataset import Dataset

from gateway.config import MIB
from gateway.record.columns import (
    COMMITTED,
    DAY,
    EMPTY_PAYLOAD,
    SCHEMA,
    from_table,
    to_table,
)
from gateway.record.decision import Decision

_PARTITIONS = ["model", DAY]
_EMPTY = "".join(f"\\x{byte:02x}" for byte in EMPTY_PAYLOAD)  # as DuckDB writes bytes
_WHETHER_PAYLOAD = f"CASE WHEN payload IS NOT NULL THEN '{_EMPTY}'::BLOB END AS payload"
_FILE_BYTES = 32 * MIB  # of a compacted file; a growing one is rewritten until it is this large
_RETENTION_HOURS = 1  # a reader that began before a compaction may go on reading for this long
_CONFIGURATION: dict[str, str | None] = {
    # Statistics of the one column that reads prune files by; of the others they only cost.
    "delta.dataSkippingStatsColumns": COMMITTED,
    # Four commits a second: without short retention the log outgrows the data.
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.deletedFileRetentionDuration": f"interval {_RETENTION_HOURS} hours",
    "delta.setTransactionRetentionDuration": "interval 7 days",
    "delta.enableExpiredLogCleanup": "true",
}


class Evidence:
    """The table at ``url``: a path, or any address delta-rs knows (``s3://…``).

    Safe to share between threads.  One recorder per node appends; anybody reads.
    """

    def __init__(self, url: str, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._url = url
        self._clock_ns = clock_ns
        self._table: DeltaTable | None = None
        self._lock = threading.Lock()

    def append(self, decisions: Sequence[Decision], *, through: Mapping[str, int]) -> int:
        """Commit records together with how far each segment has been read.

        Args:
            decisions: May be empty, where all new records of the segments were set aside.
            through: Last ``seq`` of each segment that the records came from.

        Returns:
            ``committed_ns`` of the rows.

        Raises:
            deltalake.exceptions.DeltaError: not committed, or not known to be; `refresh`,
                and go on from `last_seq`.
        """
        now_ns = self._clock_ns()
        marks = [Transaction(name, seq, now_ns // 1_000_000) for name, seq in through.items()]
        with self._lock:
            write_deltalake(
                self._open_or_create(),
                to_table(decisions, committed_ns=now_ns) if decisions else SCHEMA.empty_table(),
                mode="append",
                schema_mode="merge",
                commit_properties=CommitProperties(app_transactions=marks),
            )
        return now_ns

    def last_seq(self, segment: str) -> int:
        """Return the last record of ``segment`` that is in the table; 0 where there is none."""
        with self._lock:
            table = self._open()
            if table is None:
                return 0
            table.update_incremental()  # the log behind an old snapshot may have been shortened
            return table.transaction_version(segment) or 0

    def refresh(self) -> None:
        """Forget what is known of the table; the next call looks at it anew."""
        with self._lock:
            self._table = None

    def read(
        self,
        *,
        since_ns: int,
        until_ns: int | None = None,
        ids: Collection[str] | None = None,
        model: str | None = None,
        payloads: bool = True,
    ) -> list[tuple[int, Decision]]:
        """Read records as ``(committed_ns, record)``, oldest commit first, one per prediction.

        A request that was repeated after a crash has a record of each try; the last one is
        what the client saw.

        Args:
            since_ns: Rows committed at or after this.  A record is committed after it
                arrived, so a lower bound on the arrival does as well.  Recorders of several
                nodes commit in any order: a reader that follows the table should overlap.
            until_ns: Rows committed before this.
            ids: Only these predictions.
            model: Only this model.
            payloads: Whether to read them; else those that were kept come back empty.
        """
        if ids is not None and not ids:
            return []
        wanted = _Wanted(since_ns, until_ns, ids=ids, model=model, payloads=payloads)
        rows = self._files(wanted)
        return [] if rows is None else _last_tries(from_table(_select(rows, wanted)))

    def read_arrivals(self, *, since_ns: int, until_ns: int) -> list[tuple[str, str, int]]:
        """List what was committed in a span of time, as ``(model, prediction_id, arrived_ns)``.

        Args:
            since_ns: Rows committed at or after this.
            until_ns: Rows committed before this.
        """
        wanted = _Wanted(since_ns, until_ns)
        rows = self._files(wanted)
        if rows is None:
            return []
        table = _query(rows, "model, prediction_id, arrived_ns", wanted)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def read_choices(
        self, model: str, *, since_ns: int, until_ns: int, limit: int
    ) -> list[tuple[int, Decision]]:
        """Read the newest ``limit`` records of choices, as `read` does, without their payloads.

        Args:
            model: Only this model.
            since_ns: Rows committed at or after this.
            until_ns: Rows committed before this.
            limit: How many at most, tries of one prediction counted each.
        """
        wanted = _Wanted(since_ns, until_ns, model=model, choices=True)
        rows = self._files(wanted)
        return [] if rows is None else _last_tries(from_table(_select(rows, wanted, limit=limit)))

    def first_choice_ns(self, model: str, *, since_ns: int) -> int | None:
        """Find when the first choice of a model since then was committed; None of none."""
        return self._first_ns(_Wanted(since_ns, None, model=model, choices=True))

    def first_ns(self, *, since_ns: int) -> int | None:
        """Find when the first record since then was committed; None of none."""
        return self._first_ns(_Wanted(since_ns, None))

    def _first_ns(self, wanted: "_Wanted") -> int | None:
        rows = self._files(wanted)
        if rows is None:
            return None
        found: int | None = _query(rows, f"min({COMMITTED})", wanted)[0][0].as_py()
        return found

    def _files(self, wanted: "_Wanted") -> Dataset | None:
        """Look at the table as it is now; None if there is none."""
        with self._lock:
            table = self._open()
            if table is None:
                return None
            table.update_incremental()
            return table.to_pyarrow_dataset(file_pruning_predicate=wanted.prune)

    def maintain(self) -> bool:
        """Merge small files, drop replaced ones and shorten the log; False where others were at it.

        Safe beside readers and writers: replaced files stay for `_RETENTION_HOURS`.
        """
        try:
            table = DeltaTable(self._url)
            table.optimize.compact(target_size=_FILE_BYTES)
            table.vacuum(
                retention_hours=_RETENTION_HOURS,
                enforce_retention_duration=False,
                dry_run=False,
                full=True,
            )
            table.create_checkpoint()
            table.cleanup_metadata()
        except CommitFailedError:  # another node's recorder compacted the same files
            return False
        return True

    def _open(self) -> DeltaTable | None:
        if self._table is None:
            try:
                self._table = DeltaTable(self._url)
            except TableNotFoundError:
                return None
        return self._table

    def _open_or_create(self) -> DeltaTable:
        if (table := self._open()) is None:
            table = self._table = DeltaTable.create(
                self._url,
                SCHEMA,
                mode="ignore",
                partition_by=_PARTITIONS,
                configuration=_CONFIGURATION,
            )
        return table


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which rows to read."""

    since_ns: int
    until_ns: int | None
    ids: Collection[str] | None = None
    model: str | None = None
    choices: bool = False  # only where something was chosen
    payloads: bool = True

    @property
    def prune(self) -> str:
        """What files must hold, in delta-rs' SQL."""
        terms = [f"{COMMITTED} >= {self.since_ns}"]
        if self.until_ns is not None:
            terms.append(f"{COMMITTED} < {self.until_ns}")
        if self.model is not None:
            terms.append(f"model = '{self.model.replace(chr(39), chr(39) * 2)}'")
        return " AND ".join(terms)

    @property
    def where(self) -> tuple[str, list[object]]:
        """What rows must hold, in DuckDB's SQL, and its values."""
        terms, values = [f"{COMMITTED} >= ?"], list[object]([self.since_ns])
        if self.until_ns is not None:
            terms.append(f"{COMMITTED} < ?")
            values.append(self.until_ns)
        if self.model is not None:
            terms.append("model = ?")
            values.append(self.model)
        if self.ids is not None:
            terms.append("prediction_id IN (SELECT unnest(?))")
            values.append(list(self.ids))
        if self.choices:
            terms.append("explore_policy IS NOT NULL")
        return " AND ".join(terms), values


def _select(rows: Dataset, wanted: _Wanted, *, limit: int | None = None) -> pa.Table:
    known = [name for name in SCHEMA.names if name in rows.schema.names]
    if wanted.choices:
        known.remove("payload")
    elif not wanted.payloads:
        known[known.index("payload")] = _WHETHER_PAYLOAD
    newest = "" if limit is None else f" ORDER BY {COMMITTED} DESC LIMIT {limit}"
    return _query(rows, ", ".join(known), wanted, newest)


def _query(rows: Dataset, what: str, wanted: _Wanted, after: str = "") -> pa.Table:
    where, values = wanted.where
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("evidence", rows)
        query = f"SELECT {what} FROM evidence WHERE {where}{after}"
        return connection.sql(query, params=values).to_arrow_table()


def _last_tries(rows: list[tuple[int, Decision]]) -> list[tuple[int, Decision]]:
    last: dict[str, tuple[int, Decision]] = {}
    for row in sorted(rows, key=lambda row: row[1].arrived_ns):
        last[row[1].prediction_id] = row
    return sorted(last.values(), key=lambda row: row[0])
