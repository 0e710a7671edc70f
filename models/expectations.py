"""What a model promises: operational expectations, and measures of right and wrong."""

from pydantic import Field

from guards.settings import Settings


class Expectations(Settings):
    """What the model promises; each is judged to hold, be violated, or be unknown."""

    latency_ms: float = Field(100.0, gt=0, description="Budget of one request, guards included.")
    availability: float = Field(0.999, gt=0, le=1, description="Share of requests answered.")
    fallback_share: float | None = Field(None, ge=0, le=1, description="At most this share.")
    accuracy: float | None = Field(None, ge=0, le=1, description="Share of labelled rows right.")
    error_rate: float | None = Field(None, ge=0, le=1, description="At most this share wrong.")
    balanced_accuracy: float | None = Field(
        None, ge=0, le=1, description="Accuracy within each class, averaged."
    )
    macro_f1: float | None = Field(None, ge=0, le=1, description="F1 of each class, averaged.")
    auroc: float | None = Field(
        None, ge=0, le=1, description="Of two classes: a positive row scores above a negative one."
    )
    log_loss: float | None = Field(None, ge=0, description="Mean surprise in nats, at most.")
    brier: float | None = Field(None, ge=0, le=2, description="Mean squared distance, at most.")
    mae: float | None = Field(None, ge=0, description="Mean absolute error, at most.")
    mse: float | None = Field(None, ge=0, description="Mean squared error, at most.")
    rmse: float | None = Field(None, ge=0, description="Root of the mean squared error, at most.")
    r2: float | None = Field(None, le=1, description="Share of the labels' variance explained.")
    ndcg: float | None = Field(None, ge=0, le=1, description="Of rankings, by their rewards.")
    reciprocal_rank: float | None = Field(
        None, ge=0, le=1, description="One over the place of the first rewarded slot, averaged."
    )
    hit_rate: float | None = Field(
        None, ge=0, le=1, description="Share of rankings of which a slot was rewarded."
    )
    worst_slice: float | None = Field(
        None, ge=0, le=1, description="Accuracy of every slice that has labels enough."
    )

    def measures(self) -> dict[str, float]:
        """List the promised measures of right and wrong, accuracy and slices aside."""
        apart = {"latency_ms", "availability", "fallback_share", "accuracy", "worst_slice"}
        return self.model_dump(exclude=apart, exclude_none=True)
