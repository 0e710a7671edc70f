"""How probability is spread over what may be chosen: the policies of a manifest, as settings."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from guards.settings import Settings


class Greedy(Settings):
    """The model's own choice, for certain."""

    kind: Literal["greedy"] = "greedy"


class EpsilonGreedy(Settings):
    """Uniform with probability epsilon, else the best; slates: at every slot, of what is left."""

    kind: Literal["epsilon_greedy"] = "epsilon_greedy"
    epsilon: float = Field(0.05, ge=0, le=1, description="Share drawn uniformly from all actions.")


class Softmax(Settings):
    """In proportion to exp(score / tau); only as good as the scale of the scores."""

    kind: Literal["softmax"] = "softmax"
    tau: float = Field(gt=0, description="In units of the score: small is greedy, large uniform.")


class SquareCb(Settings):
    """The less the larger the gap to the best: 1 / (actions + gamma gap).

    Scores must be on the scale of the reward, such as a click rate.

    Source: Foster and Rakhlin (2020), "Beyond UCB", ICML; Abe and Long (1999), ICML.
    """

    kind: Literal["squarecb"] = "squarecb"
    gamma: float = Field(ge=0, description="0 is uniform, large is greedy.")


class UniformBucket(Settings):
    """A share of units is served uniformly, all others greedily; which is on record.

    With a sticky unit this is the classic bucket of users, whose data nobody's loop has touched.
    """

    kind: Literal["uniform_bucket"] = "uniform_bucket"
    share: float = Field(0.02, ge=0, le=1, description="Of decisions, or of sticky units.")


class PlackettLuce(Settings):
    """Slates: item after item, in proportion to exp(score / tau)."""

    kind: Literal["plackett_luce"] = "plackett_luce"
    tau: float = Field(0.1, gt=0, description="In units of the score.")


class FromModel(Settings):
    """The model returns a distribution itself; it must be one, or the row is served greedily."""

    kind: Literal["model"] = "model"
    output: str = Field(description="Output with one probability per action.")


Single = Annotated[
    Greedy | EpsilonGreedy | Softmax | SquareCb | UniformBucket | FromModel,
    Field(discriminator="kind"),
]
Slate = Annotated[
    Greedy | EpsilonGreedy | PlackettLuce | UniformBucket, Field(discriminator="kind")
]


class SinglePart(Settings):
    """One part of a mixture over single choices."""

    share: float = Field(gt=0, le=1)
    policy: Single


class SlatePart(Settings):
    """One part of a mixture over slates."""

    share: float = Field(gt=0, le=1)
    policy: Slate


class SingleMixture(Settings):
    """A part is drawn, then a choice from it; the propensity told is that of the mixture."""

    kind: Literal["mixture"] = "mixture"
    parts: tuple[SinglePart, ...] = Field(min_length=2, max_length=8)

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SingleMixture":
        _check_shares([part.share for part in self.parts])
        return self


class SlateMixture(Settings):
    """The same over slates."""

    kind: Literal["mixture"] = "mixture"
    parts: tuple[SlatePart, ...] = Field(min_length=2, max_length=8)

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SlateMixture":
        _check_shares([part.share for part in self.parts])
        return self


def _check_shares(shares: list[float]) -> None:
    if abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"the shares of a mixture must sum to 1, not {sum(shares):g}")


SinglePolicy = Annotated[
    Greedy | EpsilonGreedy | Softmax | SquareCb | UniformBucket | FromModel | SingleMixture,
    Field(discriminator="kind"),
]
SlatePolicy = Annotated[
    Greedy | EpsilonGreedy | PlackettLuce | UniformBucket | SlateMixture,
    Field(discriminator="kind"),
]


class UniformReject(Settings):
    """Approve a share of what the threshold denies, up to a hard stop."""

    kind: Literal["uniform_reject"] = "uniform_reject"
    epsilon: float = Field(0.02, ge=0, le=1, description="Share approved beyond the threshold.")


class Boundary(Settings):
    """Approve near the threshold only, ever less beyond it; says nothing of the far region."""

    kind: Literal["boundary"] = "boundary"
    epsilon: float = Field(0.1, ge=0, le=1, description="Share approved at the threshold itself.")
    width: float = Field(gt=0, description="Beyond the threshold by this much, nothing is.")


class CostAware(Settings):
    """Approve where it teaches most for its cost: epsilon = scale sqrt(p (1 - p) / cost).

    The allocation that minimises the variance of the estimated rate in the denied region, the
    sum of p (1 - p) / epsilon, for a given expected cost (Neyman 1934); scores are probabilities.
    `guards.explore.threshold.cost_aware_scale` finds the scale for a budget.
    """

    kind: Literal["cost_aware"] = "cost_aware"
    scale: float = Field(gt=0)
    cost: str = Field(description="Input: what a wrong approval is expected to cost, above 0.")
    least: float = Field(0.001, ge=0, le=1, description="Smallest epsilon below the hard stop.")
    most: float = Field(0.2, ge=0, le=1, description="Largest epsilon.")


Shape = Annotated[UniformReject | Boundary | CostAware, Field(discriminator="kind")]
