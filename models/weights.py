"""Look into a safetensors file: are these the weights of the architecture, and nothing else?

Such a file is data.  The code that runs it is ours: a registered architecture, whose sizes and
words stand as JSON under ``config`` in the file's metadata.

Source: the format, https://github.com/huggingface/safetensors, section "Format".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from pydantic import ValidationError

from models.errors import ArtifactError
from models.manifest import ArchitectureName, Signature
from models.runtime.architectures.catalog import CONFIGS
from models.runtime.architectures.config import ArchitectureConfig

CONFIG_KEY = "config"
MAX_CONFIG_BYTES = 16 << 20  # twice 65,536 words take 9 MB at most
LENGTH_BYTES = 8  # of the header's length, in front of it
DTYPE = "F32"
_FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class Weights:
    """What brings an architecture to life."""

    config: ArchitectureConfig
    tensors: Mapping[str, NDArray[np.float32]]


def read_weights(
    content: bytes, file: str, architecture: ArchitectureName, signature: Signature
) -> Weights:
    """Read a file, and refuse it unless it fits the architecture and the signature exactly.

    Args:
        content: The whole file.
        file: What errors call it.
        architecture: Whose weights they should be.
        signature: What the manifest promises.

    Raises:
        ArtifactError: with the first thing that is wrong.
    """
    try:
        found = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ArtifactError(f"{file} is not a safetensors file") from error
    config = _read_config(content, file, architecture)
    config.check_signature(signature)
    _check_tensors(found, config.shapes(), file)
    tensors = {
        name: np.frombuffer(tensor["data"], _FLOAT32).reshape(tensor["shape"])
        for name, tensor in found.items()
    }
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise ArtifactError(f"{file} holds a weight that is not finite")
    return Weights(config, tensors)


def write_config(config: ArchitectureConfig) -> dict[str, str]:
    """Give the metadata of a file for weights of ``config``."""
    return {CONFIG_KEY: config.model_dump_json()}


def _read_config(content: bytes, file: str, architecture: ArchitectureName) -> ArchitectureConfig:
    stop = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    metadata = json.loads(content[LENGTH_BYTES:stop]).get("__metadata__") or {}
    text = metadata.get(CONFIG_KEY, "")
    if not text or len(text) > MAX_CONFIG_BYTES:
        raise ArtifactError(f"{file} must hold its config, of at most {MAX_CONFIG_BYTES} bytes")
    try:
        return CONFIGS[architecture].model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        problem_text = f"{file}: {architecture} config {where}: {problem['msg']}"
    raise ArtifactError(problem_text)  # outside: the cause would repeat the input


def _check_tensors(
    found: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, tuple[int, ...]], file: str
) -> None:
    if odd := sorted(found.keys() - shapes.keys()):
        raise ArtifactError(f"{file} holds {len(odd)} tensors that its architecture does not have")
    if absent := sorted(shapes.keys() - found.keys()):
        raise ArtifactError(f"{file} lacks {', '.join(absent[:3])}")
    for name, shape in shapes.items():
        tensor = found[name]
        if tensor["dtype"] != DTYPE or tuple(tensor["shape"]) != shape:
            got = f"{tensor['dtype']} {list(tensor['shape'])}"
            raise ArtifactError(f"{file}: {name} is {got}, expected {DTYPE} {list(shape)}")
