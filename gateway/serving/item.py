"""One request on its way through a micro-batch: what goes in, and what comes out."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gateway.serving.bisection import Arrays
from gateway.serving.chooser import Decided
from gateway.serving.questions import NOTHING_ASKED, Asked
from guards.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Item:
    """The rows of one request, on their way through a micro-batch."""

    prediction_id: str
    inputs: Arrays
    rows: int
    fingerprint: bytes = b""  # of the inputs, keyed; see `fingerprint`
    is_fallback: bool = False  # asked as a rung of the ladder: judged before, never explored
    is_alone: bool = False  # a suspect: nobody else may be hurt by it
    asked: Asked = NOTHING_ASKED  # what it says of its choice


@dataclass(frozen=True, slots=True)
class Stamps:
    """When the steps of a micro-batch ended, monotonic ns; the same for all its requests."""

    batch_rows: int
    dequeued_ns: int
    guarded_ns: int  # 0: no input guard ran
    inferred_ns: int
    explored_ns: int  # 0: nothing was explored
    is_whole: bool = True  # one call of the model answered every row

    @property
    def model_ns(self) -> int:
        """How long the model and its output guard took."""
        return self.inferred_ns - (self.guarded_ns or self.dequeued_ns)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a micro-batch says about one request."""

    stamps: Stamps
    outputs: Arrays | None  # None: no usable answer
    predicted: NDArray[Any] | None
    verdicts: tuple[Verdict, ...]  # empty when no guard has anything to say
    p_values: NDArray[Any] | None
    decided: Decided | None
    # Why there is no usable answer: the guard's name, model_error, deadline, nothing_to_serve ...
    stop: str
    is_rejected: bool  # the guard says no, and no fallback either
    skipped_guards: tuple[str, ...] = ()  # there was no time for them
    is_judged_after: bool = False  # what stopped it had seen an answer of the model

    @property
    def has_answer(self) -> bool:
        """Whether the model answered, whatever the guards think of it."""
        return self.outputs is not None or self.is_judged_after

    @property
    def is_nonfinite(self) -> bool:
        """Whether the output guard stopped an answer because it is no number."""
        if self.stop != "output":
            return False
        whys = (why for verdict in self.verdicts for why in verdict.reasons.values())
        return any(reason.kind == "nonfinite" for why in whys for reason in why)
