"""Ids of a request: its prediction, its trace and its spans.

All of them follow from the request itself, so that a request which HAProxy repeats on
another replica (RFC 9110 section 9.2.2 leaves that to idempotent requests) is the same
prediction and the same span, and a record that is replayed twice draws one trace.
"""

import re
from hashlib import blake2b
from typing import NamedTuple

_HASHED_BYTES = 64 * 1024  # of a larger body only the length and the two ends are hashed
_HEADER_MAX = 512  # W3C Trace Context section 3.3.1.5 for tracestate; the SDK's limit for both
_TRACEPARENT = re.compile(
    rb"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*|[ \t]*)"
)
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16
_SAMPLED = 0x01


class TraceParent(NamedTuple):
    """The caller's position in its trace."""

    trace_id: str
    parent_id: str
    sampled: bool


class TraceContext(NamedTuple):
    """The trace fields of a decision record."""

    trace_id: str
    span_id: str
    parent_id: str  # "" for a root
    parent_sampled: bool
    tracestate: str


def parse_traceparent(value: bytes | str) -> TraceParent | None:
    """Read an inbound ``traceparent`` strictly; None where a new trace must begin.

    Of a version newer than 00 the first four fields are read.

    Source:
        W3C Trace Context, sections 3.2.2 and 4.3.
    """
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    if len(value) > _HEADER_MAX or (match := _TRACEPARENT.fullmatch(value)) is None:
        return None
    version, trace_id, parent_id, flags, rest = match.groups()
    if version == b"ff" or (version == b"00" and rest.startswith(b"-")):
        return None
    if trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return None
    return TraceParent(trace_id.decode(), parent_id.decode(), bool(int(flags, 16) & _SAMPLED))


def prediction_id(model: str, request_id: str, body: bytes) -> str:
    """Derive the 32 hex digits that name the prediction; equal requests get equal ids."""
    key = request_id.encode("utf-8", "surrogatepass")
    head = f"{model}\0{len(key)}\0{len(body)}\0".encode()  # with lengths, no two requests collide
    digest = blake2b(head + key, digest_size=16)
    if len(body) > _HASHED_BYTES:
        view = memoryview(body)
        digest.update(view[: _HASHED_BYTES // 2])
        digest.update(view[-_HASHED_BYTES // 2 :])
    else:
        digest.update(body)
    return digest.hexdigest()


def new_trace(
    prediction_id: str, traceparent: bytes | str = b"", *, tracestate: bytes | str = b""
) -> TraceContext:
    """Continue the caller's trace, or begin one that follows from the prediction id.

    An unusable ``traceparent`` takes its ``tracestate`` with it.
    """
    digest = blake2b(prediction_id.encode(), digest_size=24, person=b"trace").hexdigest()
    span_id = digest[32:]
    parent = parse_traceparent(traceparent) if traceparent else None
    if parent is None:
        return TraceContext(digest[:32], span_id, "", False, "")
    state = tracestate.decode("latin-1") if isinstance(tracestate, bytes) else tracestate
    kept = state if len(state) <= _HEADER_MAX else ""
    return TraceContext(parent.trace_id, span_id, parent.parent_id, parent.sampled, kept)


def child_span_id(span_id: str, name: str) -> str:
    """Derive the id of the child span ``name``."""
    return blake2b(name.encode(), digest_size=8, key=span_id.encode()).hexdigest()
