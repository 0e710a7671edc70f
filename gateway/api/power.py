"""What the guards of a version were measured to notice, as the management API tells it."""

from typing import Any

from guards.stress.power import ANY, PowerCard, ProbePower
from guards.stress.rate import Rate

Json = dict[str, Any]

DIGITS = 4  # of a share; its interval is a hundred times as wide


def describe_power(card: PowerCard | None) -> Json | None:
    """Tell what is promised and what is noticed; None where nobody measured it."""
    if card is None:
        return None
    return {
        "promise": None if card.promise is None else card.promise.model_dump(mode="json"),
        "ordinary": _noticed(card.ordinary),
        "probes": {measured.probe: _noticed(measured) for measured in card.probes},
        "skipped": list(card.skipped),
    }


def _noticed(measured: ProbePower) -> Json:
    """Give the share that any guard noticed with its interval, and the share of each guard."""
    total = measured.noticed[ANY]
    return {
        "rows": total.rows,
        "share": _share(total),
        "low": round(total.low, DIGITS),
        "high": round(total.high, DIGITS),
        "by": {guard: _share(rate) for guard, rate in measured.noticed.items() if guard != ANY},
    }


def _share(rate: Rate) -> float | None:
    return None if rate.share is None else round(rate.share, DIGITS)
