"""A request on its way: as it came, how far it is, and what goes back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gateway.serving.batcher import Gone
from gateway.serving.certainty import Certainty
from gateway.serving.item import Item, Judged
from gateway.serving.ladder import Fallback
from gateway.serving.protocol import Envelope
from gateway.serving.verdicts import Verdicts
from gateway.serving.versions import LoadedVersion, View
from models.manifest import Signature


@dataclass(frozen=True, slots=True)
class Request:
    """One inference request as it came off the wire."""

    prediction_id: str
    parse: Callable[[Signature], Envelope]  # its body, however it is written
    version: str | None  # asked for in the path
    timeout_ms: bytes | None
    arrived_ns: int  # monotonic
    gone: Gone  # returns when the client has closed the connection; awaited only while it waits


@dataclass(slots=True)
class Progress:
    """How far a request has come; filled in on the way, and what the record is made from."""

    view: View | None = None
    version: LoadedVersion | None = None
    envelope: Envelope | None = None
    item: Item | None = None
    budget_ns: int = 0
    decoded_ns: int = 0  # monotonic
    judged: Judged | None = None
    fallback: Fallback | None = None
    fallback_reason: str = ""

    def certainty(self) -> Certainty:
        """Read the answer of the version that was asked; of another's nothing is known."""
        version, item, judged = self.version, self.item, self.judged
        assert version is not None
        assert item is not None
        answers = None
        if self.fallback is None and judged is not None and judged.outputs is not None:
            answers = judged.outputs[version.judged_output.name]
        return Certainty(version.chain.output, answers, item.rows)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    envelope: Envelope
    version: LoadedVersion  # that answered
    outputs: dict[str, NDArray[Any]]  # in the order they go out
    predicted: NDArray[Any]
    served_by: str
    fallback_reason: str
    verdicts: Verdicts
    left_ns: int
    cache_age_ns: int = 0  # of the answer that `fallback:cache` repeats

    @property
    def skipped_guards(self) -> tuple[str, ...]:
        """Guards for which there was no time."""
        return self.verdicts.skipped_guards
