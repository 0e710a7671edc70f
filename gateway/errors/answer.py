"""The request was well formed, and there is no answer to it all the same."""

from collections.abc import Sequence

from gateway.errors.base import GatewayError


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
