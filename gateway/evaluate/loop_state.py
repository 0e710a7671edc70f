"""Where the watch of one model's loop stands, and that as bytes."""

import io
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from gateway.evaluate.loop_counts import LoopCounts
from guards.quality.loop.calibration import Excess
from guards.quality.loop.exposure import Exposure
from guards.quality.loop.newcomers import Catalogue
from guards.quality.loop.override import OverrideMonitor
from guards.quality.loop.sources import LabelSources
from guards.quality.ranked_sums import RankedSums


@dataclass(frozen=True, slots=True)
class LoopState:
    """A value; the next one replaces it, with what it was made of, in one transaction."""

    through_ns: int  # everything committed before this is counted
    start_ns: int  # of the window that is open
    window: LoopCounts  # so far
    catalogue: Catalogue  # without it
    override: OverrideMonitor  # with it
    confirmed: int  # in all windows, without it
    overridden: int
    ranked: RankedSums  # of the live version, in all windows

    @classmethod
    def begin(cls, start_ns: int) -> Self:
        """Begin with nothing counted."""
        empty = Catalogue.empty()
        return cls(
            start_ns, start_ns, LoopCounts(), empty, OverrideMonitor.start(), 0, 0, RankedSums()
        )

    def to_bytes(self) -> bytes:
        """Write every number as an array of an npz file."""
        out = io.BytesIO()
        np.savez_compressed(out, **_flat("", self))
        return out.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote."""
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            arrays = _flat("ranked.", RankedSums()) | dict(held)  # states of before lack it
        return cls(**_values("", cls, arrays))


_NESTED: dict[str, type[Any]] = {
    "window": LoopCounts,
    "catalogue": Catalogue,
    "override": OverrideMonitor,
    "ranked": RankedSums,
    "exposure": Exposure,
    "uniform": Exposure,
    "sources": LabelSources,
    "chosen_excess": Excess,
    "uniform_excess": Excess,
}


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for one in fields(value):
        held = getattr(value, one.name)
        if one.name in _NESTED:
            flat |= _flat(f"{prefix}{one.name}.", held)
        else:
            flat[prefix + one.name] = np.asarray(held)
    return flat


def _values(prefix: str, kind: type[Any], arrays: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in fields(kind):
        if one.name in _NESTED:
            nested = _NESTED[one.name]
            values[one.name] = nested(**_values(f"{prefix}{one.name}.", nested, arrays))
        else:
            array = arrays[prefix + one.name]
            values[one.name] = array.item() if array.ndim == 0 else array
    return values
