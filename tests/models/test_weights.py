"""What is refused in a file of weights before anything is built from it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from models.bundle import Bundle
from models.bytes_tensor import as_elements
from models.errors import ArtifactError, BundleError
from models.manifest import ArchitectureName, Manifest, RuntimeSpec, Signature, TensorSpec
from models.opening import open_bundle
from models.pack import pack
from models.runtime.architectures.catalog import BUILDERS, CONFIGS
from models.runtime.architectures.seq2seq import Seq2seq
from models.runtime.architectures.seq2seq_config import Seq2seqConfig
from models.runtime.catalog import open_runtime
from models.seal import seal
from models.signing import SigningKey, TrustedKeys
from models.weights import read_weights

CONFIG: dict[str, Any] = {
    "source_words": ["one", "two", "-two"],
    "target_words": ["un", "deux"],
    "embedding": 3,
    "hidden": 2,
    "max_source_tokens": 4,
    "max_target_tokens": 5,
}


def text_signature(**changes: Any) -> Signature:
    given = {"name": "english", "datatype": "BYTES", "shape": (-1,), **changes}
    return Signature(
        inputs=(TensorSpec(**given),),
        outputs=(TensorSpec(name="french", datatype="BYTES", shape=(-1, 1)),),
    )


def tensors() -> dict[str, NDArray[Any]]:
    shapes = Seq2seqConfig(**CONFIG).shapes()
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def file_of(config: Any = None, **changes: NDArray[Any]) -> bytes:
    text = json.dumps(CONFIG if config is None else config)
    content: bytes = save(tensors() | changes, {"config": text})
    return content


def refusal(content: bytes, signature: Signature | None = None) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_weights(content, "w.safetensors", "seq2seq", signature or text_signature())
    return str(caught.value)


def test_every_architecture_has_a_name_a_config_and_a_builder() -> None:
    names = set(ArchitectureName.__args__)  # type: ignore[attr-defined]

    assert names == set(CONFIGS) == set(BUILDERS)


def test_the_config_names_exactly_the_weights_of_the_network() -> None:
    config = Seq2seqConfig(**CONFIG)
    found = {name: tuple(w.shape) for name, w in Seq2seq(config).state_dict().items()}

    assert found == config.shapes()


def test_weights_that_fit_are_read_as_they_were_written() -> None:
    read = read_weights(file_of(), "w", "seq2seq", text_signature())

    assert read.config == Seq2seqConfig(**CONFIG)
    for name, array in tensors().items():
        np.testing.assert_array_equal(read.tensors[name], array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04K\x01.",
        b"\xff" * 16,
        file_of()[:-1],
        file_of() + b"\0",
        (4).to_bytes(8, "little") + b"[[]]",
    ],
    ids=["empty", "pickle", "huge header", "cut", "trailing", "a list"],
)
def test_what_is_no_safetensors_file_is_refused(content: bytes) -> None:
    assert refusal(content) == "w.safetensors is not a safetensors file"


def test_a_tensor_that_nobody_would_use_is_refused() -> None:
    assert "1 tensors that its architecture does not" in refusal(file_of(extra=np.zeros(1)))


def test_a_missing_tensor_is_refused() -> None:
    rest = {name: array for name, array in tensors().items() if name != "score.bias"}

    assert refusal(save(rest, {"config": json.dumps(CONFIG)})) == "w.safetensors lacks score.bias"


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros(5, np.float32), "score.bias is F32 [5], expected F32 [4]"),
        (np.zeros((4, 1), np.float32), "score.bias is F32 [4, 1], expected F32 [4]"),
        (np.zeros(4, np.float64), "score.bias is F64 [4], expected F32 [4]"),
        (np.full(4, np.nan, np.float32), "holds a weight that is not finite"),
    ],
)
def test_a_tensor_of_another_shape_type_or_kind_is_refused(
    array: NDArray[Any], problem: str
) -> None:
    assert problem in refusal(file_of(**{"score.bias": array}))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"hidden": 0}, "hidden"),
        ({"hidden": 10**9}, "hidden"),
        ({"max_target_tokens": 10**9}, "max_target_tokens"),
        ({"source_words": []}, "source_words"),
        ({"source_words": ["one", "one"]}, "source_words"),
        ({"source_words": ["one two"]}, "source_words"),
        ({"source_words": ["x" * 65]}, "source_words"),
        ({"layers": 2}, "layers"),
    ],
)
def test_a_config_out_of_bounds_is_refused(changes: dict[str, Any], where: str) -> None:
    assert refusal(file_of(CONFIG | changes)).startswith(f"w.safetensors: seq2seq config {where}")


@pytest.mark.parametrize("config", [[], "text", {}])
def test_a_config_of_another_form_is_refused(config: Any) -> None:
    assert "seq2seq config" in refusal(file_of(config))


def test_a_file_without_config_is_refused() -> None:
    assert "must hold its config" in refusal(save(tensors()))


def test_a_refusal_never_repeats_the_file() -> None:
    config = CONFIG | {"hidden": "secret", "secret": "secret"}

    assert "'secret'" not in refusal(file_of(config))
    assert '"secret"' not in refusal(file_of(config))


@pytest.mark.parametrize("changes", [{"datatype": "FP32"}, {"shape": (-1, 2)}])
def test_a_signature_that_is_not_text_to_text_is_refused(changes: dict[str, Any]) -> None:
    assert "one BYTES tensor" in refusal(file_of(), text_signature(**changes))


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "safetensors", "file": "w"},
        {"kind": "onnx", "file": "w", "architecture": "seq2seq"},
        {"kind": "safetensors", "file": "w", "architecture": "elsewhere"},
    ],
)
def test_an_architecture_goes_with_weights_and_is_a_registered_one(spec: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="architecture"):
        RuntimeSpec.model_validate(spec)


@pytest.fixture
def bundle(key: SigningKey, tmp_path: Path) -> Bundle:
    (tmp_path / "w.safetensors").write_bytes(file_of())
    texts = {"english": np.array(["one", "two"])}
    manifest = Manifest(
        name="tiny",
        version="1",
        runtime=RuntimeSpec(kind="safetensors", file="w.safetensors", architecture="seq2seq"),
        signature=text_signature(),
    )
    return pack(
        manifest,
        tmp_path / "w.safetensors",
        reference=texts,
        held_out=texts,
        out=tmp_path / "tiny",
        key=key,
    )


def test_a_bundle_of_weights_is_data_and_needs_no_trust(
    bundle: Bundle, trusted: TrustedKeys
) -> None:
    assert open_bundle(bundle.path, trusted) == bundle


def test_a_signed_bundle_whose_weights_do_not_fit_is_refused(
    bundle: Bundle, key: SigningKey, trusted: TrustedKeys
) -> None:
    (bundle.path / "w.safetensors").write_bytes(file_of(extra=np.zeros(1)))
    for name in ("digests.json", "digests.sig"):
        (bundle.path / name).unlink()
    seal(bundle.path, key)

    with pytest.raises(BundleError, match="does not have"):
        open_bundle(bundle.path, trusted)


def test_a_network_that_never_ends_is_cut_off(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_end(network: Seq2seq, tokens: torch.Tensor, read: Any, state: Any) -> Any:
        logits = torch.zeros(len(tokens), 1, 4)
        logits[..., 3] = 1  # "deux", for ever
        return logits, state

    monkeypatch.setattr(Seq2seq, "decode", never_end)
    said = open_runtime(bundle).predict({"english": as_elements([b"one"], (1,))})["french"]

    assert said.tolist() == [[b"deux deux deux deux deux"]]


def test_the_answer_has_the_shape_of_the_signature(bundle: Bundle) -> None:
    inputs = {"english": as_elements([b"one", b"two two", b""], (3,))}
    answer = open_runtime(bundle).predict(inputs)["french"]

    assert answer.shape == (3, 1)
    assert all(isinstance(text, bytes) for text in answer.reshape(-1).tolist())
