"""What every error of the gateway must satisfy."""

import json
import pickle
from collections.abc import Iterator

import pytest

from gateway import errors
from gateway.errors import GatewayError, error_body

EXAMPLES: tuple[GatewayError, ...] = (
    errors.InternalError(),
    errors.BadRequestError("inputs must be exactly: image"),
    errors.UnauthenticatedError(),
    errors.ForbiddenError("this Host is not in server.allowed_hosts"),
    errors.NotFoundError(),
    errors.UnknownModelError("digits"),
    errors.UnknownModelError("digits", "7"),
    errors.MethodNotAllowedError("POST"),
    errors.RequestTimeoutError(30.0),
    errors.ConflictError("versions never change"),
    errors.TooLargeError(1024),
    errors.TooLargeError(1024, "JSON part"),
    errors.MediaTypeError("application/x-tar"),
    errors.RejectedError("schema", tuple(range(12)), ("missing", "range")),
    errors.NothingToServeError(),
    errors.BundleRefusedError("not signed by a trusted key"),
    errors.QuarantinedError("digits"),
    errors.ClientGoneError(),
    errors.UnsupportedError("system shared memory"),
    errors.ShedError("digits", 2),
    errors.BreakerOpenError("digits", 2),
    errors.SuspectError("digits", 5),
    errors.NotReadyError("these models do not answer: digits"),
    errors.DeadlineError("digits", ("model", "version:2")),
    errors.UnansweredError("digits", "output", ("model",)),
)

STATUS_AND_GRPC = {
    "internal": (500, "INTERNAL"),
    "bad_request": (400, "INVALID_ARGUMENT"),
    "unauthenticated": (401, "UNAUTHENTICATED"),
    "forbidden": (403, "PERMISSION_DENIED"),
    "not_found": (404, "NOT_FOUND"),
    "unknown_model": (404, "NOT_FOUND"),
    "method_not_allowed": (405, "UNIMPLEMENTED"),
    "request_timeout": (408, "DEADLINE_EXCEEDED"),
    "conflict": (409, "FAILED_PRECONDITION"),
    "too_large": (413, "RESOURCE_EXHAUSTED"),
    "unsupported_media_type": (415, "INVALID_ARGUMENT"),
    "rejected_by_guard": (422, "INVALID_ARGUMENT"),
    "nothing_to_serve": (422, "INVALID_ARGUMENT"),
    "bundle_refused": (422, "FAILED_PRECONDITION"),
    "request_quarantined": (422, "INVALID_ARGUMENT"),
    "cancelled": (499, "CANCELLED"),
    "unsupported": (501, "UNIMPLEMENTED"),
    "breaker_open": (503, "UNAVAILABLE"),
    "crash_suspect": (503, "UNAVAILABLE"),
    "shed": (503, "RESOURCE_EXHAUSTED"),
    "not_ready": (503, "UNAVAILABLE"),
    "deadline_exceeded": (504, "DEADLINE_EXCEEDED"),
    "unanswered": (500, "INTERNAL"),
}

every_error = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


def subclasses(of: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from subclasses(kind)


def test_every_error_is_an_example_here() -> None:
    here = {
        kind for kind in subclasses(GatewayError) if kind.__module__.startswith("gateway.errors")
    }
    assert here == {type(example) for example in EXAMPLES}


@every_error
def test_error_survives_the_trip_between_processes(error: GatewayError) -> None:
    twin = pickle.loads(pickle.dumps(error))

    assert type(twin) is type(error)
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)


@every_error
def test_error_has_its_place_in_the_table(error: GatewayError) -> None:
    assert (error.status, error.grpc_status) == STATUS_AND_GRPC[error.code]


def test_the_table_has_nothing_else() -> None:
    assert {error.code for error in EXAMPLES} == set(STATUS_AND_GRPC)


@every_error
def test_error_body_is_a_sentence_a_code_and_the_request(error: GatewayError) -> None:
    body = json.loads(json.dumps(error_body(error, "r-1")))

    assert body == {"error": str(error), "code": error.code, "request_id": "r-1"}
    assert body["error"]
    assert "\n" not in body["error"]


def test_a_rejection_names_rows_and_kinds_but_not_all_of_a_large_batch() -> None:
    sentence = str(errors.RejectedError("schema", tuple(range(12)), ("missing",)))
    assert sentence == "guard schema rejected row 0, 1, 2, 3, 4, 5, 6, 7 and 4 more: missing"
