"""`ModelInfer`: the message goes to the model's replica as it came, and so does the answer.

Only the model's name and version are read here; replica, admission, guards, record and
HAProxy's repeats are those of a request over HTTP.
"""

from typing import Any

from gateway.errors import GatewayError, ShedError
from gateway.front.calls import Call
from gateway.front.route import model_path, read_model
from gateway.front.statuses import abort, failure_in, failure_of
from gateway.front.upstream import Upstream
from gateway.oip import MEDIA_TYPE

RETRY_AFTER_S = 1


class Infer:
    """Hands on inference requests, never more bytes of them at a time than the limit."""

    def __init__(self, upstream: Upstream, *, max_in_flight_bytes: int) -> None:
        self._upstream = upstream
        self._max_in_flight_bytes = max_in_flight_bytes
        self.in_flight_bytes = 0

    async def serve(self, message: bytes, context: Any) -> bytes:
        """Answer one call, or abort it."""
        call = Call(context)
        self.in_flight_bytes += len(message)
        try:
            name, version = read_model(message)
            path = model_path(name, version) + "/infer"
            call.limit(context, name)
            if self.in_flight_bytes > self._max_in_flight_bytes:
                raise ShedError(name, RETRY_AFTER_S)
            call.headers.append(("content-type", MEDIA_TYPE))
            reply = await self._upstream.request("POST", path, call.headers, message)
        except GatewayError as error:
            await abort(context, failure_of(error, call.request_id))
        finally:
            self.in_flight_bytes -= len(message)
        if reply.status != 200:
            await abort(context, failure_in(reply, call.request_id))
        return reply.body
