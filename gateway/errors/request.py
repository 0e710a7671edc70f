"""Nobody got to the model: what was asked cannot be asked, or not by this caller."""

from typing import Literal, get_args

from gateway.errors.base import GatewayError

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
