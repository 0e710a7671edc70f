"""What a model may ask of its outlier guard."""

from typing import Literal

from pydantic import Field, model_validator

from guards.outlier.conformal import Aim
from guards.outlier.foreign import PyodSettings
from guards.settings import Settings
from guards.verdict import ActionName, Mode

DetectorName = Literal[
    "auto", "mixture", "neighbours", "whitened",
    "outputs", "classwise", "rmds", "gen", "vim", "energy", "max_logit", "msp", "pyod",
]  # fmt: skip


class OutlierSettings(Settings):
    """Settings of `OutlierGuard`."""

    detector: DetectorName = Field(
        default="auto", description="Which scores are mixed; auto: what pseudo-anomalies favour."
    )
    pyod: PyodSettings | None = Field(
        default=None, description="Which detector of PyOD, and how, for detector pyod."
    )
    reads: Literal["auto", "features", "outputs"] = Field(
        default="auto",
        description="What is judged; auto: outputs, where the model names logits or an embedding.",
    )
    alpha: float = Field(
        0.01, gt=0, lt=1, description="Share of ordinary rows we accept to judge strange."
    )
    delta: float = Field(
        0.05, gt=0, lt=1, description="Probability that the calibration rows mislead us about it."
    )
    calibration: Mode = Field(
        default="pac",
        description="pac: alpha holds with confidence 1 - delta.  marginal: on average.  cross: on "
        "average, 2 alpha at worst, from the reference itself, for when rows are few.",
    )
    per_class: bool = Field(
        default=False,
        description="An own threshold for every class that the model predicts and that enough "
        "held-out rows belong to; where the guard reads outputs.",
    )
    two_sided: bool = Field(
        default=False, description="Rows that are too typical are strange as well."
    )
    action: ActionName = Field(default="flag", description="What a strange row leads to.")
    dry_run: bool | Literal["until_confirmed"] = Field(
        default="until_confirmed",
        description="Judge and record, but allow every row.  until_confirmed: as long as nobody "
        "confirmed the false alarms on live traffic, if strange rows would be stopped.",
    )
    on_error: Literal["open", "closed"] = Field(
        default="open", description="What happens to a row if the guard itself fails."
    )
    reference_rows: int = Field(
        4096, ge=64, le=65536, description="Reference rows kept; cost per row grows with them."
    )
    neighbours: int = Field(
        default=5, ge=1, le=50, description="Nearest reference rows averaged over."
    )
    name_nearest: bool = Field(
        default=False,
        description="Name the reference row most like a strange one: it may be a person.",
    )

    @model_validator(mode="after")
    def _names_its_detector(self) -> "OutlierSettings":
        if (self.detector == "pyod") != (self.pyod is not None):
            raise ValueError("detector pyod and the settings pyod go together: both or neither")
        return self

    @property
    def aim(self) -> Aim:
        """What the threshold is to promise."""
        return Aim(self.alpha, self.delta, self.calibration, self.two_sided)
