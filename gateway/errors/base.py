"""What every reason for having no answer has: a status, a code, and a body on every surface."""

from typing import ClassVar


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


def error_body(error: GatewayError, request_id: str) -> dict[str, str]:
    """Build the JSON body every error has on every surface."""
    return {"error": str(error), "code": error.code, "request_id": request_id}
