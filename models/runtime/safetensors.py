"""Weights in safetensors, run by a registered architecture."""

from models.bundle import Bundle
from models.errors import ArtifactError, RuntimeFailedError
from models.runtime.architectures.catalog import BUILDERS
from models.runtime.protocol import Runtime
from models.weights import read_weights


def load_architecture(bundle: Bundle) -> Runtime:
    """Bring the bundle's weights to life.

    Raises:
        RuntimeFailedError: they do not fit, or not on the device asked for.
    """
    manifest = bundle.manifest
    spec = manifest.runtime
    assert spec.file is not None  # the manifest says so of this kind
    assert spec.architecture is not None
    content = bundle.read(spec.file)
    try:
        weights = read_weights(content, spec.file, spec.architecture, manifest.signature)
    except ArtifactError as error:
        raise RuntimeFailedError(manifest.name, str(error)) from error
    return BUILDERS[spec.architecture](weights.config, weights.tensors, manifest)
