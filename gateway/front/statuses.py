"""How a call ends without an answer: the status that `gateway.errors` gives to each reason."""

import json
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc

from gateway.errors import (
    BAD_REQUEST_CODES,
    BadRequestError,
    BreakerOpenError,
    GatewayError,
    ShedError,
    SuspectError,
)
from gateway.front.upstream import Reply

MS_PER_S = 1000
HTTP_SERVER_ERROR = 500
DETAILS_MAX = 1024  # characters; clients refuse headers over 8 KiB


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason, in gRPC's words."""

    status: grpc.StatusCode
    sentence: str
    code: str
    request_id: str
    retry_after_s: str = ""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Give the trailing metadata: what a body and headers would say over HTTP."""
        told = [("handrail-code", self.code), ("x-request-id", self.request_id)]
        if self.retry_after_s.isdigit():
            pushback_ms = int(self.retry_after_s) * MS_PER_S
            told.append(("retry-after", self.retry_after_s))
            # https://github.com/grpc/proposal/blob/master/A6-client-retries.md
            told.append(("grpc-retry-pushback-ms", str(pushback_ms)))
        return tuple(pair for pair in told if pair[1])


def failure_of(error: GatewayError, request_id: str) -> Failure:
    """Say what a reason found in this process is."""
    status = grpc.StatusCode[error.grpc_status]
    retry_after_s = ""
    if isinstance(error, ShedError | BreakerOpenError | SuspectError):
        retry_after_s = str(error.retry_after_s)
    return Failure(status, str(error), error.code, request_id, retry_after_s)


def failure_in(reply: Reply, request_id: str) -> Failure:
    """Read the reason in a reply of the data plane.

    What is not in the error contract comes from a proxy in between, which nobody stands behind.
    """
    try:
        told = json.loads(reply.body)
        sentence, code = str(told["error"]), str(told["code"])
    except (ValueError, TypeError, KeyError):
        sentence = f"the data plane answered with HTTP status {reply.status}"
        return Failure(grpc.StatusCode.UNAVAILABLE, sentence, "not_ready", request_id)
    unknown = BadRequestError if reply.status < HTTP_SERVER_ERROR else GatewayError
    name = _BY_CODE.get(code, unknown.grpc_status)
    retry_after_s = reply.headers.get(b"retry-after", b"").decode("latin-1")
    return Failure(grpc.StatusCode[name], sentence, code, request_id, retry_after_s)


async def abort(context: Any, failure: Failure) -> NoReturn:
    """End the call."""
    details = failure.sentence[:DETAILS_MAX]
    await context.abort(failure.status, details, failure.metadata())
    raise AssertionError("abort always raises")


def _by_code(base: type[GatewayError] = GatewayError) -> dict[str, str]:
    """Derive the status of every code from the classes; the codes of bad requests share one."""
    codes = BAD_REQUEST_CODES if base is BadRequestError else (base.code,)
    table = dict.fromkeys(codes, base.grpc_status)
    for reason in base.__subclasses__():
        table |= _by_code(reason)
    return table


_BY_CODE = _by_code()
