"""One point in time per request, fixed on arrival; guards are paid from it too."""

from gateway.errors import BadRequestError

NS_PER_MS = 1_000_000
NS_PER_US = 1_000


def budget_ns(timeout_us: str | float | bool, header_ms: bytes | None, *, cap_ns: int) -> int:
    """Read how long the client is ready to wait.

    Args:
        timeout_us: The request's parameter ``timeout``, as Triton's clients send it; 0 for none.
        header_ms: The ``x-request-timeout-ms`` header, if any.
        cap_ns: The model's own budget; the client can only shorten it.

    Raises:
        BadRequestError: a timeout is not a non-negative number.
    """
    budget = cap_ns
    if type(timeout_us) is not int or timeout_us < 0:
        problem = "parameter timeout must be a non-negative integer (microseconds)"
        raise BadRequestError(problem, code="bad_timeout")
    if timeout_us:
        budget = min(budget, timeout_us * NS_PER_US)
    if header_ms is not None:
        if not header_ms.isdigit() or len(header_ms) > 12 or int(header_ms) == 0:
            problem = "x-request-timeout-ms must be a positive integer"
            raise BadRequestError(problem, code="bad_timeout")
        budget = min(budget, int(header_ms) * NS_PER_MS)
    return budget
