"""Step 2 of a request: its deadline is fixed, and its body becomes arrays."""

from collections.abc import Callable

from gateway.serving.codec import decode_inputs
from gateway.serving.deadline import NS_PER_MS, budget_ns
from gateway.serving.fingerprint import Fingerprints
from gateway.serving.item import Item
from gateway.serving.progress import Progress, Request
from gateway.serving.requested import asked_of_choice, check_counts, check_outputs
from gateway.serving.versions import LoadedVersion


def decode(
    request: Request,
    version: LoadedVersion,
    progress: Progress,
    *,
    fingerprints: Fingerprints,
    now_ns: Callable[[], int],
) -> tuple[Item, int]:
    """Fix the deadline and turn the body into arrays; ``progress`` is filled in.

    Returns:
        The rows, and the deadline in monotonic nanoseconds.

    Raises:
        GatewayError: the body is not what the version takes.
    """
    cap_ns = model_budget_ns(version)
    progress.budget_ns = cap_ns
    envelope = progress.envelope = request.parse(version.manifest.signature)
    budget = budget_ns(envelope.parameters.get("timeout", 0), request.timeout_ms, cap_ns=cap_ns)
    progress.budget_ns = budget
    check_outputs(envelope, version)
    inputs, rows = decode_inputs(envelope, version.manifest.signature)
    check_counts(envelope, version, rows)
    fingerprint = fingerprints.of(inputs)
    asked = asked_of_choice(envelope, version, fingerprint)
    item = Item(request.prediction_id, inputs, rows, fingerprint, asked=asked)
    progress.item = item
    progress.decoded_ns = now_ns()
    return item, request.arrived_ns + budget


def model_budget_ns(version: LoadedVersion) -> int:
    """Give the budget of a request that asks for no other, in nanoseconds."""
    return int(version.manifest.expectations.latency_ms * NS_PER_MS)
