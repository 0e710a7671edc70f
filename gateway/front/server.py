"""The gRPC front of one node.  START here: the services, their methods, their limits.

`inference.GRPCInferenceService` is served with generic handlers, so that no message is parsed
before its handler does it: bad bytes are the client's mistake, not an internal error.

Source: Open Inference Protocol, ``open_inference_grpc.proto``; Triton's ``grpc_service.proto``;
gRPC core's channel arguments, ``grpc/impl/channel_arg_names.h``.
"""

from typing import Any

import grpc

from gateway.config import Config
from gateway.errors import UnsupportedError
from gateway.front.calls import Call
from gateway.front.health import HealthService
from gateway.front.infer import Infer
from gateway.front.rest import METHODS, Method
from gateway.front.seats import Seats, Unary
from gateway.front.statuses import abort, failure_of
from gateway.front.upstream import Upstream

SERVICE = "inference.GRPCInferenceService"
STOP_S = 5.0
S_MS = 1000
MINUTE_MS = 60 * S_MS

CALLS_MAX = 1024  # at a time, over all connections
OPTIONS = {
    "grpc.max_send_message_length": -1,
    # A request's metadata; the soft limit alone would let some of it through.
    "grpc.max_metadata_size": 16 * 1024,
    "grpc.absolute_max_metadata_size": 16 * 1024,
    "grpc.max_concurrent_streams": 128,  # per connection
    "grpc.http2.bdp_probe": 0,  # or it would let clients send megabytes ahead; see `front.seats`
    "grpc.so_reuseport": 0,  # a second front on the port must fail, not take half of the calls
    # Pings: one every 10 s is enough for any keepalive; more end the connection.
    "grpc.http2.min_ping_interval_without_data_ms": 10 * S_MS,
    "grpc.http2.min_recv_ping_interval_without_data_ms": 10 * S_MS,
    "grpc.http2.max_ping_strikes": 2,
    "grpc.keepalive_permit_without_calls": 1,
    # A client that is gone without a word is noticed; one that stays is moved now and then.
    "grpc.keepalive_time_ms": MINUTE_MS,
    "grpc.keepalive_timeout_ms": 20 * S_MS,
    "grpc.max_connection_idle_ms": 10 * MINUTE_MS,
    "grpc.max_connection_age_ms": 60 * MINUTE_MS,
    "grpc.max_connection_age_grace_ms": MINUTE_MS,
    "grpc.server_handshake_timeout_ms": 10 * S_MS,
}
NOT_SERVED = {
    "SystemSharedMemoryStatus": "shared memory",
    "SystemSharedMemoryRegister": "shared memory",
    "SystemSharedMemoryUnregister": "shared memory",
    "CudaSharedMemoryStatus": "shared memory",
    "CudaSharedMemoryRegister": "shared memory",
    "CudaSharedMemoryUnregister": "shared memory",
    "TraceSetting": "changing trace settings",
    "LogSettings": "changing log settings",
}
STREAM = "ModelStreamInfer"


class Front:
    """Listens on one port and hands calls on to the data plane of its node."""

    def __init__(self, config: Config, *, port: int) -> None:
        self._config = config
        self._port = port
        self._upstream = Upstream(
            config.server.host, config.server.port, host_header=config.server.allowed_hosts[0]
        )
        in_flight_bytes = config.serving.max_in_flight_bytes
        self._infer = Infer(self._upstream, max_in_flight_bytes=in_flight_bytes)
        self._seats = Seats(
            max_bytes=in_flight_bytes, max_message_bytes=config.server.max_body_bytes
        )
        self._server: Any = None

    async def start(self) -> int:
        """Make sure the port is served; called again and again by whoever looks after it.

        Returns:
            The port; picked by the system if it was asked for port 0.

        Raises:
            OSError: the port is taken.
        """
        if self._server is None:
            self._server = await self._listen()
        return self._port

    async def stop(self) -> None:
        """Let calls under way end for a moment, then close everything."""
        if self._server is not None:
            await self._server.stop(STOP_S)
        self._upstream.close()

    async def _listen(self) -> Any:
        # Of a compressed message, too: gRPC stops to inflate it at the limit.
        limit = ("grpc.max_receive_message_length", self._config.server.max_body_bytes)
        server = grpc.aio.server(
            options=[*OPTIONS.items(), limit], maximum_concurrent_rpcs=CALLS_MAX
        )
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(SERVICE, self._handlers()),
                HealthService(self._upstream, self._seats, service=SERVICE).handler(),
            )
        )
        try:
            self._port = server.add_insecure_port(f"{self._config.server.host}:{self._port}")
        except RuntimeError as error:  # what grpc makes of EADDRINUSE
            await server.stop(None)
            raise OSError(f"port {self._port} is taken") from error
        await server.start()
        return server

    def _handlers(self) -> dict[str, Any]:
        unary: dict[str, Unary] = {"ModelInfer": self._infer.serve}
        for name, (request, answer) in METHODS.items():
            unary[name] = Method(self._upstream, request, answer).serve
        for name, what in NOT_SERVED.items():
            unary[name] = _refusal(what)
        handlers = {
            name: grpc.stream_unary_rpc_method_handler(self._seats.unary(method))
            for name, method in unary.items()
        }
        handlers[STREAM] = grpc.stream_stream_rpc_method_handler(_refusal("streaming"))
        return handlers


def _refusal(what: str) -> Any:
    async def refuse(_: Any, context: Any) -> bytes:
        failure = failure_of(UnsupportedError(what), Call(context).request_id)
        return await abort(context, failure)

    return refuse
