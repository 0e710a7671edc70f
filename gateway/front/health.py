"""`grpc.health.v1`: ready means what `/v2/health/ready` says, asked when somebody asks.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from gateway.errors import NotReadyError
from gateway.front.upstream import Upstream

WATCH_S = 5.0
Response = health_pb2.HealthCheckResponse


class HealthService:
    """Answers for the server as a whole ("") and for the inference service."""

    def __init__(self, upstream: Upstream, *, service: str) -> None:
        self._upstream = upstream
        self._services = ("", service)

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

    async def watch(self, request: Any, _: Any) -> AsyncIterator[Any]:
        """Say so now, and whenever it changes; ends with the client."""
        if request.service not in self._services:
            yield Response(status=Response.SERVICE_UNKNOWN)  # it may come later, says the protocol
            await asyncio.Event().wait()
        told = None
        while True:
            status = await self._status()
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
