"""Why a request has no answer, and the one table from error to status.  START: `base`.

A sentence says what was wanted, what came and where; it never holds the
user's data, a path of the server or a stack trace.  Every field goes to
``super().__init__`` so that an error survives the trip between processes.
"""

from gateway.errors.answer import (
    BreakerOpenError,
    ClientGoneError,
    DeadlineError,
    NothingToServeError,
    NotReadyError,
    QuarantinedError,
    RejectedError,
    ShedError,
    SuspectError,
    UnansweredError,
)
from gateway.errors.base import (
    GatewayError,
    InternalError,
    error_body,
)
from gateway.errors.request import (
    BAD_REQUEST_CODES,
    BadRequestCode,
    BadRequestError,
    BundleRefusedError,
    ConflictError,
    ForbiddenError,
    MediaTypeError,
    MethodNotAllowedError,
    NotFoundError,
    RequestTimeoutError,
    TooLargeError,
    UnauthenticatedError,
    UnknownModelError,
    UnsupportedError,
)

__all__ = [
    "BAD_REQUEST_CODES",
    "BadRequestCode",
    "BadRequestError",
    "BreakerOpenError",
    "BundleRefusedError",
    "ClientGoneError",
    "ConflictError",
    "DeadlineError",
    "ForbiddenError",
    "GatewayError",
    "InternalError",
    "MediaTypeError",
    "MethodNotAllowedError",
    "NotFoundError",
    "NotReadyError",
    "NothingToServeError",
    "QuarantinedError",
    "RejectedError",
    "RequestTimeoutError",
    "ShedError",
    "SuspectError",
    "TooLargeError",
    "UnansweredError",
    "UnauthenticatedError",
    "UnknownModelError",
    "UnsupportedError",
    "error_body",
]
