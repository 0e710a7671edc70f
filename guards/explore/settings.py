"""What a manifest says of the choice that a model's answer is, and how it may be randomised."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from guards.explore.policies import (
    CostAware,
    EpsilonGreedy,
    FromModel,
    Greedy,
    Shape,
    SingleMixture,
    SinglePolicy,
    SlatePolicy,
    UniformReject,
)
from guards.explore.policies import PlackettLuce as PlackettLuce
from guards.explore.swap import SLOTS_MAX as SWAP_SLOTS_MAX
from guards.explore.swap import Scheme
from guards.settings import Settings

FLOOR_LEAST = 1e-3  # weights of estimates stay at 1,000 or below; see `floor`
SLOTS_MAX = 256

Mode = Literal["off", "shadow", "apprentice", "on"]
Id = int | str


class Unit(Settings):
    """What a decision is sticky to: a unit meets the same numbers until its epoch ends."""

    input: str | None = Field(None, description="Input whose first element names the unit.")
    parameter: str | None = Field(None, description="Request parameter that names the unit.")
    epoch_s: float = Field(86_400.0, gt=0, description="How long the numbers stay the same.")

    @model_validator(mode="after")
    def _is_named(self) -> "Unit":
        if (self.input is None) == (self.parameter is None):
            raise ValueError("a unit is named by an input or by a request parameter")
        return self


class Budget(Settings):
    """How much score all exploration together may give up; each replica has its share of it."""

    regret: float = Field(gt=0, description="Expected regret of all replicas in any window.")
    window_s: float = Field(3600.0, gt=0)


class Explored(Settings):
    """What all kinds of choice have in common."""

    mode: Mode = Field(
        "on",
        description="off: greedy. shadow: draw and record, serve greedy. apprentice: draw and "
        "record, serve the baseline. on: serve what is drawn.",
    )
    scores: str | None = Field(None, description="Output of the scores; none: the model's answer.")
    unit: Unit | None = Field(None, description="None: every request is a unit of its own.")
    exempt: str | None = Field(
        None, description="Input, BOOL or integer: rows that are never explored where it is not 0."
    )
    max_expected_regret: float | None = Field(
        None, gt=0, description="Per decision: less is randomised until this holds."
    )
    budget: Budget | None = None
    unit_cap: int | None = Field(
        None, ge=1, description="Decisions per unit and epoch that may be randomised, all replicas."
    )

    @model_validator(mode="after")
    def _caps_units(self) -> "Explored":
        if self.unit_cap is not None and self.unit is None:
            raise ValueError("unit_cap needs a unit")
        return self


class NoExplore(Settings):
    """The answer is no choice; nothing is ever drawn."""

    kind: Literal["none"] = "none"


class SingleExplore(Explored):
    """One action of several: a class, or one of a list of candidates."""

    kind: Literal["single"] = "single"
    policy: SinglePolicy = EpsilonGreedy()
    ids: str | None = Field(
        None, description="Input of the candidates' ids; none: an action is a column of the scores."
    )
    eligible: str | None = Field(
        None, description="Input, BOOL or integer: what may be served is not 0."
    )
    baseline: str | None = Field(
        None, description="Input, integer: not 0 at the action that an apprentice serves."
    )
    excluded: tuple[Id, ...] = Field((), description="Ids (columns) that are never served.")
    floor: float = Field(
        FLOOR_LEAST, ge=0, le=0.5, description="Least probability of every action; 1/propensity."
    )
    force_floor: bool = Field(False, description="Accept a floor below 0.001.")
    max_regret: float | None = Field(
        None, ge=0, description="Actions whose score is further below the best are never served."
    )

    @model_validator(mode="after")
    def _bounds_weights(self) -> "SingleExplore":
        if self.floor < FLOOR_LEAST and not self.force_floor:
            raise ValueError(
                f"a floor of {self.floor:g} lets one row of a log outweigh {1 / FLOOR_LEAST:.0f} "
                "others; at least 0.001, or force_floor: true"
            )
        _check_apprentice(self.mode, self.baseline)
        if isinstance(self.policy, SingleMixture) and any(
            isinstance(part.policy, FromModel) for part in self.policy.parts
        ):
            raise ValueError("a distribution of the model's own is no part of a mixture")
        return self


class ColdStart(Settings):
    """One slot that now and then shows what nobody knows yet."""

    slot: int = Field(ge=1, description="From 1.")
    share: float = Field(0.1, gt=0, le=1, description="How often the slot is reserved.")
    weights: str = Field(
        description="Input: remaining quota of each candidate; 0: not in the pool."
    )


class SwapPairs(Settings):
    """Swap neighbours of the greedy ranking, to learn what a position is worth."""

    scheme: Scheme = "fair_pairs"
    share: float = Field(1.0, gt=0, le=1, description="Of decisions.")


class SlateExplore(Explored):
    """A ranking of candidates, of which the first slots are served."""

    kind: Literal["slate"] = "slate"
    ids: str = Field(description="Input of the candidates' ids, INT64 or BYTES.")
    slots: int = Field(ge=1, le=SLOTS_MAX, description="How many are served.")
    policy: SlatePolicy = EpsilonGreedy()
    eligible: str | None = Field(
        None, description="Input, BOOL or integer: what may be served is not 0."
    )
    baseline: str | None = Field(
        None, description="Input, integer: slot, from 1, that an apprentice gives a candidate."
    )
    excluded: tuple[Id, ...] = Field((), description="Ids that are never served.")
    pinned: dict[int, Id] = Field(
        {}, description="Slot, from 1, to the id that has it wherever it is a candidate."
    )
    floor: float = Field(
        0.0, ge=0, le=0.5, description="Least probability of every candidate at every slot."
    )
    max_regret: float | None = Field(
        None, ge=0, description="Candidates further below the last greedy slot are never drawn."
    )
    cold_start: ColdStart | None = None
    swap_pairs: SwapPairs | None = None

    @model_validator(mode="after")
    def _fits_slots(self) -> "SlateExplore":
        _check_apprentice(self.mode, self.baseline)
        if any(not 1 <= slot <= self.slots for slot in self.pinned):
            raise ValueError(f"pinned slots must be 1 to {self.slots}")
        if len(set(self.pinned.values())) != len(self.pinned):
            raise ValueError("an id can be pinned to one slot only")
        if self.cold_start is not None and self.cold_start.slot > self.slots:
            raise ValueError(f"cold_start.slot must be 1 to {self.slots}")
        if self.swap_pairs is not None:
            self._check_swap()
        return self

    def _check_swap(self) -> None:
        if not isinstance(self.policy, Greedy) or self.cold_start is not None or self.floor:
            raise ValueError("swap_pairs disturbs the greedy ranking: policy {kind: greedy}, alone")
        if not 2 <= self.slots <= SWAP_SLOTS_MAX:
            raise ValueError(f"swap_pairs needs 2 to {SWAP_SLOTS_MAX} slots")


class ThresholdExplore(Explored):
    """Approve or deny, where the label is only seen if approved.

    Never explore on protected attributes, sanctions or what the law decides: exempt those rows.
    """

    kind: Literal["threshold"] = "threshold"
    threshold: float = Field(description="Scores below it are approved (see ``approve``).")
    approve: Literal["below", "above"] = Field(
        "below", description="Which side of the threshold is approved."
    )
    hard_stop: float = Field(description="Beyond it nobody is approved, whatever is drawn.")
    shape: Shape = UniformReject()
    column: int = Field(0, ge=0, description="Of the scores.")
    exposure: str | None = Field(None, description="Input: the amount at stake.")
    max_exposure: float | None = Field(
        None, gt=0, description="Rows with more at stake are never explored."
    )

    @model_validator(mode="after")
    def _is_ordered(self) -> "ThresholdExplore":
        sign = 1 if self.approve == "below" else -1
        if sign * self.hard_stop < sign * self.threshold:
            raise ValueError(f"hard_stop must not be {self.approve} threshold")
        if (self.exposure is None) != (self.max_exposure is None):
            raise ValueError("exposure and max_exposure go together")
        if self.mode == "apprentice":
            raise ValueError("a threshold has no baseline to serve; use mode shadow")
        if isinstance(self.shape, CostAware) and self.shape.least > self.shape.most:
            raise ValueError("shape.least must not be above shape.most")
        return self


ExploreSettings = Annotated[
    NoExplore | SingleExplore | SlateExplore | ThresholdExplore, Field(discriminator="kind")
]


def _check_apprentice(mode: Mode, baseline: str | None) -> None:
    if mode == "apprentice" and baseline is None:
        raise ValueError("an apprentice needs the baseline that is served instead")
