"""What a manifest says of feedback: how long it is waited for, and when a loop is one."""

from pydantic import Field

from guards.quality.loop.settings import LoopSettings
from guards.settings import Settings


class FeedbackSpec(Settings):
    """The window in which rewards are joined; labels may come at any time."""

    window_s: float = Field(
        86_400.0, gt=0, description="From answer to when a reward was observed, at most."
    )
    grace_s: float = Field(
        3600.0, ge=0, description="How much later than the window's end it may be received."
    )
    default_reward: float = Field(
        0.0,
        allow_inf_nan=False,
        description="Reward of a choice of which nothing was heard until then.",
    )


class LoopSpec(LoopSettings):
    """How loop health is watched, where the answer is a choice."""

    window_s: float = Field(
        86_400.0, ge=1, description="Length of one window; patience counts windows."
    )
    scores_are_rewards: bool = Field(
        False,
        description="Scores estimate the reward of the first slot: then calibration is judged.",
    )
