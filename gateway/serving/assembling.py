"""What goes back: outputs in the requested order, provenance, verdicts."""

from typing import Any

from numpy.typing import NDArray

from gateway.errors import NothingToServeError
from gateway.serving.chooser import Decided
from gateway.serving.item import Item
from gateway.serving.progress import Answer, Progress
from gateway.serving.requested import pick_outputs
from gateway.serving.verdicts import Verdicts
from gateway.serving.versions import LoadedVersion


def assemble(progress: Progress, *, left_ns: int) -> Answer:
    """Put the answer together: that of the ladder, where there is one, else the model's.

    Args:
        progress: Of a request that has an answer.
        left_ns: Time left to its deadline.

    Raises:
        NothingToServeError: the answer is a choice, and no candidate may be served.
    """
    envelope, version, item = progress.envelope, progress.version, progress.item
    judged, fallback = progress.judged, progress.fallback
    assert envelope is not None
    assert version is not None
    assert item is not None
    if fallback is not None:
        outputs, classes, version = fallback.outputs, fallback.predicted, fallback.version
        decided = _greedily(version, item, outputs)
    else:
        assert judged is not None
        assert judged.outputs is not None
        assert judged.predicted is not None
        outputs, classes, decided = judged.outputs, judged.predicted, judged.decided
    verdicts = Verdicts(judged, item.rows, decided, certainty=progress.certainty())
    return Answer(
        envelope=envelope,
        version=version,
        outputs=pick_outputs(outputs, envelope, verdicts),
        predicted=classes,
        served_by="model" if fallback is None else fallback.served_by,
        fallback_reason=progress.fallback_reason,
        verdicts=verdicts,
        left_ns=left_ns,
        cache_age_ns=0 if fallback is None else fallback.cache_age_ns,
    )


def _greedily(
    version: LoadedVersion, item: Item, outputs: dict[str, NDArray[Any]]
) -> Decided | None:
    """Choose from the answer of a rung; it is never explored.

    Raises:
        NothingToServeError: no candidate may be served.
    """
    if version.chooser is None:
        return None
    decided = version.chooser.greedily(
        item.prediction_id, item.asked, item.inputs, outputs, why="fallback"
    )
    if decided is None:
        raise NothingToServeError
    return decided
