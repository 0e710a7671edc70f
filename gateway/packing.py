"""`handrail pack`: from files on disk to a bundle."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.registry.keys import local_signing_key
from models.bundle import Bundle
from models.model_yaml import parse_manifest
from models.pack import pack
from models.signing import SigningKey

LABELS = "labels"  # the one name in an .npz of rows that is not an input


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read an .npz of plain arrays.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not hold plain arrays.
    """
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def pack_files(
    manifest: Path,
    artifact: Path | None,
    *,
    reference: Path,
    held_out: Path,
    out: Path,
    signing_key: Path | None,
    state: Path | None,
) -> Bundle:
    """Pack a bundle, signed with ``signing_key`` or with the local key of ``state``.

    The files of the ladder's models are taken from beside the artifact, or beside the manifest.

    Raises:
        ValueError: a file of rows does not hold plain arrays, or a model of the ladder is missing.
        GuardError, ModelError, OSError: as `models.pack.pack` says.
    """
    if signing_key is not None:
        key = SigningKey.load(signing_key)
    else:
        assert state is not None
        key = local_signing_key(state / "keys")
    promised = parse_manifest(manifest.read_bytes())
    rows = read_arrays(reference)
    labels = rows.pop(LABELS, None)
    unseen = read_arrays(held_out)
    unseen_labels = unseen.pop(LABELS, None)
    return pack(
        promised,
        artifact,
        reference=rows,
        held_out=unseen,
        out=out,
        key=key,
        rungs={rung.file: _find(rung.file, manifest, artifact) for rung in promised.model_rungs},
        reference_labels=labels,
        held_out_labels=unseen_labels,
    )


def _find(file: str, manifest: Path, artifact: Path | None) -> Path:
    """Look for a model of the ladder where its bundle comes from."""
    for beside in (artifact, manifest):
        if beside is not None and (beside.parent / file).is_file():
            return beside.parent / file
    raise ValueError(f"{file}, a model of the ladder, lies beside neither artifact nor manifest")
