"""The replica's HTTP surface: raw ASGI, one function per kind of request.

Steps 9 and 10 of a request's life are here: answer, then record.
"""

import logging
import random
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from gateway.errors import (
    ClientGoneError,
    GatewayError,
    InternalError,
    MediaTypeError,
    MethodNotAllowedError,
    NotFoundError,
    UnsupportedError,
)
from gateway.oip import MEDIA_TYPE
from gateway.record.ids import prediction_id
from gateway.serving.body import read_body
from gateway.serving.codec import encode_answer
from gateway.serving.deadline import NS_PER_MS, NS_PER_US
from gateway.serving.description import answering, configure_model, describe_model
from gateway.serving.edge import ARRIVED, known_request_id
from gateway.serving.grpc_codec import parse_message, write_message
from gateway.serving.intake import Intake, Space
from gateway.serving.pipeline import Pipeline
from gateway.serving.progress import Answer, Progress, Request
from gateway.serving.protocol import Parameters
from gateway.serving.recording import Arrival, Recording
from gateway.serving.rest import HEADER_LENGTH, parse_envelope
from gateway.serving.sending import send_body, send_error
from gateway.serving.stand_in import StandIn
from gateway.serving.statistics import VersionStats, as_json
from gateway.serving.verdicts import PREDICTION_SET
from gateway.serving.versions import Versions
from models.manifest import VERSION_NAME

log = logging.getLogger(__name__)

BINARY = b"application/octet-stream"
PROTOBUF = MEDIA_TYPE.encode()  # what the gRPC front sends
# Of the protocol's extensions, but nobody answers here.
NOT_SERVED = {
    "generate": "generation",
    "generate_stream": "generation",
    "trace/setting": "changing trace settings",
}
VERBS = frozenset({"infer", "feedback", "ready", "config", "stats", "", *NOT_SERVED})

_VERSION = re.compile(VERSION_NAME)

Feedback = Callable[[bytes, str], Awaitable[dict[str, Any]]]  # body, content type -> receipt
CountsOfAll = Callable[[], Awaitable[list[VersionStats]]]  # of all replicas of the model
Headers = dict[bytes, bytes]


class Ingress:
    """ASGI application of one model: infer, feedback, and what it tells about itself."""

    def __init__(
        self,
        model: str,
        *,
        versions: Versions,
        pipeline: Pipeline | StandIn,
        recording: Recording,
        feedback: Feedback,
        statistics: CountsOfAll,
        intake: Intake,
        max_body_bytes: int,
        max_json_bytes: int,
        max_batch_rows: int,
    ) -> None:
        self._model = model
        self._prefix = f"/v2/models/{model}"
        self._versions = versions
        self._pipeline = pipeline
        self._recording = recording
        self._feedback = feedback
        self._statistics = statistics
        self._intake = intake
        self._max_body_bytes = max_body_bytes
        self._max_json_bytes = max_json_bytes
        self._max_batch_rows = max_batch_rows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; every failure leaves in the error contract."""
        if scope["type"] != "http":
            return
        headers: Headers = dict(scope["headers"])
        request_id = known_request_id(headers.get(b"x-request-id", b"")) or new_request_id()
        try:
            version, verb = self._route(scope["path"])
            if verb == "infer":
                _need(scope, "POST")
                arrival = Arrival(
                    request_id,
                    traceparent=headers.get(b"traceparent", b""),
                    tracestate=headers.get(b"tracestate", b""),
                    at_ns=scope.get(ARRIVED),
                )
                await self._infer(version, headers, arrival, receive, send)
            elif verb == "feedback":
                _need(scope, "POST")
                await self._take_feedback(headers, receive, send)
            elif verb in NOT_SERVED:
                raise UnsupportedError(NOT_SERVED[verb])
            else:
                _need(scope, "GET")
                await send_body(200, orjson.dumps(await self._describe(version, verb)), send)
        except ClientGoneError:
            return
        except GatewayError as error:
            await send_error(error, request_id, send)
        except Exception:
            log.exception("request %s failed inside the gateway", request_id)
            await send_error(InternalError(), request_id, send)

    def _route(self, path: str) -> tuple[str | None, str]:
        """Split a path into the version asked for and the verb."""
        below = path.removeprefix(self._prefix)
        if below[:1] not in ("", "/"):  # another model, whose name begins with this one's
            raise NotFoundError
        parts = below.removeprefix("/").split("/")
        version = None
        if parts[0] == "versions" and len(parts) >= 2:
            version, parts = parts[1], parts[2:]
            if not _VERSION.fullmatch(version):
                raise NotFoundError
        verb = "/".join(parts)
        if verb not in VERBS:
            raise NotFoundError
        return version, verb

    async def _infer(
        self,
        version: str | None,
        headers: Headers,
        arrival: Arrival,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer, then record; also what was refused before it was read."""
        request_id = arrival.request_id
        progress = Progress()
        prediction = ""
        answer: Answer | None = None
        error: GatewayError | None = None
        with self._intake.open() as space:
            try:
                body = await self._read_request(headers, receive, space)
                prediction = prediction_id(self._model, request_id, body)
                request = self._request(prediction, version, headers, body, arrival, receive)
                answer = await self._pipeline.infer(request, progress)
                is_protobuf = _is_protobuf(headers)
                await self._send_answer(prediction, answer, send, is_protobuf=is_protobuf)
            except ClientGoneError as left:
                answer, error = None, left
            except GatewayError as reason:
                answer, error = None, reason  # also when its outputs cannot be written as asked
                await send_error(error, request_id, send)
            except Exception:
                log.exception("request %s failed inside the gateway", request_id)
                answer, error = None, InternalError()
                await send_error(error, request_id, send)
        prediction = prediction or prediction_id(self._model, request_id, b"")  # it was not read
        self._recording.record(arrival, prediction, progress, answer=answer, error=error)

    async def _read_request(self, headers: Headers, receive: Receive, space: Space) -> bytes:
        # Nothing else is refused by its type: clients send whatever their HTTP library sends, and
        # `curl -d` calls JSON a form. A form in parts is never an inference request.
        if headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data"):
            raise MediaTypeError("JSON, raw tensors or protobuf")
        return await read_body(headers, receive, space, max_bytes=self._max_body_bytes)

    def _request(
        self,
        prediction: str,
        version: str | None,
        headers: Headers,
        body: bytes,
        arrival: Arrival,
        receive: Receive,
    ) -> Request:
        parse = (
            partial(parse_message, body, max_around_bytes=self._max_json_bytes)
            if _is_protobuf(headers)
            else partial(
                parse_envelope,
                body,
                headers.get(HEADER_LENGTH),
                max_json_bytes=self._max_json_bytes,
            )
        )
        return Request(
            prediction,
            parse,
            version,
            headers.get(b"x-request-timeout-ms"),
            arrival.arrived_ns,
            partial(_gone, receive),
        )

    async def _send_answer(
        self, prediction: str, answer: Answer, send: Send, *, is_protobuf: bool
    ) -> None:
        verdicts = answer.verdicts
        parameters: Parameters = {
            "prediction_id": prediction,
            "served_by": answer.served_by,
            "bundle_digest": answer.version.ref.digest,
            "flagged_rows": verdicts.flagged,
            "explored": verdicts.explored > 0,
            "deadline_left_us": answer.left_ns // NS_PER_US,
        }
        if verdicts.explore_closed:
            parameters["explore_closed"] = verdicts.explore_closed
        if answer.fallback_reason:
            parameters["fallback_reason"] = answer.fallback_reason
        if verdicts.abstained:
            parameters["abstained_rows"] = verdicts.abstained
        if PREDICTION_SET in answer.outputs:
            parameters["prediction_set_coverage"] = verdicts.coverage
        if answer.cache_age_ns:
            parameters["fallback_age_ms"] = answer.cache_age_ns // NS_PER_MS
        if answer.skipped_guards:
            parameters["skipped_guards"] = ",".join(answer.skipped_guards)
        names = {"model": self._model, "version": answer.version.ref.version}
        if is_protobuf:
            message = write_message(answer.outputs, answer.envelope, parameters, **names)
            await send_body(200, message, send, content_type=PROTOBUF)
            return
        body, json_bytes = encode_answer(
            answer.outputs, answer.envelope, parameters=parameters, **names
        )
        if json_bytes is None:
            await send_body(200, body, send)
        else:
            extra = (HEADER_LENGTH, b"%d" % json_bytes)
            await send_body(200, body, send, content_type=BINARY, extra=(extra,))

    async def _take_feedback(self, headers: Headers, receive: Receive, send: Send) -> None:
        """Store labels and rewards; the 2xx leaves after they are on disk."""
        with self._intake.open() as space:
            body = await read_body(headers, receive, space, max_bytes=self._max_body_bytes)
            media_type = headers.get(b"content-type", b"").decode("latin-1")
            receipt = await self._feedback(body, media_type)
        await send_body(200, orjson.dumps(receipt), send)

    async def _describe(self, version: str | None, verb: str) -> dict[str, Any]:
        """Tell what was asked about a version, the live one if none is named."""
        view = self._versions.view
        loaded = view.version(version)
        if verb == "feedback":
            raise MethodNotAllowedError("POST")
        if verb == "ready":
            return {"name": self._model, "ready": True}
        if verb == "config":
            return configure_model(view, loaded, max_rows=self._max_batch_rows)
        if verb == "stats":
            wanted = answering(view) if version is None else [version]
            return as_json(s for s in await self._statistics() if s.version in wanted)
        return describe_model(view, loaded)


def _is_protobuf(headers: Headers) -> bool:
    return headers.get(b"content-type") == PROTOBUF


async def _gone(receive: Receive) -> None:
    """Return when the client has closed the connection; its body has been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


def new_request_id() -> str:
    """Name a request that came without a name; unique, not secret."""
    return f"{random.getrandbits(128):032x}"


def _need(scope: Scope, method: str) -> None:
    if scope["method"] != method:
        raise MethodNotAllowedError(method)
