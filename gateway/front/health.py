"""`grpc.health.v1`: ready means what `/v2/health/ready` says, asked when somebody asks.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from gateway.errors import NotReadyError
from gateway.front.upstream import Upstream

WATCH_S = 5.0
# A watch holds one of the calls that all clients share, and needs no key.
WATCHES_MAX = 32
WATCH_ENDS_S = 600.0  # clients that still want to know ask again, as the protocol says
Response = health_pb2.HealthCheckResponse


class HealthService:
    """Answers for the server as a whole ("") and for the inference service."""

    def __init__(self, upstream: Upstream, *, service: str) -> None:
        self._upstream = upstream
        self._services = ("", service)
        self._watches = 0

    def handler(self) -> Any:
        """Build the service's handler."""
        request, response = health_pb2.HealthCheckRequest, Response
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(
                self.check, request.FromString, response.SerializeToString
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self.watch, request.FromString, response.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)

    async def check(self, request: Any, context: Any) -> Any:
        """Say whether calls are answered now."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return Response(status=await self._status())

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Say so now, and whenever it changes; ends with the client, or after some minutes."""
        if self._watches >= WATCHES_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch already")
        self._watches += 1
        try:
            async for response in self._changes(request.service):
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
