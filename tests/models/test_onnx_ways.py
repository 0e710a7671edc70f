"""The ways into a session that a GPU needs, on the CPU: all but the device itself is the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import OutOfMemoryError, RuntimeFailedError, StickyDeviceError
from models.examples import mlp
from models.manifest import Manifest, RuntimeSpec, Signature, TensorSpec
from models.runtime.onnx import OnnxRuntime, cuda_options
from models.runtime.onnx_ways import Bound, Captured, Plain, Way

SIGNATURE = mlp.SIGNATURE
MOST_ROWS = 12  # of a graph: the largest one is no power of two


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    model = mlp.mlp_onnx(np.random.default_rng(7))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


WAYS: dict[str, Callable[[onnxruntime.InferenceSession], Way]] = {
    "bound": lambda session: Bound(session, SIGNATURE),
    "captured": lambda session: Captured(session, SIGNATURE, most_rows=MOST_ROWS, device="cpu"),
}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest, session: onnxruntime.InferenceSession) -> Way:
    return WAYS[request.param](session)


def rows_of(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {"features": mlp.ordinary_rows(count, np.random.default_rng(seed))}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 12, 13, 40])
def test_every_way_gives_the_same_answer(
    way: Way, session: onnxruntime.InferenceSession, count: int
) -> None:
    (answer,), (plain,) = way(rows_of(count)), Plain(session, SIGNATURE)(rows_of(count))

    assert answer.shape == plain.shape
    np.testing.assert_allclose(answer, plain, rtol=1e-5, atol=1e-6)


def test_an_answer_keeps_when_the_next_batch_takes_its_place(way: Way) -> None:
    (answer,) = way(rows_of(3))
    before = answer.copy()
    way(rows_of(3, seed=1))

    np.testing.assert_array_equal(answer, before)


def test_a_smaller_batch_sees_nothing_of_the_larger_one_before(way: Way) -> None:
    (alone,) = way(rows_of(5))
    way(rows_of(8, seed=1))

    np.testing.assert_array_equal(way(rows_of(5))[0], alone)


@pytest.mark.parametrize(
    "rows",
    [np.zeros((2, 30)), np.zeros((2, 29), np.float32), np.zeros((2, 30, 1), np.float32)],
    ids=["float64", "narrow", "deep"],
)
def test_no_memory_is_read_that_is_not_what_the_signature_says(way: Way, rows: Any) -> None:
    with pytest.raises(ValueError, match="features must be FP32"):
        way({"features": rows})


class Broken:
    """A session on a GPU that fails as onnxruntime's do."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, inputs: Any) -> Any:
        raise RuntimeError(self.text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", StickyDeviceError),
        ("CUDA failure 2: out of memory ; GPU=0", OutOfMemoryError),
        ("CUDNN failure 3: CUDNN_STATUS_BAD_PARAM ; GPU=0", RuntimeFailedError),
    ],
)
def test_a_failing_gpu_raises_what_the_failure_means(text: str, error: type[Exception]) -> None:
    manifest = Manifest(
        name="mlp",
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=SIGNATURE,
    )
    runtime = OnnxRuntime(Broken(text), manifest, is_on_cuda=True)

    with pytest.raises(error) as caught:
        runtime.predict(rows_of(1))
    assert type(caught.value) is error


def test_a_batch_that_no_memory_holds_is_an_error_of_its_own() -> None:
    many = numpy_helper.from_array(np.array([1, 1 << 44]), "many")
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "many"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", None])],
        [many],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 1)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
    )
    manifest = Manifest(
        name="m",
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=signature,
    )
    runtime = OnnxRuntime(Plain(session, signature), manifest, is_on_cuda=False)

    with pytest.raises(OutOfMemoryError):
        runtime.predict({"x": np.ones((1, 1), np.float32)})


def test_the_provider_is_told_what_the_manifest_says() -> None:
    spec = RuntimeSpec(kind="onnx", file="m.onnx", gpu_memory_bytes=1 << 30, cuda_graph_rows=8)

    assert cuda_options(spec) == {
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "gpu_mem_limit": str(1 << 30),
        "enable_cuda_graph": "1",
    }
