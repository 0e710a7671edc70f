"""The gRPC service `inference.GRPCInferenceService`, and `grpc.health.v1`.

Source: Open Inference Protocol, ``open_inference_grpc.proto``; Triton, ``grpc_service.proto``.
"""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from tests.conformance.conftest import Target
from tests.conformance.identity import MODELS, input_name, output_name
from tests.conformance.wire import assert_same, from_bytes, rows_of, to_bytes

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents",
    "INT32": "int_contents", "INT64": "int64_contents", "UINT8": "uint_contents",
    "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


def raw_request(arrays: dict[str, Any], model: str = "identity", **fields: Any) -> Any:
    request = pb.ModelInferRequest(model_name=model, **fields)
    for datatype, array in arrays.items():
        request.inputs.add(name=input_name(datatype), datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(to_bytes(array))
    return request


def typed_request(arrays: dict[str, Any]) -> Any:
    request = pb.ModelInferRequest(model_name="identity")
    for datatype, array in arrays.items():
        tensor = request.inputs.add(name=input_name(datatype), datatype=datatype, shape=array.shape)
        getattr(tensor.contents, CONTENTS[datatype]).extend(array.ravel().tolist())
    return request


def arrays_of(response: Any) -> dict[str, Any]:
    return {
        output.name: from_bytes(output.datatype, raw, list(output.shape))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def code_of(call: Any, request: Any, **fields: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as error:
        call(request, **fields)
    assert error.value.details()
    code: grpc.StatusCode = error.value.code()
    return code


def test_live_ready_and_metadata(stub: Any) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    metadata = stub.ServerMetadata(pb.ServerMetadataRequest())
    assert metadata.name
    assert metadata.version


def test_model_ready_and_metadata(stub: Any) -> None:
    assert stub.ModelReady(pb.ModelReadyRequest(name="identity")).ready
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="identity", version="1"))
    assert metadata.name == "identity"
    assert {tensor.datatype for tensor in metadata.inputs} == set(MODELS["identity"])


@pytest.mark.extension("versions")
def test_model_metadata_lists_the_versions(stub: Any) -> None:
    assert "1" in stub.ModelMetadata(pb.ModelMetadataRequest(name="identity")).versions


@pytest.mark.extension("grpc.health.v1")
def test_health_service_serves(target: Target) -> None:
    assert target.grpc is not None
    with grpc.insecure_channel(target.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest()).status
    assert status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("model", MODELS)
def test_raw_contents_of_every_datatype_come_back_as_they_went(stub: Any, model: str) -> None:
    arrays = rows_of(MODELS[model])
    response = stub.ModelInfer(raw_request(arrays, model, id="a-7"))
    found = arrays_of(response)
    for datatype, array in arrays.items():
        assert_same(found[output_name(datatype)], array)
    assert response.id == "a-7"
    assert response.model_name == model
    assert response.model_version == "1"


@pytest.mark.own  # the protocol leaves open in which form the answer comes
def test_typed_contents_are_read_and_answered_raw(stub: Any) -> None:
    arrays = rows_of(MODELS["identity"])
    found = arrays_of(stub.ModelInfer(typed_request(arrays)))
    for datatype, array in arrays.items():
        assert_same(found[output_name(datatype)], array)


def test_requested_outputs_come_in_the_requested_order(stub: Any) -> None:
    request = raw_request(rows_of(MODELS["identity"]))
    wanted = [output_name("INT64"), output_name("BOOL")]
    for name in wanted:
        request.outputs.add(name=name)
    assert [output.name for output in stub.ModelInfer(request).outputs] == wanted


def test_parameters_of_every_kind_are_taken(stub: Any) -> None:
    request = raw_request(rows_of(MODELS["identity"]))
    request.parameters["priority"].uint64_param = 1
    request.parameters["timeout"].int64_param = 1_000_000
    request.parameters["note"].string_param = "x"
    request.parameters["flag"].bool_param = True
    request.parameters["share"].double_param = 0.5
    assert stub.ModelInfer(request).outputs


def test_an_unknown_model_and_version_are_not_found(stub: Any) -> None:
    rows = rows_of(MODELS["identity"])
    assert code_of(stub.ModelInfer, raw_request(rows, "nobody")) == grpc.StatusCode.NOT_FOUND
    unknown = raw_request(rows, model_version="77")
    assert code_of(stub.ModelInfer, unknown) == grpc.StatusCode.NOT_FOUND
    request = pb.ModelMetadataRequest(name="nobody")
    assert code_of(stub.ModelMetadata, request) == grpc.StatusCode.NOT_FOUND


def test_lies_are_invalid_arguments(stub: Any) -> None:
    rows = rows_of(MODELS["identity"])
    lacking = raw_request(rows)
    lacking.raw_input_contents.pop()
    short = raw_request(rows)
    short.raw_input_contents[0] = short.raw_input_contents[0][:-1]
    mixed = raw_request(rows)
    mixed.inputs[-1].contents.bytes_contents.append(b"x")
    negative = raw_request(rows)
    negative.inputs[0].shape[0] = -1
    for lie in (lacking, short, mixed, negative, pb.ModelInferRequest(model_name="identity")):
        assert code_of(stub.ModelInfer, lie) == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.extension("model_configuration, statistics")
def test_configuration_and_statistics(stub: Any) -> None:
    config = stub.ModelConfig(pb.ModelConfigRequest(name="identity")).config
    assert config.name == "identity"
    assert {tensor.name for tensor in config.input} == {
        input_name(datatype) for datatype in MODELS["identity"]
    }
    stub.ModelInfer(raw_request(rows_of(MODELS["identity"])))
    [stats] = stub.ModelStatistics(pb.ModelStatisticsRequest(name="identity")).model_stats
    assert stats.inference_count >= 2
    assert stats.inference_stats.success.ns > 0


@pytest.mark.extension("model_repository")
def test_the_repository_is_listed(stub: Any) -> None:
    index = stub.RepositoryIndex(pb.RepositoryIndexRequest())
    assert {"identity", "half"} <= {model.name for model in index.models}


def test_what_is_not_served_is_unimplemented(stub: Any) -> None:
    extensions = stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
    if "system_shared_memory" not in extensions:
        request = pb.SystemSharedMemoryStatusRequest()
        assert code_of(stub.SystemSharedMemoryStatus, request) == grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_of_the_call_ends_it(stub: Any) -> None:
    request = raw_request(rows_of(MODELS["identity"]))
    assert code_of(stub.ModelInfer, request, timeout=1e-6) == grpc.StatusCode.DEADLINE_EXCEEDED
