"""Counts and durations per version, since the replica started, in the form Triton gives them.

A request is counted when its answer has gone out, a micro-batch when it is over.  Durations of
an answered request add up: ``success`` is ``queue`` + ``compute_input`` (decoding, input guards)
+ ``compute_infer`` (the model, output guards) + ``compute_output`` (exploring, writing the answer).
An answer from the ladder is a success with no stages of its own; a cached one is a rung like any
other, so that ``cache_hit`` and ``cache_miss``, which are about a cache in front, stay 0.

Source: Triton's ``extension_statistics.md``, whose names and units these are.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.serving.item import Stamps

NS_PER_MS = 1_000_000
BATCH_SIZES_MAX = 512  # a single request may have any number of rows; no client grows this list


class Duration(msgspec.Struct):
    """How often something happened, and how long it took altogether."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Count ``count`` more, which took ``ns`` together."""
        self.count += count
        self.ns += ns


class RequestStats(msgspec.Struct):
    """What requests went through."""

    success: Duration = msgspec.field(default_factory=Duration)
    fail: Duration = msgspec.field(default_factory=Duration)
    queue: Duration = msgspec.field(default_factory=Duration)
    compute_input: Duration = msgspec.field(default_factory=Duration)
    compute_infer: Duration = msgspec.field(default_factory=Duration)
    compute_output: Duration = msgspec.field(default_factory=Duration)
    cache_hit: Duration = msgspec.field(default_factory=Duration)
    cache_miss: Duration = msgspec.field(default_factory=Duration)


class BatchStats(msgspec.Struct):
    """What micro-batches of one size went through."""

    batch_size: int  # rows
    compute_input: Duration = msgspec.field(default_factory=Duration)
    compute_infer: Duration = msgspec.field(default_factory=Duration)
    compute_output: Duration = msgspec.field(default_factory=Duration)


class VersionStats(msgspec.Struct):
    """Everything that is counted about one version."""

    name: str  # of the model
    version: str
    last_inference: int = 0  # Unix, ms
    inference_count: int = 0  # rows answered
    execution_count: int = 0  # micro-batches that the model answered
    inference_stats: RequestStats = msgspec.field(default_factory=RequestStats)
    batch_stats: list[BatchStats] = msgspec.field(default_factory=list)


class Statistics:
    """Counts what one replica does; every method runs on its event loop."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._versions: dict[str, VersionStats] = {}
        self._batches: dict[tuple[str, int], BatchStats] = {}  # by version and rows

    def count_answer(
        self,
        version: str,
        rows: int,
        *,
        wall_ns: int,
        arrived_ns: int,
        decoded_ns: int,
        finished_ns: int,
        stamps: Stamps | None,
    ) -> None:
        """Count a request that was answered.

        Args:
            version: That answered.
            rows: Of the request.
            wall_ns: When it came in, Unix.
            arrived_ns: The same on the monotonic clock, as all that follow.
            decoded_ns: When its body had been read.
            finished_ns: When its answer was written.
            stamps: Of its micro-batch; None if the ladder answered without or in place of it.
        """
        stats = self._of(version)
        stats.last_inference = max(stats.last_inference, wall_ns // NS_PER_MS)
        stats.inference_count += rows
        requests = stats.inference_stats
        requests.success.add(finished_ns - arrived_ns)
        if stamps is None:
            return
        guarded_ns = stamps.guarded_ns or stamps.dequeued_ns
        guards_ns = guarded_ns - stamps.dequeued_ns
        requests.queue.add(stamps.dequeued_ns - decoded_ns)
        requests.compute_input.add(decoded_ns - arrived_ns + guards_ns)
        requests.compute_infer.add(stamps.inferred_ns - guarded_ns)
        requests.compute_output.add(finished_ns - stamps.inferred_ns)

    def count_failure(self, version: str, *, wall_ns: int, duration_ns: int) -> None:
        """Count a request that ``version`` was asked for and that got an error."""
        stats = self._of(version)
        stats.last_inference = max(stats.last_inference, wall_ns // NS_PER_MS)
        stats.inference_stats.fail.add(duration_ns)

    def count_batch(self, version: str, stamps: Stamps) -> None:
        """Count a micro-batch that the model answered, once for all its requests."""
        stats = self._of(version)
        stats.execution_count += 1
        batch = self._batches.get((version, stamps.batch_rows))
        if batch is None:
            if len(stats.batch_stats) == BATCH_SIZES_MAX:
                return
            batch = BatchStats(stamps.batch_rows)
            self._batches[version, stamps.batch_rows] = batch
            stats.batch_stats.append(batch)
        guarded_ns = stamps.guarded_ns or stamps.dequeued_ns
        batch.compute_input.add(guarded_ns - stamps.dequeued_ns)
        batch.compute_infer.add(stamps.inferred_ns - guarded_ns)
        batch.compute_output.add(max(0, stamps.explored_ns - stamps.inferred_ns))

    def told(self, versions: Iterable[str]) -> list[VersionStats]:
        """Give the figures of some versions; zeros for one that nobody asked yet."""
        return [self._of(version) for version in versions]

    def _of(self, version: str) -> VersionStats:
        stats = self._versions.get(version)
        if stats is None:
            stats = self._versions[version] = VersionStats(self._model, version)
        return stats


def total(told: Iterable[Iterable[VersionStats]]) -> list[VersionStats]:
    """Add the figures of several replicas, version by version."""
    sums: dict[str, VersionStats] = {}
    for replica in told:
        for stats in replica:
            known = sums.get(stats.version)
            sums[stats.version] = stats if known is None else _sum(known, stats)
    return [sums[version] for version in sorted(sums)]


def as_json(stats: Iterable[VersionStats]) -> dict[str, Any]:
    """Put figures into the form of an answer."""
    return {"model_stats": msgspec.to_builtins(list(stats))}


def _sum(one: VersionStats, other: VersionStats) -> VersionStats:
    by_size = {batch.batch_size: batch for batch in one.batch_stats}
    for batch in other.batch_stats:
        known = by_size.get(batch.batch_size)
        by_size[batch.batch_size] = batch if known is None else _sum_batches(known, batch)
    return VersionStats(
        one.name,
        one.version,
        last_inference=max(one.last_inference, other.last_inference),
        inference_count=one.inference_count + other.inference_count,
        execution_count=one.execution_count + other.execution_count,
        inference_stats=RequestStats(**_durations(one.inference_stats, other.inference_stats)),
        batch_stats=[by_size[size] for size in sorted(by_size)],
    )


def _sum_batches(one: BatchStats, other: BatchStats) -> BatchStats:
    return BatchStats(one.batch_size, **_durations(one, other))


def _durations(one: msgspec.Struct, other: msgspec.Struct) -> dict[str, Duration]:
    """Add every duration of two structs of the same kind."""
    sums = {}
    for name in one.__struct_fields__:
        first, second = getattr(one, name), getattr(other, name)
        if isinstance(first, Duration):
            sums[name] = Duration(first.count + second.count, first.ns + second.ns)
    return sums
