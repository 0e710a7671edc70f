"""What a span tells the evaluator: which prediction there is to judge, and nothing else.

Pure: no sockets here.  The same span may come twice, because exporters repeat what was not
acknowledged; a bounded memory lets it through once.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

REFERENCE = "handrail.evidence.ref"
MODEL = "handrail.model.name"
REMEMBERED_SPANS = 100_000  # about 15 MB; minutes of traffic, and exporters give up within one

_REFERENCE = re.compile(r"\d{4}-\d{2}-\d{2}/([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Notification:
    """One request was answered, and its evidence lies under this prediction id."""

    trace_id: str
    span_id: str
    prediction_id: str
    model: str
    arrived_ns: int  # Unix; the evidence was committed after this


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one export request."""

    spans: int
    notifications: int  # new ones
    malformed: int  # references that cannot be followed


Take = Callable[[Sequence[Notification]], bool]  # False: there is no room, and nothing was taken


class OverloadedError(Exception):
    """There is no room for more notifications now; the sender should come again."""


class Inbox:
    """Picks the notifications out of export requests and hands each on once."""

    def __init__(self, take: Take, *, remembered: int = REMEMBERED_SPANS) -> None:
        self._take = take
        self._remembered = remembered
        self._seen: dict[tuple[bytes, bytes], None] = {}  # in order of arrival
        self.spans_received = 0

    def deliver(self, request: ExportTraceServiceRequest) -> Delivery:
        """Hand on what is new in a request.

        Raises:
            OverloadedError: nothing was taken.
        """
        spans = malformed = 0
        fresh: dict[tuple[bytes, bytes], Notification] = {}
        for span in _spans(request):
            spans += 1
            attributes = _read(span)
            if REFERENCE not in attributes:
                continue  # a span of somebody else, or of a stage
            key = (span.trace_id, span.span_id)
            notification = _notification(span, attributes)
            if notification is None:
                malformed += 1
            elif key not in self._seen:
                fresh[key] = notification
        if fresh and not self._take(list(fresh.values())):
            raise OverloadedError
        self._remember(fresh)
        self.spans_received += spans
        return Delivery(spans, len(fresh), malformed)

    def _remember(self, fresh: dict[tuple[bytes, bytes], Notification]) -> None:
        self._seen.update(dict.fromkeys(fresh))
        while len(self._seen) > self._remembered:
            del self._seen[next(iter(self._seen))]


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def _read(span: Span) -> dict[str, str]:
    """Read the two attributes of a SERVER span; of other spans none."""
    if span.kind != Span.SPAN_KIND_SERVER:
        return {}
    return {
        attribute.key: attribute.value.string_value
        for attribute in span.attributes
        if attribute.key in (REFERENCE, MODEL)
    }


def _notification(span: Span, attributes: dict[str, str]) -> Notification | None:
    """Follow the OTLP rules for ids (16 and 8 bytes); None if anything is out of shape."""
    reference = _REFERENCE.fullmatch(attributes[REFERENCE])
    model = attributes.get(MODEL, "")
    if reference is None or not model or (len(span.trace_id), len(span.span_id)) != (16, 8):
        return None
    return Notification(
        span.trace_id.hex(), span.span_id.hex(), reference[1], model, span.start_time_unix_nano
    )
