"""What a model says about itself: metadata, and the configuration that load generators read.

Source: Open Inference Protocol, ``inference_rest.md``; Triton's
``extension_model_configuration.md`` and ``model_config.proto``, whose names and units these are.
"""

from collections.abc import Iterable
from typing import Any

from gateway.serving.versions import LoadedVersion, View
from models.manifest import TensorSpec

Json = dict[str, Any]

PLATFORMS = {
    "onnx": "onnxruntime_onnx",
    "torch": "pytorch_export",
    "safetensors": "pytorch_safetensors",
    "constant": "handrail_constant",
}
BACKENDS = {
    "onnx": "onnxruntime",
    "torch": "pytorch",
    "safetensors": "pytorch",
    "constant": "handrail",
}
KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "cuda": "KIND_GPU"}
NUMBER_DIGITS = 18  # Triton's versions are int64; a longer one of ours has no place there


def describe_model(view: View, version: LoadedVersion) -> Json:
    """Name the versions that answer, and every tensor with its batch dimension."""
    signature = version.manifest.signature
    return {
        "name": version.manifest.name,
        "versions": answering(view),
        "platform": PLATFORMS[version.manifest.runtime.kind],
        "inputs": [_metadata(spec) for spec in signature.inputs],
        "outputs": [_metadata(spec) for spec in signature.outputs],
    }


def configure_model(view: View, version: LoadedVersion, *, max_rows: int) -> Json:
    """Say how the model is served.

    Args:
        view: What is warm.
        version: The one asked about.
        max_rows: Of a micro-batch; a request may hold more, and then goes alone.
    """
    manifest = version.manifest
    runtime, signature = manifest.runtime, manifest.signature
    return {
        "name": manifest.name,
        "platform": PLATFORMS[runtime.kind],
        "backend": BACKENDS[runtime.kind],
        "version_policy": {"specific": {"versions": _numbers(answering(view))}},
        "max_batch_size": max_rows,
        "input": [_configuration(spec) for spec in signature.inputs],
        "output": [_configuration(spec) for spec in signature.outputs],
        "dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 0},
        "instance_group": [{"name": manifest.name, "kind": KINDS[runtime.device], "count": 1}],
        "default_model_filename": runtime.file or "",
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},  # old answers are for the ladder only
        "parameters": {
            "bundle_digest": {"string_value": version.ref.digest},
            "latency_ms": {"string_value": f"{manifest.expectations.latency_ms:g}"},
        },
    }


def answering(view: View) -> list[str]:
    """Versions that a client can ask by name: all that are warm except a shadow."""
    table = view.table
    return sorted(name for name in view.loaded if name != table.shadow or name == table.live)


def _metadata(spec: TensorSpec) -> Json:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _configuration(spec: TensorSpec) -> Json:
    """Describe a tensor by its rows: with a largest batch given, the batch goes without saying."""
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": spec.row_shape}


def _numbers(versions: Iterable[str]) -> list[int]:
    return [int(name) for name in versions if name.isdecimal() and len(name) <= NUMBER_DIGITS]
