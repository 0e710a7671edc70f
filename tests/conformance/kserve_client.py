"""KServe's own clients against a server: `python -m tests.conformance.kserve_client rest URL`."""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

from tests.conformance.identity import MODELS, input_name, output_name
from tests.conformance.wire import rows_of

ROWS = rows_of(MODELS["identity"])


def request() -> InferRequest:
    inputs = []
    for datatype, array in ROWS.items():
        tensor = InferInput(input_name(datatype), list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=True)
        inputs.append(tensor)
    return InferRequest(model_name="identity", infer_inputs=inputs)


async def over_rest(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "identity")
    response = await client.infer(url, request(), model_name="identity")
    await client.close()
    found = {output.name: output for output in response.outputs}
    np.testing.assert_array_equal(found[output_name("INT64")].as_numpy(), ROWS["INT64"])


async def over_grpc(address: str) -> None:
    client = InferenceGRPCClient(address)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("identity")
    response = await client.infer(request())
    await client.close()
    found = {output.name: output for output in response.outputs}
    np.testing.assert_array_equal(found[output_name("FP32")].as_numpy(), ROWS["FP32"])


if __name__ == "__main__":
    asyncio.run({"rest": over_rest, "grpc": over_grpc}[sys.argv[1]](sys.argv[2]))
