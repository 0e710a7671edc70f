"""What a micro-batch of a version costs, learnt while it serves."""


class CostProfile:
    """Exponentially weighted mean cost per power of two of batch rows.

    Mutable and without locks: every call comes from the replica's event loop.
    """

    WEIGHT = 0.1  # of a new sample; forgets a cold start within some tens of batches

    def __init__(self) -> None:
        self._mean_ns: dict[int, float] = {}

    def observe(self, rows: int, took_ns: int) -> None:
        """Fold in one batch of ``rows`` rows."""
        bucket = rows.bit_length()
        mean = self._mean_ns.get(bucket)
        self._mean_ns[bucket] = (
            float(took_ns) if mean is None else mean + self.WEIGHT * (took_ns - mean)
        )

    def estimate_ns(self, rows: int) -> float:
        """Predict the cost of a batch of ``rows`` rows; 0 when nothing was ever observed."""
        bucket = rows.bit_length()
        if bucket in self._mean_ns:
            return self._mean_ns[bucket]
        if not self._mean_ns:
            return 0.0
        nearest = min(self._mean_ns, key=lambda known: abs(known - bucket))
        # Larger batches cost at most in proportion; smaller ones are assumed no cheaper.
        return self._mean_ns[nearest] * max(1.0, 2.0 ** (bucket - nearest))
