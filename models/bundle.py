"""What a bundle holds: its manifest, and what was learnt when it was packed.

A bundle is a flat directory.  ``digests.json`` names every other file by its sha256, and
``digests.sig`` signs ``digests.json``; the digest of ``digests.json`` is the bundle's own name.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from guards.errors import ForeignDetectorError, GuardError
from guards.outlier.guard import OutlierGuard
from guards.output.calibration import OutputCalibration
from guards.output.guard import OutputGuard
from guards.schema import SchemaGuard
from guards.stress.power import PowerCard
from guards.verdict import Rows
from models.bytes_tensor import from_fixed
from models.errors import BundleError
from models.held_out import HeldOut
from models.manifest import Manifest
from models.mapped import map_arrays
from models.output_layout import class_reading, output_layout
from models.runtime.protocol import Tensors
from models.seal import read_verified
from models.traffic import Watched

MANIFEST_FILE = "model.yaml"
GUARDS_FILE = "guards.npz"
REFERENCE_FILE = "reference.npz"
GOLDEN_FILE = "golden.npz"
ENVIRONMENT_FILE = "environment.json"
CALIBRATION_FILE = "calibration.npz"  # absent where no held-out row had a label
HELD_OUT_FILE = "held_out.npz"  # absent where no held-out row had a label, and before it
DRIFT_FILE = "drift.npz"  # absent in bundles made before it
POWER_FILE = "power.json"  # absent where a model takes no numbers, and in bundles made before it

MAX_POWER_BYTES = 1 << 20  # 50 probes take 40 kB
MAX_ARRAYS_BYTES = 1 << 30  # guards, reference and golden rows are samples, capped when packed


# What zipfile, zlib and numpy raise on archives that lie; a lying shape asks for too much memory.
BROKEN_ARCHIVE = (
    ValueError, OSError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose content was verified."""

    path: Path
    manifest: Manifest
    digest: str
    digests: Mapping[str, str]  # of every file but the digests themselves and their signature
    rung: str = ""  # the file of the ladder's model that this stands for; "" for the model itself

    @property
    def rungs(self) -> "tuple[Bundle, ...]":
        """Each model rung of the ladder, as a bundle whose model it is."""
        manifest = self.manifest
        return tuple(
            replace(self, manifest=manifest.of_rung(rung), rung=rung.file)
            for rung in manifest.model_rungs
        )

    def read(self, name: str) -> bytes:
        """Read one file, verified again: what is used is what was vouched for.

        Raises:
            BundleError: the file changed since the bundle was opened.
        """
        return read_verified(self.path, name, self.digests)


@dataclass(frozen=True, slots=True)
class GuardSet:
    """The guards of one model, ready to judge."""

    schema: SchemaGuard
    outlier: OutlierGuard | None
    output: OutputGuard


@dataclass(frozen=True, slots=True)
class Reference:
    """A sample of what the model was trained on, with what it answers."""

    inputs: Tensors
    outputs: Tensors
    labels: NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class Golden:
    """Rows whose features and outputs were recorded when the bundle was packed."""

    inputs: Tensors
    features: Rows
    outputs: Tensors


def load_guards(bundle: Bundle) -> GuardSet:
    """Rebuild the fitted guards, exactly as they were packed."""
    spec = bundle.manifest.guards
    outlier = None
    if spec.outlier is not None:
        state = _group(_load_arrays(bundle, GUARDS_FILE), "outlier")
        try:
            state |= map_arrays(bundle.path, bundle.read)
            outlier = OutlierGuard.from_arrays(state, spec.outlier)
        except ForeignDetectorError as error:
            raise BundleError(bundle.path.name, str(error)) from error
        except (KeyError, ValueError, IndexError, TypeError, GuardError) as error:
            problem = f"{GUARDS_FILE} does not hold the state of the outlier guard"
            raise BundleError(bundle.path.name, problem) from error
    return GuardSet(SchemaGuard(spec.schema_), outlier, _load_output_guard(bundle))


def _load_output_guard(bundle: Bundle) -> OutputGuard:
    signature, settings = bundle.manifest.signature, bundle.manifest.guards.output
    layout = output_layout(signature, settings)
    return OutputGuard(settings, layout, calibration=_load_calibration(bundle))


def _load_calibration(bundle: Bundle) -> OutputCalibration | None:
    """Read what was learnt about the answers; nothing is known of those of a rung's model."""
    reading = class_reading(bundle.manifest.signature.answer)
    settings = bundle.manifest.guards.output.prediction_set
    if bundle.rung or reading is None:
        return None
    if CALIBRATION_FILE not in bundle.digests:
        if settings is not None:
            problem = f"guards.output.prediction_set needs {CALIBRATION_FILE}"
            raise BundleError(bundle.path.name, problem)
        return None
    try:
        state = _load_arrays(bundle, CALIBRATION_FILE)
        return OutputCalibration.from_arrays(state, reading, settings)
    except (KeyError, ValueError, TypeError) as error:
        problem = f"{CALIBRATION_FILE} does not hold the calibration of the outputs"
        raise BundleError(bundle.path.name, problem) from error


def load_power_card(bundle: Bundle) -> PowerCard | None:
    """Read what the guards were measured to notice; None where nobody measured it.

    Raises:
        BundleError: the file is no power card.
    """
    if POWER_FILE not in bundle.digests:
        return None
    try:
        return parse_power_card(bundle.read(POWER_FILE))
    except ValueError as error:
        raise BundleError(bundle.path.name, f"{POWER_FILE}: {error}") from error


def parse_power_card(content: bytes) -> PowerCard:
    """Read ``power.json``.

    Raises:
        ValueError: it is no power card; the sentence repeats nothing of it.
    """
    if len(content) > MAX_POWER_BYTES:
        raise ValueError(f"larger than {MAX_POWER_BYTES} bytes")
    try:
        return PowerCard.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"not a power card at {where!r}: {first['msg']}") from error


def load_watched(bundle: Bundle) -> Watched | None:
    """Read what traffic was; None where nobody noted it.

    Raises:
        BundleError: the file does not hold it.
    """
    if DRIFT_FILE not in bundle.digests:
        return None
    try:
        return Watched.from_arrays(_load_arrays(bundle, DRIFT_FILE))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        problem = f"{DRIFT_FILE} does not hold the reference of the drift monitors"
        raise BundleError(bundle.path.name, problem) from error


def load_held_out(bundle: Bundle) -> HeldOut | None:
    """Read what is known of held-out rows; None where nobody labelled them.

    Raises:
        BundleError: the file does not hold it.
    """
    if HELD_OUT_FILE not in bundle.digests:
        return None
    try:
        return HeldOut.from_arrays(_load_arrays(bundle, HELD_OUT_FILE))
    except (KeyError, ValueError) as error:
        problem = f"{HELD_OUT_FILE} does not hold labelled rows"
        raise BundleError(bundle.path.name, problem) from error


def load_reference(bundle: Bundle) -> Reference:
    """Read the sample of training rows."""
    arrays = _load_arrays(bundle, REFERENCE_FILE)
    return Reference(_group(arrays, "input"), _group(arrays, "output"), arrays.get("labels"))


def load_golden(bundle: Bundle) -> Golden:
    """Read the rows that must reproduce; of a rung, with the outputs of that rung.

    Raises:
        BundleError: the file holds no features, or lacks an output of the signature.
    """
    arrays = _load_arrays(bundle, GOLDEN_FILE)
    if "features" not in arrays:
        raise BundleError(bundle.path.name, f"{GOLDEN_FILE} holds no features")
    recorded = _group(arrays, golden_group(bundle.rung))
    outputs = {}
    for spec in bundle.manifest.signature.outputs:
        if spec.name not in recorded:
            problem = f"{GOLDEN_FILE} holds no {golden_group(bundle.rung)}/{spec.name}"
            raise BundleError(bundle.path.name, problem)
        outputs[spec.name] = recorded[spec.name]
    return Golden(_group(arrays, "input"), arrays["features"], outputs)


def golden_group(rung: str) -> str:
    """Name the group of golden outputs of a rung's file; of the model itself for ""."""
    return f"rung/{rung}" if rung else "output"


def _load_arrays(bundle: Bundle, file: str) -> dict[str, NDArray[Any]]:
    """Read an .npz file of plain arrays; nothing in it is ever unpickled."""
    content = bundle.read(file)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
        if unpacked_bytes > MAX_ARRAYS_BYTES:
            raise BundleError(bundle.path.name, f"{file} unpacks to {unpacked_bytes} bytes")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: _loaded(arrays[name]) for name in arrays.files}
    except BROKEN_ARCHIVE as error:
        raise BundleError(bundle.path.name, f"{file} does not hold plain arrays") from error


def _loaded(array: NDArray[Any]) -> NDArray[Any]:
    return from_fixed(array) if array.dtype.kind == "S" else array


def _group(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Select ``prefix/name`` as ``name``."""
    start = prefix + "/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
