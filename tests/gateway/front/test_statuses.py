"""Every reason of the gateway has its gRPC status, its code and when to come back."""

import json

import grpc
import pytest

from gateway.errors import BAD_REQUEST_CODES, GatewayError, ShedError, error_body
from gateway.front.statuses import failure_in, failure_of
from gateway.front.upstream import Reply
from tests.contracts.test_errors import EXAMPLES

GATEWAY = [error for error in EXAMPLES if isinstance(error, GatewayError)]


def reply_of(error: GatewayError) -> Reply:
    retry_after_s = getattr(error, "retry_after_s", None)
    headers = {} if retry_after_s is None else {b"retry-after": b"%d" % retry_after_s}
    return Reply(error.status, headers, json.dumps(error_body(error, "r-1")).encode())


@pytest.mark.parametrize("error", GATEWAY, ids=lambda error: type(error).__name__)
def test_a_reason_ends_a_call_as_its_class_says(error: GatewayError) -> None:
    failure = failure_in(reply_of(error), "r-1")

    assert failure == failure_of(error, "r-1")
    assert failure.status is grpc.StatusCode[type(error).grpc_status]
    assert failure.sentence == str(error)
    assert ("handrail-code", error.code) in failure.metadata()


@pytest.mark.parametrize("code", sorted(BAD_REQUEST_CODES))
def test_every_code_of_a_bad_request_is_an_invalid_argument(code: str) -> None:
    body = json.dumps({"error": "no", "code": code, "request_id": ""}).encode()

    assert failure_in(Reply(400, {}, body), "").status is grpc.StatusCode.INVALID_ARGUMENT


def test_retry_after_is_told_as_such_and_as_grpcs_push_back() -> None:
    failure = failure_in(reply_of(ShedError("m", 3)), "r-1")

    assert dict(failure.metadata()) == {
        "handrail-code": "shed",
        "x-request-id": "r-1",
        "retry-after": "3",
        "grpc-retry-pushback-ms": "3000",
    }


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": "x"}', b"\xff"])
def test_a_proxys_own_error_says_that_it_may_be_tried_again(body: bytes) -> None:
    assert failure_in(Reply(503, {}, body), "").status is grpc.StatusCode.UNAVAILABLE
