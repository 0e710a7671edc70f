"""Ids follow from the request, and traceparent is read as the SDK's propagator reads it."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.record.ids import (
    TraceParent,
    child_span_id,
    new_trace,
    parse_traceparent,
    prediction_id,
)

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01"
KIB = 1024

ids = st.text("0123456789abcdef", min_size=32, max_size=32)
headers = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80),
    st.from_regex(
        r"\A[ \t]{0,2}[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?[ \t]{0,2}\Z"
    ),
    st.from_regex(
        r"\A[0-9a-fA-FgG]{2}-0{0,32}[0-9a-f]{0,32}-0{0,16}[0-9a-f]{0,16}-[0-9a-f]{1,3}\Z"
    ),
)


def propagator_reads(header: str) -> TraceParent | None:
    context = TraceContextTextMapPropagator().extract({"traceparent": header})
    caller = get_current_span(context).get_span_context()
    if not caller.is_valid:
        return None
    return TraceParent(
        f"{caller.trace_id:032x}", f"{caller.span_id:016x}", caller.trace_flags.sampled
    )


@given(header=headers)
@example(VALID)
@example(f"ff-{TRACE}-{PARENT}-01")
@example(f"00-{TRACE}-{PARENT}-01-more")
@example(f"00-{TRACE}-{PARENT}-01-")
@example(f"cc-{TRACE}-{PARENT}-01-more")
@example(f"cc-{TRACE}-{PARENT}-01 more")
@example(f"00-{'0' * 32}-{PARENT}-01")
@example(f"00-{TRACE}-{'0' * 16}-01")
@example(VALID.upper())
@example(f" {VALID}\t")
@example(f"cc-{TRACE}-{PARENT}-01-{'x' * 600}")
def test_traceparent_is_read_as_the_sdk_reads_it(header: str) -> None:
    expected = propagator_reads(header)

    assert parse_traceparent(header) == expected
    assert parse_traceparent(header.encode()) == expected


def test_a_traceparent_that_is_not_ascii_begins_a_new_trace() -> None:
    assert parse_traceparent(VALID.replace("a", "à")) is None
    assert parse_traceparent(VALID.encode() + b"\xff") is None


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True)]
)
def test_only_the_lowest_flag_means_sampled(flags: str, sampled: bool) -> None:
    assert parse_traceparent(f"00-{TRACE}-{PARENT}-{flags}") == TraceParent(TRACE, PARENT, sampled)


@given(
    model=st.text("abc-.", max_size=5), request_id=st.text(max_size=20), body=st.binary(max_size=99)
)
def test_a_repeated_request_is_the_same_prediction(
    model: str, request_id: str, body: bytes
) -> None:
    first = prediction_id(model, request_id, body)

    assert re.fullmatch("[0-9a-f]{32}", first)
    assert prediction_id(model, request_id, body) == first


def test_text_that_moves_between_the_parts_makes_another_prediction() -> None:
    cuts = [("ab", "cd", b"ef"), ("abc", "d", b"ef"), ("ab", "cde", b"f"), ("ab", "", b"cdef")]

    assert len({prediction_id(*cut) for cut in cuts}) == len(cuts)


def test_a_lone_surrogate_in_a_request_id_is_no_error() -> None:
    assert len(prediction_id("m", "\ud800", b"")) == 32


def test_of_a_large_body_length_and_ends_are_hashed() -> None:
    body = bytes(200 * KIB)
    middle, end = bytearray(body), bytearray(body)
    middle[100 * KIB] = 1
    end[-1] = 1

    assert prediction_id("m", "r", bytes(middle)) == prediction_id("m", "r", body)
    assert prediction_id("m", "r", bytes(end)) != prediction_id("m", "r", body)
    assert prediction_id("m", "r", body + b"\0") != prediction_id("m", "r", body)


def test_a_body_of_64_kib_is_hashed_whole() -> None:
    body = bytearray(64 * KIB)
    body[32 * KIB] = 1

    assert prediction_id("m", "r", bytes(body)) != prediction_id("m", "r", bytes(64 * KIB))


@given(prediction=ids)
def test_without_a_caller_the_trace_follows_from_the_prediction(prediction: str) -> None:
    trace = new_trace(prediction, b"garbage", tracestate=b"vendor=1")

    assert re.fullmatch("[0-9a-f]{32}", trace.trace_id)
    assert re.fullmatch("[0-9a-f]{16}", trace.span_id)
    assert trace.trace_id != prediction  # capture and trace draw from different bits
    assert trace == new_trace(prediction)
    assert (trace.parent_id, trace.parent_sampled, trace.tracestate) == ("", False, "")


def test_with_a_caller_the_trace_goes_on() -> None:
    trace = new_trace("0" * 32, VALID.encode(), tracestate=b"vendor=1")

    assert (trace.trace_id, trace.parent_id, trace.parent_sampled) == (TRACE, PARENT, True)
    assert trace.tracestate == "vendor=1"
    assert trace.span_id == new_trace("0" * 32).span_id


def test_an_oversized_tracestate_is_dropped_and_the_trace_kept() -> None:
    trace = new_trace("0" * 32, VALID, tracestate="v=" + "1" * 600)

    assert (trace.trace_id, trace.tracestate) == (TRACE, "")


def test_child_spans_have_ids_of_their_own() -> None:
    children = {child_span_id(PARENT, name) for name in ("queue", "guards", "infer", "explore")}

    assert len(children | {PARENT}) == 5
    assert all(re.fullmatch("[0-9a-f]{16}", child) for child in children)
