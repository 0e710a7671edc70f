"""Does what a manifest says of its choice agree with the tensors it has?"""

from collections.abc import Collection

from guards.explore.policies import CostAware, FromModel
from guards.explore.settings import (
    ExploreSettings,
    NoExplore,
    SingleExplore,
    SlateExplore,
    ThresholdExplore,
)
from models.signature import Signature, TensorSpec

WHOLE = frozenset({"BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"})
IDS = frozenset({"INT64", "BYTES"})
NUMBERS = WHOLE | {"FP16", "FP32", "FP64", "BF16"}


def scores_of(explore: ExploreSettings, signature: Signature) -> TensorSpec:
    """Find the output of the scores.

    Raises:
        ValueError: there is none of this name.
    """
    if isinstance(explore, NoExplore) or explore.scores is None:
        return signature.answer
    return _find(signature.outputs, explore.scores, "explore.scores", "output")


def are_rows_candidates(explore: ExploreSettings, signature: Signature) -> bool:
    """Tell how a request lists candidates.

    With one score per row, the rows of a request are the candidates of one decision.  With
    several, every row is a decision of its own over as many candidates.
    """
    if not isinstance(explore, SingleExplore | SlateExplore):
        return False
    return scores_of(explore, signature).row_width == 1


def check_choice(explore: ExploreSettings, signature: Signature) -> None:
    """Raise ValueError where a tensor is missing, of the wrong datatype, or of the wrong width."""
    if isinstance(explore, NoExplore):
        return
    scores = scores_of(explore, signature)
    if scores.datatype not in NUMBERS:
        raise ValueError(f"explore needs scores of numbers; {scores.name} is {scores.datatype}")
    if isinstance(explore, ThresholdExplore):
        _check_threshold(explore, signature, scores)
    else:
        _check_candidates(explore, signature, scores)
    if explore.exempt is not None:
        _check_input(signature, explore.exempt, "exempt", WHOLE, 1)
    if explore.unit is not None and explore.unit.input is not None:
        _check_input(signature, explore.unit.input, "unit.input", WHOLE | {"BYTES"}, None)


def _check_threshold(explore: ThresholdExplore, signature: Signature, scores: TensorSpec) -> None:
    if explore.column >= scores.row_width:
        raise ValueError(f"explore.column: {scores.name} has {scores.row_width} columns")
    if isinstance(explore.shape, CostAware):
        _check_input(signature, explore.shape.cost, "shape.cost", NUMBERS, 1)
    if explore.exposure is not None:
        _check_input(signature, explore.exposure, "exposure", NUMBERS, 1)


def _check_candidates(
    explore: SingleExplore | SlateExplore, signature: Signature, scores: TensorSpec
) -> None:
    width = scores.row_width
    if explore.ids is not None:
        _check_input(signature, explore.ids, "ids", IDS, width)
        is_text = _find(signature.inputs, explore.ids, "ids", "input").datatype == "BYTES"
        pinned = explore.pinned.values() if isinstance(explore, SlateExplore) else ()
        if any(isinstance(item, str) != is_text for item in (*explore.excluded, *pinned)):
            raise ValueError("explore: excluded and pinned are strings for BYTES, else integers")
    elif width == 1:
        raise ValueError("explore: one score per row needs ids, or there is nothing to choose from")
    elif any(not isinstance(item, int) or not 0 <= item < width for item in explore.excluded):
        raise ValueError(f"explore.excluded: columns are 0 to {width - 1}")
    if explore.eligible is not None:
        _check_input(signature, explore.eligible, "eligible", WHOLE, width)
    if explore.baseline is not None:
        _check_input(signature, explore.baseline, "baseline", WHOLE, width)
    if isinstance(explore, SlateExplore) and explore.cold_start is not None:
        _check_input(signature, explore.cold_start.weights, "cold_start.weights", NUMBERS, width)
    if isinstance(explore, SingleExplore) and isinstance(explore.policy, FromModel):
        own = _find(signature.outputs, explore.policy.output, "explore.policy.output", "output")
        if own.row_width != width or own.datatype not in NUMBERS:
            raise ValueError(f"explore.policy.output: {own.name} must be {width} numbers")


def _check_input(
    signature: Signature, name: str, field: str, datatypes: Collection[str], width: int | None
) -> None:
    spec = _find(signature.inputs, name, f"explore.{field}", "input")
    if spec.datatype not in datatypes:
        wanted = ", ".join(sorted(datatypes))
        raise ValueError(f"explore.{field}: {name} is {spec.datatype}, it must be one of {wanted}")
    if width is not None and spec.row_width != width:
        raise ValueError(f"explore.{field}: {name} must be {width} wide, as the scores")


def _find(specs: tuple[TensorSpec, ...], name: str, field: str, kind: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise ValueError(f"{field} names no {kind}: {name}")
