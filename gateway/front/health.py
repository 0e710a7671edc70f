"""`grpc.health.v1`: ready means what `/v2/health/ready` says, asked when somebody asks.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from gateway.errors import NotReadyError
from gateway.front.calls import Call
from gateway.front.seats import Seats
from gateway.front.statuses import abort, failure_of
from gateway.front.upstream import Upstream
from gateway.serving.outline import malformed

WATCH_S = 5.0
# A watch holds one of the calls that all clients share, and needs no key.
WATCHES_MAX = 32
WATCH_ENDS_S = 600.0  # clients that still want to know ask again, as the protocol says
Response = health_pb2.HealthCheckResponse


class HealthService:
    """Answers for the server as a whole ("") and for the inference service."""

    def __init__(self, upstream: Upstream, seats: Seats, *, service: str) -> None:
        self._upstream = upstream
        self._seats = seats
        self._services = ("", service)
        self._watches = 0

    def handler(self) -> Any:
        """Build the service's handler."""
        written = Response.SerializeToString
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(
                self._seats.unary(self.check), response_serializer=written
            ),
            "Watch": grpc.stream_stream_rpc_method_handler(self.watch, response_serializer=written),
        }
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)

    async def check(self, message: bytes, context: Any) -> Any:
        """Say whether calls are answered now."""
        if await _service(message, context) not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return Response(status=await self._status())

    async def watch(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """Say so now, and whenever it changes; ends with the client, or after some minutes."""
        if self._watches >= WATCHES_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch already")
        self._watches += 1
        try:
            service = await self._seats.unary(_service)(messages, context)
            async for response in self._changes(service):
                yield response
        finally:
            self._watches -= 1

    async def _changes(self, service: str) -> AsyncIterator[Any]:
        ends_s = time.monotonic() + WATCH_ENDS_S
        told = None
        while time.monotonic() < ends_s:
            # An unknown service may come later, says the protocol.
            is_known = service in self._services
            status = await self._status() if is_known else Response.SERVICE_UNKNOWN
            if status != told:
                yield Response(status=status)
                told = status
            await asyncio.sleep(WATCH_S)

    async def _status(self) -> Any:
        try:
            reply = await self._upstream.request("GET", "/v2/health/ready", ())
        except NotReadyError:
            return Response.NOT_SERVING
        return Response.SERVING if reply.status == 200 else Response.NOT_SERVING


async def _service(message: bytes, context: Any) -> str:
    """Read which service is asked about, or abort the call."""
    try:
        return str(health_pb2.HealthCheckRequest.FromString(message).service)
    except DecodeError:
        await abort(context, failure_of(malformed(), Call(context).request_id))
