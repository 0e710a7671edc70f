"""What a micro-batch of a version costs, learnt while it serves."""

import math

BUCKETS = 24  # powers of two of batch rows; 2**23 rows are more than any request can carry
WINDOW = 64  # batches per bucket that count; a change of the machine's mood is learnt in as many
REFRESH = 8  # batches between two readings of the quantiles: sorting 64 numbers takes some us
TYPICAL, SURE = 0.5, 0.95
# What its profile calls too slow would never run again, and the profile never learn better: once
# a second it is tried all the same.
RETRY_NS = 1_000_000_000


class CostProfile:
    """Quantiles of the cost per power of two of batch rows, over the last batches of each.

    Bucket ``k`` holds batches of more than 2**(k-1) and at most 2**k rows.  Three questions, three
    answers: `estimate_ns`, below which 19 of 20 batches stayed, says what will be in time;
    `typical_ns`, the median, what hardly can be; `quickest_ns`, the best ever, what cannot.

    Mutable and without locks: every call comes from the replica's event loop.
    """

    def __init__(self) -> None:
        self._recent: dict[int, list[int]] = {}  # bucket -> ns, a ring of `WINDOW`
        self._seen: dict[int, int] = {}  # bucket -> batches ever
        self._estimate = [0.0] * BUCKETS  # ns; for every bucket, observed or not
        self._typical = [0.0] * BUCKETS
        self._quickest = [0.0] * BUCKETS
        self._followers: dict[int, list[tuple[int, float]]] = {}  # see `_follow`
        self.tried_ns = 0  # monotonic; when such a batch last began

    def observe(self, rows: int, took_ns: int) -> None:
        """Fold in one batch of ``rows`` rows."""
        bucket = _bucket(rows)
        seen = self._seen.get(bucket, 0)
        self._seen[bucket] = seen + 1
        if bucket not in self._recent:
            self._recent[bucket] = []
            self._follow()
        ring = self._recent[bucket]
        if not seen or took_ns < self._quickest[bucket]:
            self._set(self._quickest, bucket, float(took_ns))
        if len(ring) < WINDOW:
            ring.append(took_ns)
        else:
            ring[seen % WINDOW] = took_ns
        if seen < REFRESH or seen % REFRESH == 0:
            self._read(bucket, ring)

    def is_doubtful(self, now_ns: int) -> bool:
        """Whether it is so long since a batch began that it must be tried whatever this says."""
        return now_ns - self.tried_ns >= RETRY_NS

    def restart(self, rows: int) -> None:
        """Forget the batches like one of ``rows`` rows: they are of another time."""
        self._recent[_bucket(rows)] = []
        self._seen[_bucket(rows)] = 0

    def estimate_ns(self, rows: int) -> float:
        """Predict a cost that 19 of 20 batches of ``rows`` rows keep; 0 if none was observed."""
        return self._estimate[_bucket(rows)]

    def typical_ns(self, rows: int) -> float:
        """Predict the median cost of a batch of ``rows`` rows; 0 if none was ever observed."""
        return self._typical[_bucket(rows)]

    def quickest_ns(self, rows: int) -> float:
        """Give the least that a batch of ``rows`` rows ever cost; 0 if none was ever observed."""
        return self._quickest[_bucket(rows)]

    def _read(self, bucket: int, ring: list[int]) -> None:
        """Take the quantiles of one bucket anew, and of those that are reckoned from it."""
        ordered = sorted(ring)
        for costs, share in ((self._typical, TYPICAL), (self._estimate, SURE)):
            self._set(costs, bucket, float(ordered[math.ceil(share * len(ordered)) - 1]))

    def _set(self, costs: list[float], bucket: int, cost_ns: float) -> None:
        """Set a cost that was observed, and those that are reckoned from it."""
        costs[bucket] = cost_ns
        for follower, factor in self._followers[bucket]:
            costs[follower] = cost_ns * factor

    def _follow(self) -> None:
        """Let every bucket that was never observed follow the nearest that was.

        Larger batches cost at most in proportion; smaller ones are assumed no cheaper.
        """
        known = sorted(self._recent)
        self._followers = {bucket: [] for bucket in known}
        for bucket in range(BUCKETS):
            if bucket not in self._recent:
                nearest = min(known, key=lambda other: abs(other - bucket))
                factor = max(1.0, 2.0 ** (bucket - nearest))
                self._followers[nearest].append((bucket, factor))


class BatchCost:
    """What a whole micro-batch costs: its input guards, and what the model does after them."""

    def __init__(self) -> None:
        self.guards = CostProfile()
        self.model = CostProfile()  # with output guard and exploration

    def estimate_ns(self, rows: int) -> float:
        """Predict a cost that batches of ``rows`` rows nearly always keep."""
        return self.guards.estimate_ns(rows) + self.model.estimate_ns(rows)

    def typical_ns(self, rows: int) -> float:
        """Predict what a batch of ``rows`` rows costs as a rule."""
        return self.guards.typical_ns(rows) + self.model.typical_ns(rows)

    def learn(
        self, rows: int, *, guards_ns: int | None, model_ns: int, is_whole: bool, left_ns: int
    ) -> None:
        """Fold in one batch.

        Args:
            rows: Of the batch.
            guards_ns: What its input guards took; None if some were left out, or there are none.
            model_ns: What the model took, with output guard and exploration.
            is_whole: One call of the model answered every row.  If not, some rows were never
                asked, or the call was cut short or repeated: then it only shows what is too low.
            left_ns: Until its first deadline when it began.  A batch that ran although the
                profiles called it too slow, and was not, shows that they are out of date.
        """
        doubted = (0.0 if guards_ns is None else self.guards.typical_ns(rows)) + (
            self.model.typical_ns(rows)
        ) > left_ns
        if guards_ns is not None:
            _fold(self.guards, rows, guards_ns, is_doubted=doubted)
        if is_whole or model_ns > self.model.typical_ns(rows):
            _fold(self.model, rows, model_ns, is_doubted=doubted)


def _fold(profile: CostProfile, rows: int, took_ns: int, *, is_doubted: bool) -> None:
    if is_doubted and took_ns < profile.typical_ns(rows):
        profile.restart(rows)
    profile.observe(rows, took_ns)


def _bucket(rows: int) -> int:
    return min((rows - 1).bit_length(), BUCKETS - 1)
