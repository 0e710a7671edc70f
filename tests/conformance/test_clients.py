"""Stock clients run unchanged: tritonclient over HTTP and gRPC, sync and async; KServe's."""

import subprocess
import sys
from typing import Any

import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio

from models.bytes_tensor import as_elements
from tests.conformance.conftest import Target
from tests.conformance.identity import MODELS, input_name, output_name
from tests.conformance.wire import assert_same, rows_of

ROWS = rows_of(MODELS["identity"])


def triton_inputs(module: Any, **fields: Any) -> list[Any]:
    inputs = []
    for datatype, array in ROWS.items():
        tensor = module.InferInput(input_name(datatype), array.shape, datatype)
        tensor.set_data_from_numpy(array, **fields)
        inputs.append(tensor)
    return inputs


def assert_repeated(result: Any) -> None:
    for datatype, array in ROWS.items():
        found = result.as_numpy(output_name(datatype))
        assert_same(encoded(found) if datatype == "BYTES" else found, array)


def encoded(elements: Any) -> Any:
    """Encode what tritonclient takes from JSON as it stands: text."""
    items = [item.encode() if isinstance(item, str) else item for item in elements.ravel()]
    return as_elements(items, elements.shape)


def address(target: Target) -> str:
    return target.url.removeprefix("http://")


BINARY = pytest.param(True, marks=pytest.mark.extension("binary_tensor_data"), id="binary")


@pytest.mark.parametrize("binary", [BINARY, pytest.param(False, id="JSON")])
def test_tritonclient_http(target: Target, binary: bool) -> None:
    module = tritonclient.http
    with module.InferenceServerClient(address(target)) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("identity")
        assert client.get_server_metadata()["name"]
        assert client.get_model_metadata("identity")["name"] == "identity"
        inputs = triton_inputs(module, binary_data=binary)
        outputs = [module.InferRequestedOutput(output_name(d), binary_data=binary) for d in ROWS]
        assert_repeated(client.infer("identity", inputs, outputs=outputs, request_id="7"))


@pytest.mark.extension("binary_tensor_data")
def test_tritonclient_http_as_it_comes(target: Target) -> None:
    module = tritonclient.http
    with module.InferenceServerClient(address(target)) as client:
        assert_repeated(client.infer("identity", triton_inputs(module)))


def test_tritonclient_http_with_a_version(target: Target) -> None:
    module = tritonclient.http
    with module.InferenceServerClient(address(target)) as client:
        assert client.is_model_ready("identity", "1")
        assert client.get_model_metadata("identity", "1")["name"] == "identity"


@pytest.mark.extension("compression")
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritonclient_http_with_compression(target: Target, algorithm: str) -> None:
    module = tritonclient.http
    with module.InferenceServerClient(address(target)) as client:
        result = client.infer(
            "identity",
            triton_inputs(module),
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
    assert_repeated(result)


@pytest.mark.extension("model_configuration")
def test_tritonclient_http_asks_for_the_configuration(target: Target) -> None:
    with tritonclient.http.InferenceServerClient(address(target)) as client:
        assert client.get_model_config("identity")["name"] == "identity"


@pytest.mark.extension("statistics")
def test_tritonclient_http_asks_for_statistics(target: Target) -> None:
    with tritonclient.http.InferenceServerClient(address(target)) as client:
        assert client.get_inference_statistics("identity")["model_stats"]
        assert client.get_inference_statistics()["model_stats"]


@pytest.mark.extension("model_repository")
def test_tritonclient_http_asks_for_the_repository(target: Target) -> None:
    with tritonclient.http.InferenceServerClient(address(target)) as client:
        assert {model["name"] for model in client.get_model_repository_index()} >= set(MODELS)


def test_tritonclient_http_reads_the_errors(target: Target) -> None:
    module = tritonclient.http
    with module.InferenceServerClient(address(target)) as client:
        for model, inputs in ("nobody", 12), ("identity", 1):
            with pytest.raises(module.InferenceServerException) as error:
                client.infer(model, triton_inputs(module, binary_data=False)[:inputs])
            assert "decoding" not in str(error.value)  # a body that is not what it expects


async def test_tritonclient_http_aio(target: Target) -> None:
    module = tritonclient.http.aio
    async with module.InferenceServerClient(address(target)) as client:
        assert await client.is_server_ready()
        assert (await client.get_model_metadata("identity"))["name"] == "identity"
        inputs = triton_inputs(tritonclient.http, binary_data=False)
        output = tritonclient.http.InferRequestedOutput
        outputs = [output(output_name(datatype), binary_data=False) for datatype in ROWS]
        assert_repeated(await client.infer("identity", inputs, outputs=outputs))


@pytest.mark.extension("model_configuration, statistics, binary_tensor_data")
async def test_tritonclient_http_aio_with_extensions(target: Target) -> None:
    module = tritonclient.http.aio
    async with module.InferenceServerClient(address(target)) as client:
        assert (await client.get_model_config("identity"))["name"] == "identity"
        assert (await client.get_inference_statistics())["model_stats"]
        assert_repeated(await client.infer("identity", triton_inputs(tritonclient.http)))


def test_tritonclient_grpc(target: Target) -> None:
    module = tritonclient.grpc
    with module.InferenceServerClient(target.grpc) as client:
        assert client.is_server_live()
        assert client.is_model_ready("identity")
        result = client.infer("identity", triton_inputs(module), client_timeout=5.0)
        assert_repeated(result)
        with pytest.raises(module.InferenceServerException):
            client.infer("nobody", triton_inputs(module))


@pytest.mark.extension("parameters")
def test_tritonclient_grpc_with_a_priority(target: Target) -> None:
    module = tritonclient.grpc
    with module.InferenceServerClient(target.grpc) as client:
        assert_repeated(client.infer("identity", triton_inputs(module), priority=1))


@pytest.mark.extension("model_configuration, statistics, model_repository")
def test_tritonclient_grpc_asks_for_more(target: Target) -> None:
    with tritonclient.grpc.InferenceServerClient(target.grpc) as client:
        assert client.get_model_config("identity").config.name == "identity"
        assert client.get_inference_statistics("identity").model_stats
        assert client.get_model_repository_index().models


async def test_tritonclient_grpc_aio(target: Target) -> None:
    async with tritonclient.grpc.aio.InferenceServerClient(target.grpc) as client:
        assert await client.is_server_ready()
        assert_repeated(await client.infer("identity", triton_inputs(tritonclient.grpc)))


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_kserve_client(target: Target, protocol: str) -> None:
    address = target.url if protocol == "rest" else str(target.grpc)
    # In a process of its own: it registers the same protobuf names as tritonclient.
    ran = subprocess.run(
        [sys.executable, "-m", "tests.conformance.kserve_client", protocol, address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
