"""What every runtime must satisfy, whatever runs inside it."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.errors import RuntimeFailedError
from models.examples import mlp
from models.manifest import DTYPES, Manifest, RuntimeSpec
from models.pack import pack
from models.runtime.catalog import LOADERS, open_runtime
from models.runtime.protocol import Runtime
from models.signing import SigningKey

SIGNATURE = mlp.SIGNATURE
RNG_SEED = 11


class Network(torch.nn.Module):
    """Something of the signature's shape for torch.export."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(30, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layer(features), dim=1)


def make_onnx(path: Path) -> RuntimeSpec:
    path.write_bytes(mlp.mlp_onnx(np.random.default_rng(RNG_SEED)))
    return RuntimeSpec(kind="onnx", file="model.onnx", device="cpu")


def make_torch(path: Path) -> RuntimeSpec:
    torch.manual_seed(RNG_SEED)
    program = torch.export.export(
        Network().eval(),
        (torch.zeros(2, 30),),
        dynamic_shapes=({0: torch.export.Dim("rows")},),
    )
    torch.export.save(program, path)
    return RuntimeSpec(kind="torch", file="model.pt2", device="cpu")


def make_compiled(path: Path) -> RuntimeSpec:
    torch.manual_seed(RNG_SEED)
    rows = torch.export.Dim("rows", max=4096)
    program = torch.export.export(
        Network().eval(), (torch.zeros(2, 30),), dynamic_shapes=({0: rows},)
    )
    with warnings.catch_warnings():  # of torch, about torch
        warnings.simplefilter("ignore")
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return RuntimeSpec(kind="torch", file="model.pt2", device="cpu", compiled=True)


def make_constant(path: Path) -> RuntimeSpec:
    return RuntimeSpec(kind="constant", outputs={"probabilities": [0.25, 0.75]})


MAKERS: dict[str, Callable[[Path], RuntimeSpec]] = {
    "onnx": make_onnx,
    "torch": make_torch,
    "compiled": make_compiled,
    "constant": make_constant,
}
if shutil.which("g++") is None:  # it compiles on this machine
    del MAKERS["compiled"]
MODELS = [
    kind for kind in MAKERS if kind != "constant"
]  # those that a framework runs and that may fail


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    scratch = tmp_path_factory.mktemp("runtimes")
    return {kind: build(kind, scratch) for kind in MAKERS}


def build(kind: str, scratch: Path) -> Bundle:
    artifact = scratch / ("source.onnx" if kind == "onnx" else f"{kind}.pt2")
    spec = MAKERS[kind](artifact)
    rows = {"features": mlp.ordinary_rows(8, np.random.default_rng(0))}
    return pack(
        Manifest(name=kind, version="1", runtime=spec, signature=SIGNATURE),
        None if spec.file is None else artifact,
        reference=rows,
        held_out=rows,
        out=scratch / kind,
        key=SigningKey.create(),
    )


@pytest.fixture(scope="module", params=list(MAKERS))
def runtime(request: pytest.FixtureRequest, bundles: dict[str, Bundle]) -> Runtime:
    return open_runtime(bundles[request.param])


def rows_of(count: int) -> NDArray[np.float32]:
    return mlp.ordinary_rows(count, np.random.default_rng(count))


def answer(runtime: Runtime, rows: NDArray[Any]) -> NDArray[Any]:
    return runtime.predict({"features": rows})["probabilities"]


def test_every_runtime_in_the_catalog_is_held_to_this_contract() -> None:
    text_to_text = {"safetensors"}  # likewise in tests/models/test_translation.py

    assert set(MAKERS) - {"compiled"} | text_to_text == set(LOADERS)


@pytest.mark.parametrize("count", [1, 2, 257])
def test_outputs_are_finished_arrays_of_the_signature(runtime: Runtime, count: int) -> None:
    outputs = runtime.predict({"features": rows_of(count)})

    assert list(outputs) == [spec.name for spec in SIGNATURE.outputs]
    for spec in SIGNATURE.outputs:
        assert outputs[spec.name].shape == (count, *spec.row_shape)
        assert outputs[spec.name].dtype == DTYPES[spec.datatype]
        assert outputs[spec.name].flags.c_contiguous


def test_the_same_rows_get_the_same_answer_again(runtime: Runtime) -> None:
    rows = rows_of(33)
    first = answer(runtime, rows).copy()
    answer(runtime, rows_of(5))

    np.testing.assert_array_equal(answer(runtime, rows), first)


def test_the_rows_are_not_changed(runtime: Runtime) -> None:
    rows = rows_of(9)
    before = rows.copy()
    answer(runtime, rows)

    np.testing.assert_array_equal(rows, before)


def test_an_answer_does_not_change_when_the_next_one_is_given(runtime: Runtime) -> None:
    kept = answer(runtime, rows_of(4))
    before = kept.copy()
    answer(runtime, rows_of(4) + 1)

    np.testing.assert_array_equal(kept, before)


def test_a_row_alone_is_answered_as_in_a_batch(runtime: Runtime) -> None:
    rows = rows_of(65)
    alone = np.concatenate([answer(runtime, rows[at : at + 1]) for at in range(len(rows))])

    np.testing.assert_allclose(answer(runtime, rows), alone, rtol=1e-5, atol=1e-6)


def test_a_poisoned_row_does_not_touch_its_batch_mates(runtime: Runtime) -> None:
    rows = rows_of(17)
    poisoned = rows.copy()
    poisoned[8] = np.nan
    mates = np.arange(17) != 8

    np.testing.assert_allclose(
        answer(runtime, poisoned)[mates], answer(runtime, rows)[mates], rtol=1e-5, atol=1e-6
    )


def test_rows_that_only_view_a_request_body_are_answered(runtime: Runtime) -> None:
    rows = rows_of(3)
    view = np.frombuffer(rows.tobytes(), np.float32).reshape(rows.shape)

    np.testing.assert_array_equal(answer(runtime, view), answer(runtime, rows))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    "rows",
    [
        np.full((2, 29), 123456.0, np.float32),
        np.full((2, 30), 123456.0, np.float64),
        np.full((2, 30, 1), 123456.0, np.float32),
    ],
    ids=["narrow", "float64", "deep"],
)
def test_rows_the_framework_refuses_raise_one_typed_error_without_their_values(
    bundles: dict[str, Bundle], kind: str, rows: NDArray[Any]
) -> None:
    runtime = open_runtime(bundles[kind])

    with pytest.raises(RuntimeFailedError) as caught:
        runtime.predict({"features": rows})
    assert caught.value.model == kind
    assert "123456" not in str(caught.value)


@pytest.mark.parametrize("kind", MODELS)
def test_a_runtime_answers_after_it_failed(bundles: dict[str, Bundle], kind: str) -> None:
    runtime = open_runtime(bundles[kind])
    before = answer(runtime, rows_of(2))
    with pytest.raises(RuntimeFailedError):
        answer(runtime, np.zeros((2, 29), np.float32))

    np.testing.assert_array_equal(answer(runtime, rows_of(2)), before)


@pytest.mark.parametrize("kind", MODELS)
def test_a_device_that_is_not_there_is_refused_when_loading(
    bundles: dict[str, Bundle], kind: str
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    bundle = bundles[kind]
    spec = bundle.manifest.runtime.model_copy(update={"device": "cuda"})
    manifest = bundle.manifest.model_copy(update={"runtime": spec})

    with pytest.raises(RuntimeFailedError, match="there is no CUDA device"):
        open_runtime(Bundle(bundle.path, manifest, bundle.digest, bundle.digests))


def test_the_device_is_chosen_by_itself_when_it_is_auto(bundles: dict[str, Bundle]) -> None:
    for kind in MODELS:
        bundle = bundles[kind]
        spec = bundle.manifest.runtime.model_copy(update={"device": "auto"})
        manifest = bundle.manifest.model_copy(update={"runtime": spec})
        chosen = open_runtime(Bundle(bundle.path, manifest, bundle.digest, bundle.digests))
        here = open_runtime(bundle)

        np.testing.assert_allclose(
            answer(chosen, rows_of(3)), answer(here, rows_of(3)), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize(
    "layout",
    [lambda rows: rows[::-1], np.asfortranarray, lambda rows: np.repeat(rows, 2, axis=0)[::2]],
    ids=["backwards", "fortran", "strided"],
)
def test_rows_are_answered_however_they_lie_in_memory(
    runtime: Runtime, layout: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    rows = layout(rows_of(6))

    np.testing.assert_array_equal(answer(runtime, rows), answer(runtime, rows.copy(order="C")))


def test_rows_that_are_read_only_stay_as_they_are(runtime: Runtime) -> None:
    rows = rows_of(4)
    rows.flags.writeable = False
    before = rows.copy()

    answer(runtime, rows)
    np.testing.assert_array_equal(rows, before)


def test_answers_come_in_the_order_of_the_rows(runtime: Runtime) -> None:
    rows = rows_of(50)
    order = np.random.default_rng(RNG_SEED).permutation(50)

    np.testing.assert_allclose(
        answer(runtime, rows[order]), answer(runtime, rows)[order], rtol=1e-5, atol=1e-6
    )
