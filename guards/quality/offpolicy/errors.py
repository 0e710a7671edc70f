"""Why logged decisions cannot be evaluated."""

from guards.errors import GuardError


class NotExploredError(GuardError):
    """Rows of a mode in which the served choice is not the logged draw.

    A shadow row logs a draw that nobody saw, an apprentice row the model's draw
    while the baseline was served: its propensity is not that of what was rewarded.
    """

    def __init__(self, mode: str, rows: int) -> None:
        super().__init__(mode, rows)
        self.mode = mode
        self.rows = rows

    def __str__(self) -> str:
        """Say which rows have to go."""
        return (
            f"{self.rows:,} rows of mode {self.mode!r}: what was served was not drawn "
            "with the logged propensity; evaluate rows of mode 'on' only"
        )


class NotFactoredError(GuardError):
    """The pseudo-inverse estimate of a logger whose slots depend on each other."""

    def __str__(self) -> str:
        """Name the requirement and the way out."""
        return (
            "the pseudo-inverse estimate needs a logger that draws every slot independently; "
            "a ranking without repetition does not: use reward interaction instead"
        )
