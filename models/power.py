"""Draw the power card of a model version: which probes fit its inputs, which guards judge them."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from guards.outlier.guard import OutlierGuard
from guards.schema import SchemaGuard
from guards.stress.images import image_probes
from guards.stress.power import Budget, Notice, PowerCard, Promise, Spoil, measure
from guards.stress.probes import PROBES
from guards.verdict import Action, Rows
from models.bundle import GuardSet
from models.features import feature_rows
from models.frames import image_inputs
from models.manifest import Signature
from models.outlier import Predict, outputs_of
from models.runtime.protocol import Tensors


def draw_power_card(
    signature: Signature,
    guards: GuardSet,
    held_out: Tensors,
    *,
    predict: Predict,
    budget: Budget,
    clock: Callable[[], float],
) -> PowerCard | None:
    """Measure what the input guards notice; None where there are no numbers to spoil.

    Args:
        signature: Of the model; its tensors say which columns are an image.
        guards: As they will serve.
        held_out: Raw inputs that no guard was fitted on.
        predict: Asks the model, for a guard that judges its outputs.
        budget: Rows and seconds to spend.
        clock: Monotonic, in seconds.
    """
    rows = feature_rows(held_out, signature)
    if not rows.shape[1]:
        return None
    rows = rows[~np.isinf(rows).any(axis=1)]  # gaps stay: rows of a model may always have some
    probes = _probes(signature, rows)
    judges = _judges(guards)
    if guards.outlier is not None and guards.outlier.reads == "outputs":
        judges[OutlierGuard.name] = _after_inference(guards.outlier, held_out, signature, predict)
    measured = measure(probes, rows, judges, budget=budget, clock=clock)
    return PowerCard(
        promise=None if guards.outlier is None else _promise(guards.outlier),
        ordinary=measured.ordinary,
        probes=measured.probes,
        skipped=measured.skipped,
        seed=budget.seed,
    )


def _probes(signature: Signature, rows: Rows) -> Mapping[str, Spoil]:
    """Choose what to try: whatever happens to any row, then what happens to images."""
    probes: dict[str, Spoil] = dict(PROBES)
    framed = image_inputs(signature, rows)
    for name, frame, columns in framed:
        prefix = f"{name}." if len(framed) > 1 else ""
        probes |= {f"{prefix}{kind}": probe for kind, probe in image_probes(frame, columns).items()}
    return probes


def _judges(guards: GuardSet) -> dict[str, Notice]:
    judges: dict[str, Notice] = {SchemaGuard.name: lambda rows: _is_noticed(guards.schema, rows)}
    outlier = guards.outlier
    if outlier is not None:
        judges[OutlierGuard.name] = outlier.is_strange
    return judges


def _after_inference(
    outlier: OutlierGuard, held_out: Tensors, signature: Signature, predict: Predict
) -> Notice:
    """Judge rows by what the model makes of them; inputs that are no numbers stay the first."""

    def notice(rows: Rows) -> NDArray[np.bool_]:
        like = {name: np.repeat(array[:1], len(rows), axis=0) for name, array in held_out.items()}
        return outlier.is_strange(outputs_of(rows, like, signature, predict))

    return notice


def _is_noticed(schema: SchemaGuard, rows: Rows) -> NDArray[np.bool_]:
    return np.asarray(schema.check(rows).actions > Action.ALLOW)


def _promise(outlier: OutlierGuard) -> Promise:
    calibration = outlier.calibration
    guarantee = outlier.guarantee
    return Promise(
        alpha=guarantee.alpha,
        delta=guarantee.delta,
        n=guarantee.n,
        rank=calibration.rank,
        mode=guarantee.mode,
        threshold=outlier.threshold,
        detector=outlier.detector_name,
    )
