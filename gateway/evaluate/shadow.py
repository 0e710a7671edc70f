"""A shadow version: it answers captured payloads, in a process of its own, and serves nobody."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.dying import end_process
from gateway.evaluate.payloads import array_of
from gateway.record.decision import JUDGED_ROWS_MAX, Payload
from models.bundle import load_guards
from models.errors import NotTextError, RuntimeFailedError, StickyDeviceError
from models.features import feature_rows, text_tensors
from models.imputation import impute
from models.manifest import DTYPES
from models.opening import open_verified
from models.parity import check_golden
from models.prediction import predicted
from models.runtime.catalog import open_runtime

BATCH_ROWS = 256  # in one call of the model

_Inputs = dict[str, NDArray[Any]]
_payloads = msgspec.msgpack.Decoder(Payload)


class ShadowModel:
    """A loaded version that never answers a client."""

    def __init__(self, bundle_dir: Path, digest: str) -> None:
        """Load it, and see its golden rows reproduced.

        Args:
            bundle_dir: A bundle that was accepted when it was registered.
            digest: The bundle's, as it was then.

        Raises:
            ModelError: it is another bundle now, or does not load or reproduce.
        """
        bundle = open_verified(bundle_dir, digest)
        self._signature = bundle.manifest.signature
        self._schema = load_guards(bundle).schema
        self._runtime = open_runtime(bundle)
        check_golden(bundle, self._runtime)

    def predict(self, payloads: Sequence[Payload | bytes]) -> list[list[float] | None]:
        """Answer each payload with one number per row; None where that was not possible.

        A payload cannot be answered if inputs were redacted, or the model fails on its rows;
        it takes no other payload with it.
        """
        inputs = [self._inputs(payload) for payload in payloads]
        answers: list[list[float] | None] = [None] * len(inputs)
        for batch in _batches(inputs):
            for i, answer in zip(
                batch, self._answer([inputs[i] or {} for i in batch]), strict=True
            ):
                answers[i] = answer
        return answers

    def _inputs(self, payload: Payload | bytes) -> _Inputs | None:
        """Turn a payload into the arrays of the signature; None if something is missing."""
        try:
            if isinstance(payload, bytes):
                payload = _payloads.decode(payload)
            arrays = {tensor.name: array_of(tensor) for tensor in payload.inputs}
        except (msgspec.DecodeError, KeyError, ValueError):
            return None
        specs = self._signature.inputs
        rows = {len(array) for array in arrays.values() if array.ndim}
        fits = len(rows) == 1 and all(
            spec.name in arrays and arrays[spec.name].shape[1:] == spec.row_shape for spec in specs
        )
        return {spec.name: arrays[spec.name] for spec in specs} if fits else None

    def _answer(self, inputs: Sequence[_Inputs]) -> list[list[float] | None]:
        """Ask the model once about several payloads; about each alone if that fails."""
        stacked = {
            spec.name: np.concatenate([one[spec.name] for one in inputs]).astype(
                DTYPES[spec.datatype], copy=False
            )
            for spec in self._signature.inputs
        }
        rows = feature_rows(stacked, self._signature)
        judged = self._schema.check(rows, text_tensors(stacked, self._signature))
        stacked = impute(stacked, judged.repairs, self._signature)
        try:
            values = predicted(self._runtime.predict(stacked), self._signature)
        except StickyDeviceError as error:
            end_process(error)
        except (RuntimeFailedError, NotTextError):
            if len(inputs) == 1:
                return [None]
            return [answer for one in inputs for answer in self._answer([one])]
        stops = np.cumsum([_rows(one) for one in inputs])
        parts = np.split(values, stops[:-1])
        return [part[:JUDGED_ROWS_MAX].tolist() for part in parts]


def _rows(inputs: _Inputs) -> int:
    return len(next(iter(inputs.values())))


def _batches(inputs: Sequence[_Inputs | None]) -> Iterator[list[int]]:
    """Group what can be answered into calls of `BATCH_ROWS`, or one payload that has more."""
    batch: list[int] = []
    rows = 0
    for i, one in enumerate(inputs):
        if one is None:
            continue
        if batch and rows + _rows(one) > BATCH_ROWS:
            yield batch
            batch, rows = [], 0
        batch.append(i)
        rows += _rows(one)
    if batch:
        yield batch
