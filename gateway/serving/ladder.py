"""The fallback ladder: a weaker answer in time, in manifest order, the first that fits."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.serving.batcher import Batcher
from gateway.serving.microbatch import Item
from gateway.serving.versions import LoadedVersion, View
from models.manifest import DTYPES, ConstantRung, VersionRung
from models.prediction import predicted


@dataclass(frozen=True, slots=True)
class Fallback:
    """An answer from a rung; provenance for the client and the record."""

    served_by: str
    version: LoadedVersion
    outputs: dict[str, NDArray[Any]]
    predicted: NDArray[Any]


class Ladder:
    """Finds the first rung that still answers in the time left."""

    def __init__(
        self, batcher: Batcher, *, now_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._batcher = batcher
        self._now_ns = now_ns

    async def descend(
        self, view: View, version: LoadedVersion, item: Item, deadline_ns: int
    ) -> tuple[Fallback | None, list[str]]:
        """Try the rungs of ``version`` in order.

        Returns:
            The answer, or None when no rung has one, and the names of the rungs tried.
        """
        tried: list[str] = []
        for rung in version.manifest.fallback:
            tried.append(f"fallback:{rung.use}")
            if isinstance(rung, ConstantRung):
                return _constant(version, rung, item.rows), tried
            answer = await self._ask(view, version, rung, item, deadline_ns)
            if answer is not None:
                return answer, tried
        return None, tried

    async def _ask(
        self, view: View, version: LoadedVersion, rung: VersionRung, item: Item, deadline_ns: int
    ) -> Fallback | None:
        other = view.loaded.get(rung.version)
        if other is None or other is version:
            return None
        if self._now_ns() + other.cost.estimate_ns(item.rows) > deadline_ns:
            return None
        judged = await self._batcher.submit(
            other, view.table, replace(item, is_fallback=True), deadline_ns
        )
        if judged is None or judged.outputs is None or judged.predicted is None:
            return None
        return Fallback("fallback:version", other, judged.outputs, judged.predicted)


def _constant(version: LoadedVersion, rung: ConstantRung, rows: int) -> Fallback:
    """Repeat the fixed row for every row asked; costs nothing, so it always fits."""
    signature = version.manifest.signature
    outputs = {
        spec.name: np.broadcast_to(
            np.asarray(rung.outputs[spec.name], DTYPES[spec.datatype]).reshape(spec.row_shape),
            (rows, *spec.row_shape),
        )
        for spec in signature.outputs
    }
    return Fallback("fallback:constant", version, outputs, predicted(outputs, signature))
