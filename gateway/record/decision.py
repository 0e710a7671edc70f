"""The decision record: the one compact row a request leaves.

Built in the replica once per request, after the answer; everything else
(spans, metrics, evidence, reports) is derived from it by the recorder.
"""

import msgspec

SCHEMA = 1
JUDGED_ROWS_MAX = 1024  # rows of one request whose prediction and p-value are kept


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
    """How the served choices were drawn, per row; enough to replay the draw."""

    policy: str
    greedy: tuple[int, ...]
    served: tuple[int, ...]
    propensity: tuple[float, ...]
    closed: tuple[str, ...]  # why a row was not open to exploration; "" where it was


class Stages(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When each stage ended, in ns after arrival on the monotonic clock; 0 where it never ran."""

    decoded_ns: int = 0
    dequeued_ns: int = 0  # the micro-batch began
    guarded_ns: int = 0  # schema and outlier guards
    inferred_ns: int = 0  # model and output guard
    explored_ns: int = 0
    finished_ns: int = 0


class Decision(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was decided for one request, and by whom."""

    schema: int
    prediction_id: str  # 32 hex digits, also given to the client
    request_id: str
    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits, the SERVER span's
    parent_id: str  # 16 hex digits, or "" for a root
    parent_sampled: bool
    tracestate: str
    model: str
    version: str  # that answered; for an error, the live one
    digest: str  # of that version's bundle
    revision: int  # of the routing table
    arrived_ns: int  # wall clock, Unix
    stages: Stages
    budget_ns: int  # from arrival to deadline
    rows: int
    batch_rows: int  # of the micro-batch it rode in; 0 if it rode in none
    status: int  # HTTP
    code: str  # error code, "" for an answer
    served_by: str  # model | canary | fallback:version | fallback:constant | "" for an error
    fallback_reason: str  # deadline | model_error | outlier | output | schema | ...; "" otherwise
    flagged: int  # rows
    rejected: int  # rows
    p_values: tuple[float, ...]  # outlier guard, first JUDGED_ROWS_MAX rows; empty if it did not run
    reasons: str  # JSON: {"row": [{guard, feature, kind, observed, expected, p}]}, strange rows only; "" if none
    predicted: tuple[float, ...]  # class index or value per row, first JUDGED_ROWS_MAX rows
    exploration: Exploration | None
    capture_share: float  # probability with which the payload was kept
    payload: Payload | None


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
    return _decoder.decode(body)
