"""gRPC on a real gateway: the front comes back when it is killed, and keys are asked for."""

import os
import signal

import grpc
import psutil
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from models.examples.example import Example
from tests.e2e.conftest import Running, wait_for

pytestmark = pytest.mark.e2e


def front_of(running: Running) -> int:
    """Find the front among the descendants of the gateway's processes, by its port."""
    [pid] = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == running.grpc_port
    }
    assert pid is not None
    return pid


def test_a_killed_front_comes_back_and_a_call_without_a_key_is_refused(
    closed: Running, examples: tuple[Example, Example]
) -> None:
    _, cancer = examples
    name = cancer.bundles[0].manifest.name

    def answers() -> bool:
        with grpc.insecure_channel(f"127.0.0.1:{closed.grpc_port}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            try:
                return bool(stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=2).ready)
            except grpc.RpcError:
                return False

    assert answers()
    with grpc.insecure_channel(f"127.0.0.1:{closed.grpc_port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.ModelInfer(pb.ModelInferRequest(model_name=name))
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED

    before = front_of(closed)
    os.kill(before, signal.SIGKILL)
    wait_for(answers, 20)
    assert front_of(closed) != before
