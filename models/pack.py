"""Make a bundle: fit and calibrate its guards, record what the model answers, seal it."""

import filecmp
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.schema import SchemaSettings
from guards.stress.power import Budget
from models.bundle import ENVIRONMENT_FILE, GUARDS_FILE, MANIFEST_FILE, Bundle, load_guards
from models.bundle_files import (
    choose,
    predict,
    save_arrays,
    save_calibration,
    save_golden,
    save_held_out,
    save_power_card,
    save_reference,
    save_watched,
    take,
)
from models.bytes_tensor import to_elements
from models.calibration import check_ordinary_answers
from models.contract import infer_contract
from models.errors import ArtifactError, BundleError
from models.features import feature_names as name_features
from models.manifest import DTYPES, Manifest, Signature, TensorSpec
from models.mapped import save_mapped
from models.model_yaml import render_manifest
from models.opening import open_bundle, open_verified
from models.outlier import fit_outlier
from models.parity import environment_fingerprint
from models.runtime.catalog import open_runtime
from models.runtime.protocol import Runtime, Tensors
from models.seal import digest_files, seal
from models.signing import SigningKey, TrustedKeys
from models.slices import slice_values

POWER_BUDGET = Budget()
NO_RUNGS: Mapping[str, Path] = MappingProxyType({})


def pack(
    manifest: Manifest,
    artifact: Path | None,
    *,
    reference: Tensors,
    held_out: Tensors,
    out: Path,
    key: SigningKey,
    rungs: Mapping[str, Path] = NO_RUNGS,
    feature_names: Sequence[str] = (),
    reference_labels: NDArray[Any] | None = None,
    held_out_labels: NDArray[Any] | None = None,
    golden_rows: int = 64,
    power_budget: Budget = POWER_BUDGET,
    seed: int = 0,
) -> Bundle:
    """Write the bundle of one model version to ``out`` and open it.

    The directory appears complete or not at all.

    Args:
        manifest: What the model promises; features that its schema lacks are inferred.
        artifact: The model file; ONNX external data is taken from beside it.  None: constant.
        reference: Raw inputs that the guards learn from, usually the training rows.
        held_out: Raw inputs that neither model nor guards learnt from; they set the thresholds.
        out: Where to write; must not exist, or be an empty directory.
        key: Signs the bundle.
        rungs: Where each file of the ladder's model rungs lies, by its name in the manifest.
        feature_names: One per column of `feature_rows`; after the tensors if empty.
        reference_labels: Shape (n,), the labels of ``reference``.
        held_out_labels: Shape (n,), what is true of ``held_out``; they calibrate the confidence,
            and label-free estimates of quality start from them.
        golden_rows: How many held-out rows must reproduce from now on.
        power_budget: What may be spent on measuring how much the guards notice.
        seed: Chooses the rows that are kept.

    Raises:
        BundleError: ``out`` is taken, or the bundle would be refused at registration.
        CalibrationTooSmallError: too few held-out rows for the false-alarm rate asked for.
        RuntimeFailedError: the model does not answer the rows.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(out.name, "there is something at this place already")
    out.parent.mkdir(parents=True, exist_ok=True)
    signature = manifest.signature
    reference, held_out = _conform(reference, signature), _conform(held_out, signature)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pack-") as staging:
        draft = Path(staging) / out.name
        draft.mkdir()
        _copy_models(manifest, artifact, rungs, draft=draft)
        runtime = open_runtime(Bundle(draft, manifest, "", digest_files(draft)))
        manifest = _fit_guards(
            manifest, reference, held_out, draft=draft, runtime=runtime, names=feature_names
        )
        slice_values(manifest, held_out)  # refuses slices by what is not there
        if held_out_labels is not None:
            rng = np.random.default_rng(seed)
            save_held_out(draft, manifest, runtime, held_out, labels=held_out_labels, rng=rng)
        save_calibration(draft, manifest, runtime, held_out, labels=held_out_labels)
        (draft / MANIFEST_FILE).write_bytes(render_manifest(manifest))
        unsealed = Bundle(draft, manifest, "", digest_files(draft))
        rng = np.random.default_rng(seed)
        save_reference(draft, runtime, reference, labels=reference_labels, rng=rng)
        golden = take(held_out, choose(held_out, golden_rows, rng))
        models = {rung.rung: open_runtime(rung) for rung in unsealed.rungs} | {"": runtime}
        save_golden(draft, models, golden, signature=signature)
        guards = load_guards(unsealed)
        answers = predict(runtime, golden)
        check_ordinary_answers(guards.output, manifest.guards.output, signature, answers)
        save_watched(
            draft, unsealed, guards, runtime, reference, held_out, names=feature_names, rng=rng
        )
        save_power_card(draft, guards, held_out, runtime, signature, budget=power_budget)
        environment = json.dumps(environment_fingerprint(), indent=1)
        (draft / ENVIRONMENT_FILE).write_text(environment + "\n")
        digest = seal(draft, key)
        # Refuse here what registration would refuse; the packer trusts its own program.
        open_bundle(draft, TrustedKeys.of([key.public]), trust_code=True)
        os.replace(draft, out)
    return open_verified(out, digest)


def _conform(inputs: Tensors, signature: Signature) -> dict[str, NDArray[Any]]:
    """Check rows against the signature and give them its datatypes."""
    names = [spec.name for spec in signature.inputs]
    if set(inputs) != set(names):
        raise ValueError(f"the signature takes {sorted(names)}, the rows are {sorted(inputs)}")
    rows = len(inputs[names[0]])
    for spec in signature.inputs:
        if inputs[spec.name].shape != (rows, *spec.row_shape) or rows == 0:
            wanted = ["n", *spec.row_shape]
            raise ValueError(f"{spec.name} must be {wanted}, got {inputs[spec.name].shape}")
    return {spec.name: _cast(inputs[spec.name], spec) for spec in signature.inputs}


def _cast(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    if spec.datatype == "BYTES":
        return to_elements(array)
    return np.ascontiguousarray(array, DTYPES[spec.datatype])


def _copy_models(
    manifest: Manifest, artifact: Path | None, rungs: Mapping[str, Path], *, draft: Path
) -> None:
    """Take the model and every model of its ladder into the draft."""
    file = manifest.runtime.file
    if (artifact is None) != (file is None):
        raise ValueError("runtime.file and the artifact go together: both or neither")
    wanted = sorted(rung.file for rung in manifest.model_rungs)
    if sorted(rungs) != wanted:
        raise ValueError(f"the ladder's models are {wanted}, the files given {sorted(rungs)}")
    if artifact is not None and file is not None:
        _copy_model(artifact, draft / file, kind=manifest.runtime.kind)
    for rung in manifest.model_rungs:
        _copy_model(rungs[rung.file], draft / rung.file, kind=rung.kind)


def _copy_model(source: Path, target: Path, *, kind: str) -> None:
    """Copy a model file, with the external data of an ONNX model."""
    _copy(source, target)
    if kind != "onnx":
        return
    # Imported here: onnx takes 0.3 s, and not every bundle holds ONNX.
    from models.artifact import external_files, load_onnx

    draft = target.parent
    try:
        external = external_files(load_onnx(source))
    except ArtifactError as error:
        raise BundleError(draft.name, str(error)) from error
    for name in external:
        if Path(name).name != name:
            raise BundleError(draft.name, "external data must lie beside the artifact")
        _copy(source.parent / name, draft / name)


def _copy(source: Path, target: Path) -> None:
    """Copy a file; two models may share external data, but never overwrite each other's."""
    if target.exists() and not filecmp.cmp(source, target, shallow=False):
        raise BundleError(target.parent.name, f"two models bring different files {target.name}")
    shutil.copyfile(source, target)


def _fit_guards(
    manifest: Manifest,
    reference: Tensors,
    held_out: Tensors,
    *,
    draft: Path,
    runtime: Runtime,
    names: Sequence[str],
) -> Manifest:
    """Write the fitted state and return the manifest with the features that were seen."""
    signature, guards = manifest.signature, manifest.guards
    name_features(signature, names)  # refuses names that do not fit
    state: Mapping[str, NDArray[Any]] = {}
    if guards.outlier is not None:
        outlier = fit_outlier(
            guards.outlier,
            signature,
            reference,
            held_out,
            predict=partial(predict, runtime),
            names=names,
        )
        state = save_mapped(draft, outlier.to_arrays())
    save_arrays(draft / GUARDS_FILE, outlier=state)
    if guards.schema_.features:
        return manifest
    features = infer_contract(reference, signature, names)
    # Built anew, so that it is checked: rules need their fields, and imputing needs defaults.
    schema = SchemaSettings(
        features=features, rules=guards.schema_.rules, on_violation=guards.schema_.on_violation
    )
    return manifest.model_copy(update={"guards": guards.model_copy(update={"schema_": schema})})
