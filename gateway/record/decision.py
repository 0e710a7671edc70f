"""START: the decision record, the one compact row a request leaves.

Built in the replica once per request, after the answer; everything else
(spans, metrics, evidence, reports) is derived from it by the recorder.
"""

import time
from functools import lru_cache
from typing import Annotated

import msgspec

SCHEMA = 1
JUDGED_ROWS_MAX = 1024  # rows of one request whose prediction and p-value are kept
_DAY_NS = 86_400 * 10**9

# What `decode` enforces, so that nothing after it has to: a table column holds 64 bits, a
# partition needs a name, and ids become numbers of exactly this width.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Hex16 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
Hex16OrNone = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{16})?\Z")]


class Tensor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One tensor of a captured payload: raw little-endian bytes, row-major."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


class Payload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What came in and what went out, when the request was sampled for capture."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Exploration(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How the served choices were drawn: ``d`` decisions of ``slots`` slots over ``n`` candidates.

    `gateway.record.replay` makes the same decisions from it again, given the salt.  Candidates are
    numbered by their place in the request (columns: in the row).
    """

    policy: str  # kind of policy
    greedy: tuple[Int64, ...]  # d x slots; -1 where fewer candidates than slots could be served
    served: tuple[Int64, ...]  # d x slots
    # d x slots: of what was served, given the slots before it; 1 where it was not drawn.
    propensity: tuple[float, ...]
    closed: tuple[str, ...]  # d: why it was not open to exploration; "" where it was
    kind: str = "single"
    mode: str = "on"  # off | shadow | apprentice | on: estimates may use rows of "on" only
    slots: Int64 = 1
    proposed: tuple[Int64, ...] = ()  # d x slots: what was drawn; empty: it is what was served
    p_proposed: tuple[float, ...] = ()  # as ``propensity``, of what was drawn; empty likewise
    log_p: tuple[float, ...] = ()  # d: of the whole slate that was drawn
    p_greedy: tuple[float, ...] = ()  # d: probability of the whole greedy slate
    expected_regret: tuple[float, ...] = ()  # d: score given up in expectation
    components: tuple[str, ...] = ()  # d: which part of the policy drew it
    # Probability to be in the first slot: d x n if those are 256 at most, else the largest of the
    # first decision; with their candidates if they are not all.
    p_first: tuple[float, ...] = ()
    p_first_of: tuple[Int64, ...] = ()
    # What a replay needs.
    settings: str = ""  # `explore` of the manifest, JSON
    config: str = ""  # its digest, part of every key
    algorithm: str = ""
    salt: str = ""  # which one, not itself
    # d: keyed hash of the sticky unit, or of the client's id and "/" the decision; "": the
    # prediction itself is what the draw hangs on.
    units: tuple[str, ...] = ()
    epoch: Int64 = 0  # of sticky units
    candidates: Int64 = 0  # n
    ids: bytes = b""  # d x n: int64, little-endian, or elements after their lengths; empty: columns
    ids_are_text: bool = False
    scores: bytes = b""  # d x n: float32 or float64, little-endian, as the model gave them
    eligible: bytes = b""  # d x n, one byte each; empty: all
    extra: bytes = b""  # d x n float64: pool quota, or the model's own distribution; cost: d

    @property
    def changed(self) -> bool:
        """Whether anybody was served something else than the model's own choice by chance."""
        return self.mode == "on" and self.greedy != self.served

    @property
    def explored(self) -> int:
        """Decisions in which something else than the model's own choice was drawn and served."""
        if not self.changed:
            return 0
        slots = max(self.slots, 1)
        return sum(
            self.greedy[at : at + slots] != self.served[at : at + slots]
            for at in range(0, len(self.greedy), slots)
        )


class Stages(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When each stage ended, in ns after arrival on the monotonic clock; 0 where it never ran."""

    decoded_ns: Int64 = 0
    dequeued_ns: Int64 = 0  # the micro-batch began
    guarded_ns: Int64 = 0  # schema and outlier guards
    inferred_ns: Int64 = 0  # model and output guard
    explored_ns: Int64 = 0
    finished_ns: Int64 = 0


class Decision(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was decided for one request, and by whom."""

    schema: Int64
    prediction_id: Hex32  # also given to the client
    request_id: str
    trace_id: Hex32
    span_id: Hex16  # the SERVER span's
    parent_id: Hex16OrNone  # "" for a root
    parent_sampled: bool
    tracestate: str
    model: Name
    version: str  # that answered; for an error, the live one
    digest: str  # of that version's bundle
    revision: Int64  # of the routing table
    arrived_ns: Int64  # wall clock, Unix
    stages: Stages
    budget_ns: Int64  # from arrival to deadline
    rows: Int64
    batch_rows: Int64  # of the micro-batch it rode in; 0 if it rode in none
    status: Int64  # HTTP
    code: str  # error code, "" for an answer
    served_by: str  # model | canary | fallback:version | fallback:constant | "" for an error
    fallback_reason: str  # deadline | model_error | outlier | output | schema | ...; "" otherwise
    flagged: Int64  # rows
    rejected: Int64  # rows
    p_values: tuple[
        float, ...
    ]  # outlier guard, first JUDGED_ROWS_MAX rows; empty if it did not run
    # JSON: {"row": [{guard, feature, kind, observed, expected, p}]}, strange rows only; "" if none
    reasons: str
    predicted: tuple[float, ...]  # class index or value per row, first JUDGED_ROWS_MAX rows
    exploration: Exploration | None
    capture_share: float  # probability with which the payload was kept
    payload: Payload | None
    skipped_guards: tuple[str, ...] = ()  # left out because the time was too short for them
    cache_age_ns: Int64 = 0  # of the answer that `fallback:cache` repeated
    failed_guards: tuple[str, ...] = ()  # that raised, whatever their settings made of it
    abstained: Int64 = 0  # rows of which the model was not sure enough

    @property
    def finished_unix_ns(self) -> int:
        """When the answer left, on the wall clock."""
        return self.arrived_ns + self.stages.finished_ns

    @property
    def day(self) -> str:
        """The UTC day of arrival, ``2026-11-23``; the evidence is partitioned by it."""
        return _day(self.arrived_ns // _DAY_NS)

    @property
    def evidence_ref(self) -> str:
        """Where its evidence row is: a logical key, because compaction moves rows between files."""
        return f"{self.day}/{self.prediction_id}"


@lru_cache(maxsize=16)
def _day(days: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(days * 86_400))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Decision)


def encode(decision: Decision) -> bytes:
    """Encode as msgpack; about 1 us."""
    return _encoder.encode(decision)


def decode(body: bytes) -> Decision:
    """Decode what `encode` wrote.

    Raises:
        msgspec.DecodeError: the bytes are not a decision record.
    """
    try:
        return _decoder.decode(body)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("a text is not UTF-8") from error
