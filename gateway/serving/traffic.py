"""Counts every row that a version judges, for the monitors of drift: cheap, and complete.

A micro-batch only leaves its arrays here, which takes half a microsecond; every so often, once the
answers are out, all that came are counted together, a few microseconds a row.  Counts are totals
since the version was loaded and never fall.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.record.traffic import TrafficRecord, pack_all
from guards.drift.cells import CELLS, Counts, count
from guards.drift.thinning import EntityThinner
from models.manifest import Manifest
from models.runtime.protocol import Tensors
from models.traffic import Monitored, Watched, output_values

FOLD_ROWS = 256  # counted together; fewer would cost more each, more would hold up the loop
FOLD_BYTES = 1 << 20  # of inputs: to keep an image is to keep the body that it came in
OVERDUE = 16  # times as much: then whoever brings more counts
NS_PER_S = 10**9

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a micro-batch saw: one entry per row, or per answered row."""

    inputs: Tensors  # as they came: nothing imputed
    strange: Collection[int]  # rows that the schema guard had something against
    p_values: NDArray[Any] | None  # None: the outlier guard did not run; else of the rows it judged
    outputs: Tensors | None  # of the answered rows


class TrafficCounts:
    """The counts of one loaded version.  Safe from any thread."""

    def __init__(self, watched: Watched, manifest: Manifest) -> None:
        self._watched = watched
        self._signature = manifest.signature
        self._entity = manifest.guards.drift.entity
        self._thinner = EntityThinner()
        self._epoch = uuid.uuid4().hex[:12]
        self._lock = threading.Lock()
        self._pending: list[Seen] = []
        self._pending_rows = self._pending_bytes = 0
        self._counts: dict[Monitored, Counts] = {
            name: np.zeros((len(reference), CELLS), np.int64)
            for name, reference in watched.references.items()
        }
        self._told = 0
        self.failures = 0

    @property
    def is_due(self) -> bool:
        """Whether enough came to be counted."""
        return self._has_pending(1)

    def observe(self, seen: Seen, *, now_ns: int) -> None:
        """Take note of a micro-batch; a failure to is counted here, and fails no request."""
        with self._lock:
            self._guarded(lambda: self._note(seen, now_ns))
            if self._has_pending(OVERDUE):
                self._guarded(self._fold)

    def fold(self) -> None:
        """Count what came."""
        with self._lock:
            self._guarded(self._fold)

    def record(self, model: str, version: str, digest: str) -> TrafficRecord | None:
        """Give the totals for the journal; None if nothing came since the last time."""
        with self._lock:
            self._guarded(self._fold)
            values = sum(int(counts.sum()) for counts in self._counts.values())
            if values == self._told:
                return None
            self._told = values
            counts = {str(name): counted for name, counted in self._counts.items()}
            return TrafficRecord(model, version, digest, self._epoch, values, pack_all(counts))

    def totals(self) -> dict[Monitored, Counts]:
        """Copy what was counted so far."""
        with self._lock:
            self._guarded(self._fold)
            return {name: counts.copy() for name, counts in self._counts.items()}

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  counting must never cost an answer
            self.failures += 1
            if self.failures == 1:
                log.error("traffic is not counted: %s", type(error).__name__)

    def _has_pending(self, times: int) -> bool:
        is_many = self._pending_rows >= times * FOLD_ROWS
        return is_many or self._pending_bytes >= times * FOLD_BYTES

    def _note(self, seen: Seen, now_ns: int) -> None:
        if self._entity is not None:
            kept = self._thinned(seen.inputs[self._entity], now_ns)
            if not kept.all():
                seen = _pick(seen, kept)
        self._pending.append(seen)
        self._pending_rows += _rows(seen)
        self._pending_bytes += sum(_bytes(array) for array in seen.inputs.values())

    def _thinned(self, entities: NDArray[Any], now_ns: int) -> NDArray[np.bool_]:
        names = [str(row) for row in entities.reshape(len(entities), -1).tolist()]
        return self._thinner.first(names, now_ns // NS_PER_S)

    def _fold(self) -> None:
        """Count what is pending, together."""
        pending, self._pending = self._pending, []
        self._pending_rows = self._pending_bytes = 0
        if not pending:
            return
        inputs = _stack([seen.inputs for seen in pending])
        features = self._watched.input_values(inputs, self._signature)
        self._add("features", np.column_stack([features, _flags(pending, len(features))]))
        judged = [seen.p_values for seen in pending if seen.p_values is not None]
        if judged and "reject_rate" in self._counts:
            # What could not be scored is stranger than anything.
            p_values = np.nan_to_num(np.concatenate(judged), nan=0.0)
            self._add("reject_rate", p_values[:, None])
        answered = [seen.outputs for seen in pending if seen.outputs is not None]
        if answered and "outputs" in self._counts:
            self._add("outputs", output_values(_stack(answered), self._signature))

    def _add(self, monitored: Monitored, values: NDArray[np.float64]) -> None:
        layout = self._watched.references[monitored].layout
        self._counts[monitored] += count(layout.codes(values))


def _flags(pending: Sequence[Seen], rows: int) -> NDArray[np.float64]:
    """1 for every row that the schema guard had something against, else 0."""
    flags, start = np.zeros(rows), 0
    for seen in pending:
        if seen.strange:
            flags[[start + row for row in seen.strange]] = 1.0
        start += _rows(seen)
    return flags


def _rows(seen: Seen) -> int:
    return len(next(iter(seen.inputs.values())))


def _bytes(array: NDArray[Any]) -> int:
    return sum(map(len, array.flat)) if array.dtype == object else array.nbytes


def _stack(parts: Sequence[Tensors]) -> Tensors:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _pick(seen: Seen, kept: NDArray[np.bool_]) -> Seen:
    """Leave out some rows; of what not every row has, all."""
    place = np.cumsum(kept) - 1

    def pick(array: NDArray[Any]) -> NDArray[Any]:
        return array[kept] if len(array) == len(kept) else array[:0]

    return Seen(
        {name: pick(array) for name, array in seen.inputs.items()},
        [int(place[row]) for row in seen.strange if kept[row]],
        None if seen.p_values is None else pick(seen.p_values),
        None if seen.outputs is None else {n: pick(array) for n, array in seen.outputs.items()},
    )
