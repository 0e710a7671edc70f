"""Does the model still do what it did when it was packed?"""

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import ENVIRONMENT_FILE, Bundle, load_golden
from models.errors import BundleError
from models.features import feature_rows
from models.manifest import Manifest
from models.runtime.fitting import RowLimit, predict_fitting
from models.runtime.protocol import Runtime

# float32 arithmetic in another order (another CPU, a GPU) stays within these; a change does not.
RTOL = 1e-3
ATOL = 1e-4
# BF16 keeps 8 bits of a number and FP16 11, and every layer of a network rounds to them.
RTOL_16_BIT = 3e-2
ATOL_16_BIT = 1e-2

LIBRARIES = ("numpy", "onnxruntime", "torch")
DISTRIBUTIONS = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime")}  # either one carries it


def check_golden(
    bundle: Bundle, runtime: Runtime, *, rtol: float | None = None, atol: float | None = None
) -> None:
    """Repeat the golden rows: raw inputs to features, and to outputs.

    Args:
        bundle: With ``bundle.rung`` set, the outputs of that rung are compared.
        runtime: Of the bundle's model, or of that rung.
        rtol: Relative difference of numbers that still count as the same; None: as much as the
            precision of the model makes between two devices.
        atol: Absolute difference, likewise.

    Raises:
        BundleError: a stage gives something else than was recorded; says which and by how much.
        RuntimeFailedError: the model does not answer at all.
    """
    is_16_bit = _is_16_bit(bundle.manifest)
    rtol = rtol if rtol is not None else (RTOL_16_BIT if is_16_bit else RTOL)
    atol = atol if atol is not None else (ATOL_16_BIT if is_16_bit else ATOL)
    golden = load_golden(bundle)
    features = feature_rows(golden.inputs, bundle.manifest.signature)
    _compare(bundle, "features", golden.features, features, rtol=rtol, atol=atol)
    outputs = predict_fitting(runtime, golden.inputs, limit=RowLimit(bundle.manifest.name))
    of_rung = f"rung {bundle.rung}: " if bundle.rung else ""
    for name, recorded in golden.outputs.items():
        _compare(bundle, f"{of_rung}output {name}", recorded, outputs[name], rtol=rtol, atol=atol)


def _is_16_bit(manifest: Manifest) -> bool:
    outputs = {spec.datatype for spec in manifest.signature.outputs}
    return manifest.runtime.autocast is not None or bool(outputs & {"FP16", "BF16"})


def environment_fingerprint() -> dict[str, str]:
    """Versions of what a model's answer depends on, without importing any of it."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}".lower(),
        **{library: _version(library) for library in LIBRARIES},
    }


def environment_changes(bundle: Bundle) -> dict[str, tuple[str, str]]:
    """What differs between where the bundle was packed and here: name -> (there, here).

    Raises:
        BundleError: the fingerprint in the bundle cannot be read.
    """
    here = environment_fingerprint()
    there = _packed_environment(bundle)
    absent = "absent"
    return {
        name: (there.get(name, absent), here.get(name, absent))
        for name in sorted(there.keys() | here.keys())
        if there.get(name, absent) != here.get(name, absent)
    }


def _packed_environment(bundle: Bundle) -> Mapping[str, str]:
    problem = f"{ENVIRONMENT_FILE} does not map names to versions"
    try:
        found = json.loads(bundle.read(ENVIRONMENT_FILE))
    except (ValueError, RecursionError) as error:
        raise BundleError(bundle.path.name, problem) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BundleError(bundle.path.name, problem)
    return found


def _version(library: str) -> str:
    for distribution in DISTRIBUTIONS.get(library, (library,)):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "absent"


def _compare(
    bundle: Bundle,
    stage: str,
    recorded: NDArray[Any],
    found: NDArray[Any],
    *,
    rtol: float,
    atol: float,
) -> None:
    if recorded.shape != found.shape:
        problem = f"golden rows: {stage} came as {found.shape}, recorded {recorded.shape}"
        raise BundleError(bundle.path.name, problem)
    if recorded.dtype == np.object_:
        differ = int((found != recorded).sum())
        if differ:
            problem = f"golden rows: {stage} differ in {differ} of {recorded.size} elements"
            raise BundleError(bundle.path.name, problem)
    elif not np.allclose(found, recorded, rtol=rtol, atol=atol, equal_nan=True):
        problem = f"golden rows: {stage} differ by up to {_largest_gap(found, recorded):.3g}"
        raise BundleError(bundle.path.name, problem)


def _largest_gap(found: NDArray[Any], recorded: NDArray[Any]) -> float:
    """Find the largest difference; NaN if a value came or went."""
    with np.errstate(invalid="ignore"):  # infinity from infinity
        gaps = np.abs(np.subtract(found, recorded, dtype=np.float64))
    return float(gaps[~((found == recorded) | (np.isnan(found) & np.isnan(recorded)))].max())
