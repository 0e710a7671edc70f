"""Why a request has no answer, and the one table from error to status.

A sentence says what was wanted, what came and where; it never holds the
user's data, a path of the server or a stack trace.  Every field goes to
``super().__init__`` so that an error survives the trip between processes.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

# What exactly is wrong with a request; a client may branch on it, so the list is closed.
BadRequestCode = Literal[
    "bad_request",
    # the body
    "malformed_json", "malformed_request", "too_deep", "duplicate_key", "bad_header_length",
    "bad_content_encoding", "bad_content_length", "too_many_chunks",
    # its parameters
    "bad_parameter", "bad_timeout",
    # its tensors
    "duplicate_name", "unknown_input", "missing_input", "unknown_output", "wrong_datatype",
    "wrong_shape", "wrong_size", "wrong_data", "not_finite", "not_text",
]  # fmt: skip
BAD_REQUEST_CODES = frozenset(get_args(BadRequestCode))


class GatewayError(Exception):
    """Base of every reason for having no answer."""

    status: ClassVar[int] = 500
    code: str = "internal"
    grpc_status: ClassVar[str] = "INTERNAL"


class InternalError(GatewayError):
    """A fault of ours that nobody foresaw; the log has it under the request id."""

    def __str__(self) -> str:
        """Say no more than that."""
        return "internal error"


class BadRequestError(GatewayError):
    """The request breaks the protocol or the model's signature."""

    status = 400
    grpc_status = "INVALID_ARGUMENT"

    def __init__(self, problem: str, code: BadRequestCode = "bad_request") -> None:
        super().__init__(problem, code)
        self.problem = problem
        self.code = code

    def __str__(self) -> str:
        """Say what was wanted, and what came."""
        return self.problem


class UnauthenticatedError(GatewayError):
    """No key, or a key nobody knows."""

    status = 401
    code = "unauthenticated"
    grpc_status = "UNAUTHENTICATED"

    def __str__(self) -> str:
        """Say how to send a key."""
        return "a valid key is needed: send it as 'Authorization: Bearer KEY'"


class ForbiddenError(GatewayError):
    """The caller may not do this."""

    status = 403
    code = "forbidden"
    grpc_status = "PERMISSION_DENIED"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        """Say what is not allowed."""
        return self.problem


class NotFoundError(GatewayError):
    """No such path."""

    status = 404
    code = "not_found"
    grpc_status = "NOT_FOUND"

    def __str__(self) -> str:
        """Say so."""
        return "no such path"


class UnknownModelError(GatewayError):
    """No such model, or no such version of it here."""

    status = 404
    code = "unknown_model"
    grpc_status = "NOT_FOUND"

    def __init__(self, model: str, version: str | None = None) -> None:
        super().__init__(model, version)
        self.model = model
        self.version = version

    def __str__(self) -> str:
        """Name the model, and the version if one was asked for."""
        if self.version is None:
            return f"unknown model {self.model!r}"
        return f"model {self.model!r} has no version {self.version!r} that answers here"


class MethodNotAllowedError(GatewayError):
    """The path exists, but not for this method."""

    status = 405
    code = "method_not_allowed"
    grpc_status = "UNIMPLEMENTED"

    def __init__(self, allowed: str) -> None:
        super().__init__(allowed)
        self.allowed = allowed

    def __str__(self) -> str:
        """Name the method that works."""
        return f"method not allowed here; use {self.allowed}"


class RequestTimeoutError(GatewayError):
    """The body did not come in time."""

    status = 408
    code = "request_timeout"
    grpc_status = "DEADLINE_EXCEEDED"

    def __init__(self, limit_s: float) -> None:
        super().__init__(limit_s)
        self.limit_s = limit_s

    def __str__(self) -> str:
        """Name the limit."""
        return f"the body did not come within {self.limit_s:g} s"


class ConflictError(GatewayError):
    """The change contradicts what is already registered."""

    status = 409
    code = "conflict"
    grpc_status = "FAILED_PRECONDITION"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        """Say what it contradicts."""
        return self.problem


class TooLargeError(GatewayError):
    """The body, or a part of it that takes long to read, is over its limit."""

    status = 413
    code = "too_large"
    grpc_status = "RESOURCE_EXHAUSTED"

    def __init__(self, limit_bytes: int, part: str = "body") -> None:
        super().__init__(limit_bytes, part)
        self.limit_bytes = limit_bytes
        self.part = part

    def __str__(self) -> str:
        """Name the limit, and what it is a limit of."""
        return f"the {self.part} is larger than {self.limit_bytes} bytes"


class MediaTypeError(GatewayError):
    """The body is of a type that is not read here."""

    status = 415
    code = "unsupported_media_type"
    grpc_status = "INVALID_ARGUMENT"

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted

    def __str__(self) -> str:
        """Name the type that is read."""
        return f"the body must be {self.wanted}"


class RejectedError(GatewayError):
    """A guard rejected rows of this request."""

    status = 422
    code = "rejected_by_guard"
    grpc_status = "INVALID_ARGUMENT"

    def __init__(self, guard: str, rows: Sequence[int], kinds: Sequence[str]) -> None:
        super().__init__(guard, rows, kinds)
        self.guard = guard
        self.rows = rows
        self.kinds = kinds

    def __str__(self) -> str:
        """Name the guard, the first rows and the kinds of violation, never the values."""
        shown = ", ".join(str(row) for row in self.rows[:8])
        more = "" if len(self.rows) <= 8 else f" and {len(self.rows) - 8} more"
        return f"guard {self.guard} rejected row {shown}{more}: {', '.join(self.kinds)}"


class NothingToServeError(GatewayError):
    """Of the candidates of a decision, none may be served."""

    status = 422
    code = "nothing_to_serve"
    grpc_status = "INVALID_ARGUMENT"

    def __str__(self) -> str:
        """Say so."""
        return "a list of candidates holds none that may be served"


class BundleRefusedError(GatewayError):
    """The bundle failed its checks; nothing of it was loaded."""

    status = 422
    code = "bundle_refused"
    grpc_status = "FAILED_PRECONDITION"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        """Say what is wrong with the bundle."""
        return self.problem


class QuarantinedError(GatewayError):
    """A replica died twice while it worked on exactly these inputs."""

    status = 422
    code = "request_quarantined"
    grpc_status = "INVALID_ARGUMENT"

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        """Say why nobody tries again."""
        return f"these inputs ended a replica of model {self.model!r} twice; they are quarantined"


class ClientGoneError(GatewayError):
    """The client closed the connection before it had its answer; nobody reads this."""

    status = 499  # nginx's convention; it reaches records and metrics only
    code = "cancelled"
    grpc_status = "CANCELLED"

    def __str__(self) -> str:
        """Say so."""
        return "the client closed the connection"


class UnsupportedError(GatewayError):
    """The protocol has this, and Handrail does not serve it."""

    status = 501
    code = "unsupported"
    grpc_status = "UNIMPLEMENTED"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        """Name it."""
        return f"{self.what} is not supported"


class ShedError(GatewayError):
    """Refused before any work, because the answer would come too late."""

    status = 503
    code = "shed"
    grpc_status = "RESOURCE_EXHAUSTED"

    def __init__(self, model: str, retry_after_s: int) -> None:
        super().__init__(model, retry_after_s)
        self.model = model
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """Say when to come back."""
        return f"model {self.model!r} is overloaded; retry after {self.retry_after_s} s"


class BreakerOpenError(GatewayError):
    """The model failed or was slow so often that it is left alone for a while."""

    status = 503
    code = "breaker_open"
    grpc_status = "UNAVAILABLE"

    def __init__(self, model: str, retry_after_s: int) -> None:
        super().__init__(model, retry_after_s)
        self.model = model
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """Say when to come back."""
        return f"model {self.model!r} is failing; retry after {self.retry_after_s} s"


class SuspectError(GatewayError):
    """A replica died while it worked on these inputs, and no other one is left to try them."""

    status = 503
    code = "crash_suspect"
    grpc_status = "UNAVAILABLE"

    def __init__(self, model: str, retry_after_s: int) -> None:
        super().__init__(model, retry_after_s)
        self.model = model
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """Say what is waited for."""
        return (
            f"a replica of model {self.model!r} died while it worked on these inputs; they wait "
            f"for a second one; retry after {self.retry_after_s} s"
        )


class NotReadyError(GatewayError):
    """Something that must answer does not answer yet."""

    status = 503
    code = "not_ready"
    grpc_status = "UNAVAILABLE"

    def __init__(self, waiting_for: str) -> None:
        super().__init__(waiting_for)
        self.waiting_for = waiting_for

    def __str__(self) -> str:
        """Say what is missing."""
        return f"not ready: {self.waiting_for}"


class DeadlineError(GatewayError):
    """The time was up and no rung of the ladder fitted."""

    status = 504
    code = "deadline_exceeded"
    grpc_status = "DEADLINE_EXCEEDED"

    def __init__(self, model: str, tried: Sequence[str]) -> None:
        super().__init__(model, tried)
        self.model = model
        self.tried = tried

    def __str__(self) -> str:
        """Say what was tried."""
        return f"model {self.model!r} missed the deadline; tried: {', '.join(self.tried)}"


class UnansweredError(GatewayError):
    """The model failed, or its answer was refused, and no rung of the ladder was left."""

    status = 500
    code = "unanswered"
    grpc_status = "INTERNAL"

    def __init__(self, model: str, reason: str, tried: Sequence[str]) -> None:
        super().__init__(model, reason, tried)
        self.model = model
        self.reason = reason
        self.tried = tried

    def __str__(self) -> str:
        """Say why the model's own answer could not be used, and what else was tried."""
        tried = ", ".join(self.tried)
        return f"model {self.model!r} gave no usable answer ({self.reason}); tried: {tried}"


def error_body(error: GatewayError, request_id: str) -> dict[str, str]:
    """Build the JSON body every error has on every surface."""
    return {"error": str(error), "code": error.code, "request_id": request_id}
