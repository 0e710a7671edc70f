"""Why a guard cannot be built or cannot judge."""


class GuardError(Exception):
    """Base of every error that guards raise."""


class ShapeMismatchError(GuardError):
    """The rows do not have the width the guard was fitted on.

    Every field goes to ``super().__init__`` so that ``args`` can rebuild the
    error on the far side of a Ray call; the sentence is made in ``__str__``.
    """

    def __init__(self, guard: str, expected: int, got: tuple[int, ...]) -> None:
        super().__init__(guard, expected, got)
        self.guard = guard
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        """Say what was wanted, what came, and who minded."""
        return f"{self.guard}: expected shape (n, {self.expected}), got {self.got}"


class CalibrationTooSmallError(GuardError):
    """Too few held-out rows for the false-alarm rate that was asked for."""

    def __init__(self, guard: str, needed: int, got: int, alpha: float, delta: float) -> None:
        super().__init__(guard, needed, got, alpha, delta)
        self.guard = guard
        self.needed = needed
        self.got = got
        self.alpha = alpha
        self.delta = delta

    def __str__(self) -> str:
        """Say how many rows would do."""
        return (
            f"{self.guard}: alpha={self.alpha:g} at delta={self.delta:g} needs at least "
            f"{self.needed} held-out rows, got {self.got}"
        )


class ReferenceTooSmallError(GuardError):
    """Too few reference rows to find neighbours among."""

    def __init__(self, guard: str, needed: int, got: int) -> None:
        super().__init__(guard, needed, got)
        self.guard = guard
        self.needed = needed
        self.got = got

    def __str__(self) -> str:
        """Say how many rows would do."""
        return f"{self.guard}: needs at least {self.needed} complete reference rows, got {self.got}"


class ForeignDetectorError(GuardError):
    """A detector of another library is not there, or is not what it was."""

    def __init__(self, guard: str, problem: str) -> None:
        super().__init__(guard, problem)
        self.guard = guard
        self.problem = problem

    def __str__(self) -> str:
        """Say what is wrong."""
        return f"{self.guard}: {self.problem}"
