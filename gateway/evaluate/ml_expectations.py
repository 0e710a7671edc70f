"""Measures of right and wrong as expectations: judged by labels, and by nothing else."""

from collections.abc import Mapping, Sequence

from gateway.evaluate.expectations import Expectation, expectation, unknown
from gateway.evaluate.quality_report import SliceReport
from guards.quality.expectation import Judgement, State, judge_measured, no_labels
from guards.quality.measured import LEAST_ROWS, Measured
from guards.quality.metrics import METRICS, OF_CLASSES, OF_NUMBERS
from guards.quality.ranked_sums import RANKED
from guards.quality.scored_measured import LARGER_IS_BETTER
from models.manifest import Manifest
from models.output_layout import class_reading
from models.prediction import answers_classes

SCORED = tuple(LARGER_IS_BETTER)


def judge_measures(
    manifest: Manifest,
    measured: Mapping[str, Measured],
    slices: Sequence[SliceReport],
    *,
    own_rows: int,
) -> tuple[Expectation, ...]:
    """Judge what the live version promises beside its accuracy.

    Args:
        manifest: Of the live version.
        measured: Its measures, by name.
        slices: Its accuracy by slice.
        own_rows: Rows that it answered itself; said while there is no label.
    """
    judged = [
        expectation(name, "ml", target, _judge(manifest, name, target, measured, own_rows))
        for name, target in manifest.expectations.measures().items()
    ]
    worst = manifest.expectations.worst_slice
    if worst is not None:
        judgement = (
            judge_slices(worst, slices)
            if answers_classes(manifest.signature)
            else unknown("the model answers numbers: accuracy is about classes")
        )
        judged.append(expectation("worst_slice", "ml", worst, judgement))
    return tuple(judged)


def judge_slices(target: float, slices: Sequence[SliceReport]) -> Judgement:
    """Judge whether every slice with labels enough is right often enough.

    One slice below is a violation; each interval has its share of alpha, so that the worst of
    many slices is not found guilty by luck.
    """
    judged = [
        (one, judge_measured(target, one.metric.measured, larger_is_better=True)) for one in slices
    ]
    if not judged:
        return unknown(f"no slice has {LEAST_ROWS} labels yet")
    worst = min(judged, key=lambda pair: pair[0].metric.high or 0.0)
    state = State.HOLDS
    for wanted in (State.UNKNOWN, State.VIOLATED):
        found = [pair for pair in judged if pair[1].state is wanted]
        if found:
            state, worst = wanted, min(found, key=lambda pair: pair[0].metric.high or 0.0)
    one, told = worst
    reason = f"{one.by}={one.value}: {told.reason}; {len(judged)} slices"
    return Judgement(state, reason, told.estimate, told.low, told.high)


def _judge(
    manifest: Manifest,
    name: str,
    target: float,
    measured: Mapping[str, Measured],
    own_rows: int,
) -> Judgement:
    reason = _misfit(manifest, name)
    if reason:
        return unknown(reason)
    if name not in measured:
        return unknown("no rewards yet" if name in RANKED else no_labels(own_rows))
    of_labels = METRICS.get(name)
    # Of what is not measured by labels, rankings and the AUROC are better the larger.
    larger = LARGER_IS_BETTER.get(name, True) if of_labels is None else of_labels.larger_is_better
    return judge_measured(target, measured[name], larger_is_better=larger, total=own_rows)


def _misfit(manifest: Manifest, name: str) -> str:
    """Say why a measure can never be taken of this model; "" if it can."""
    signature = manifest.signature
    if name in RANKED:
        is_ranking = manifest.explore.kind == "slate"
        return "" if is_ranking else f"the model explores no rankings: {name} is about them"
    if name in SCORED:
        reading = class_reading(signature.answer)
        if reading is None:
            return f"the model answers no probabilities: {name} is about them"
        is_apart = name == "auroc" and reading.classes != 2
        return "the model knows more than two classes: auroc is about two" if is_apart else ""
    if name in OF_CLASSES and not answers_classes(signature):
        return f"the model answers numbers: {name} is about classes"
    if name in OF_NUMBERS and answers_classes(signature):
        return f"the model answers classes: {name} is about numbers"
    return ""
