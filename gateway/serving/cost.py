"""What a micro-batch of a version costs, learnt while it serves."""

BUCKETS = 32  # powers of two of batch rows


class CostProfile:
    """Exponentially weighted mean cost per power of two of batch rows.

    Mutable and without locks: every call comes from the replica's event loop.
    """

    WEIGHT = 0.1  # of a new sample; forgets a cold start within some tens of batches

    def __init__(self) -> None:
        self._observed: dict[int, float] = {}  # bucket -> mean ns
        self._estimates = [0.0] * BUCKETS  # ns; for every bucket, observed or not

    def observe(self, rows: int, took_ns: int) -> None:
        """Fold in one batch of ``rows`` rows."""
        bucket = rows.bit_length()
        mean = self._observed.get(bucket)
        if mean is None:
            self._observed[bucket] = float(took_ns)
            self._estimates = [self._guess(bucket) for bucket in range(BUCKETS)]
        else:
            mean += self.WEIGHT * (took_ns - mean)
            self._observed[bucket] = self._estimates[bucket] = mean

    def estimate_ns(self, rows: int) -> float:
        """Predict the cost of a batch of ``rows`` rows; 0 when nothing was ever observed."""
        return self._estimates[min(rows.bit_length(), BUCKETS - 1)]

    def _guess(self, bucket: int) -> float:
        """Reckon from the nearest bucket that was observed.

        Larger batches cost at most in proportion; smaller ones are assumed no cheaper.
        """
        nearest = min(self._observed, key=lambda known: abs(known - bucket))
        return self._observed[nearest] * max(1.0, 2.0 ** (bucket - nearest))
