"""Open a bundle: nothing is parsed before its digests hold and someone trusted vouched for them."""

from pathlib import Path

from models.bundle import (
    ENVIRONMENT_FILE,
    GOLDEN_FILE,
    GUARDS_FILE,
    MANIFEST_FILE,
    REFERENCE_FILE,
    Bundle,
    load_power_card,
)
from models.errors import ArtifactError, BundleError, ManifestError
from models.model_yaml import parse_manifest
from models.seal import check_content, read_seal, read_verified
from models.signing import TrustedKeys
from models.signing import digest as digest_of

REQUIRED_FILES = (MANIFEST_FILE, GUARDS_FILE, REFERENCE_FILE, GOLDEN_FILE, ENVIRONMENT_FILE)


def open_bundle(path: Path, trusted: TrustedKeys, *, trust_code: bool = False) -> Bundle:
    """Verify a bundle from outside: signature, digests, manifest, artifact, in this order.

    Args:
        path: The bundle's directory.
        trusted: Whose signature is accepted.
        trust_code: Accept an artifact that is a program, which may do anything when it runs.

    Raises:
        BundleError: with the first thing that is wrong; nothing of the bundle was run.
    """
    sealed, signature = read_seal(path)
    if trusted.verify(sealed, signature) is None:
        raise BundleError(path.name, "not signed by a trusted key")
    bundle = _open_sealed(path, sealed)
    for model in (bundle, *bundle.rungs):
        _check_runtime(model, trust_code)
    load_power_card(bundle)  # people will be shown it
    return bundle


def open_verified(path: Path, digest: str) -> Bundle:
    """Open a bundle that `open_bundle` accepted before, when it had the digest ``digest``.

    The recorded digest takes the place of the signature, and the artifact is not inspected
    again: the same digest means the same bytes.

    Raises:
        BundleError: the bundle is no longer what was accepted.
    """
    sealed, _ = read_seal(path)
    if digest_of(sealed) != digest:
        raise BundleError(path.name, "not the bundle that was registered: its digest differs")
    return _open_sealed(path, sealed)


def _open_sealed(path: Path, sealed: bytes) -> Bundle:
    digests = check_content(path, sealed)
    for file in REQUIRED_FILES:
        if file not in digests:
            raise BundleError(path.name, f"{file} is missing")
    content = read_verified(path, MANIFEST_FILE, digests)
    try:
        manifest = parse_manifest(content)
    except ManifestError as error:
        raise BundleError(path.name, str(error)) from error
    if manifest.runtime.file is not None and manifest.runtime.file not in digests:
        raise BundleError(path.name, "model.yaml: runtime.file is not in the bundle")
    for rung in manifest.model_rungs:
        if rung.file not in digests:
            raise BundleError(path.name, f"model.yaml: fallback {rung.file} is not in the bundle")
    return Bundle(path, manifest, digest_of(sealed), digests)


def _check_runtime(bundle: Bundle, trust_code: bool) -> None:
    runtime = bundle.manifest.runtime
    if runtime.kind == "torch" and not trust_code:
        problem = "a torch.export program is code; pass --trust-code to accept it"
        raise BundleError(bundle.path.name, problem)
    if runtime.kind == "torch" or runtime.file is None:
        return
    try:
        _inspect(bundle, runtime.file)
    except ArtifactError as error:
        raise BundleError(bundle.path.name, str(error)) from error


def _inspect(bundle: Bundle, file: str) -> None:
    """Look into an artifact that is data: is it what the manifest says?"""
    signature, architecture = bundle.manifest.signature, bundle.manifest.runtime.architecture
    # Imported here: onnx takes 0.3 s, and only registration looks into artifacts.
    if architecture is None:
        from models.artifact import inspect_onnx

        inspect_onnx(bundle.path / file, signature, listed=bundle.digests)
    else:
        from models.weights import read_weights

        read_weights(bundle.read(file), file, architecture, signature)
