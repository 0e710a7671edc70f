"""Counts of requests, by cell: select some, add them up, read a quantile."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import TypeVar

from gateway.evaluate.judged import Cell, bin_start_ns

OWN = ("model", "canary")  # served_by of an answer that is the version's own
FALLBACK = "fallback:"

_Key = TypeVar("_Key", str, int)


@dataclass(frozen=True, slots=True)
class Sums:
    """What the requests of a cell add up to; in the order of `tables.SUMS`."""

    requests: int = 0
    rows: int = 0
    kept_rows: int = 0
    flagged: int = 0
    rejected: int = 0
    explored: int = 0
    judged: int = 0  # rows, by the outlier guard
    strange: int = 0  # of those
    abstained: int = 0  # rows of which the model was not sure enough
    unguarded: int = 0  # requests on which a guard failed


@dataclass(frozen=True, slots=True)
class Cells:
    """Some of the requests of one model."""

    sums: Mapping[Cell, Sums]

    def where(self, fits: Callable[[Cell], bool]) -> "Cells":
        """Keep the cells that fit."""
        return Cells({cell: sums for cell, sums in self.sums.items() if fits(cell)})

    def total(self) -> Sums:
        """Add everything up."""
        columns = zip(*map(astuple, self.sums.values()), strict=True)
        return Sums(*map(sum, columns))

    def requests_by(self, key: Callable[[Cell], _Key]) -> dict[_Key, int]:
        """Count requests by something of their cell, in its order."""
        counter: Counter[_Key] = Counter()
        for cell, sums in self.sums.items():
            counter[key(cell)] += sums.requests
        return dict(sorted(counter.items()))

    def duration_ns(self, level: float) -> float | None:
        """Find the duration that a share ``level`` of the requests does not exceed.

        Returns:
            The middle of its bin; None of no request.
        """
        bins = self.requests_by(lambda cell: cell.duration_bin)
        wanted = level * sum(bins.values())
        seen = 0
        for number, n in bins.items():
            seen += n
            if seen >= wanted:
                return (bin_start_ns(number) + bin_start_ns(number + 1)) / 2
        return None


def is_answer(cell: Cell) -> bool:
    """Whether these requests got an answer, from whoever."""
    return cell.served_by != ""


def is_own(cell: Cell) -> bool:
    """Whether the version itself answered."""
    return cell.served_by in OWN


def is_fallback(cell: Cell) -> bool:
    """Whether the ladder answered."""
    return cell.served_by.startswith(FALLBACK)
