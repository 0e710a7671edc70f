"""Another policy for the same choice: what estimates ask a log about."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from guards.errors import GuardError
from guards.explore.decider import Settings
from guards.explore.policies import (
    EpsilonGreedy,
    Greedy,
    Shape,
    SinglePolicy,
    SlatePolicy,
    UniformReject,
)
from guards.explore.settings import SingleExplore, SlateExplore

# Why a decision is closed to whatever policy; the other reasons belong to the policy that logged.
OF_THE_REQUEST = frozenset({"guard", "fallback", "exempt", "exposure", "too_large", "cost"})

_single: TypeAdapter[SinglePolicy] = TypeAdapter(SinglePolicy)
_slate: TypeAdapter[SlatePolicy] = TypeAdapter(SlatePolicy)
_shape: TypeAdapter[Shape] = TypeAdapter(Shape)


class UnknownTargetError(GuardError):
    """There is no such policy for this kind of choice."""

    def __init__(self, target: str, problem: str) -> None:
        super().__init__(target, problem)
        self.target = target
        self.problem = problem

    def __str__(self) -> str:
        """Say what is wrong with it, and what would be right."""
        return (
            f"target {self.target!r}: {self.problem}; give greedy, uniform, version:N, "
            "a policy as in softmax:tau=0.1, or threshold:threshold=0.3 where a choice has one"
        )


def greedy_target(settings: Settings) -> Settings:
    """Serve the best that may be served, always."""
    if isinstance(settings, SingleExplore):
        return settings.model_copy(update={"mode": "on", "policy": Greedy(), **_NO_LIMITS})
    if isinstance(settings, SlateExplore):
        plain = {"cold_start": None, "swap_pairs": None, "floor": 0.0}
        return settings.model_copy(update={"mode": "on", "policy": Greedy(), **_NO_LIMITS, **plain})
    return settings.model_copy(update={"mode": "on", "shape": UniformReject(epsilon=0.0)})


def target_of(text: str, settings: Settings) -> Settings:
    """Read a target: the same choice, made by another policy.

    Args:
        text: ``greedy``, ``uniform``, or a policy with its parameters: ``softmax:tau=0.1``.
        settings: Of the choice; what may be served, pins, floor and limits stay.

    Raises:
        UnknownTargetError: it is none of these.
    """
    kind, parameters = _parsed(text)
    if kind == "greedy":
        return greedy_target(settings)
    if kind == "uniform":
        return _uniform(text, settings)
    try:
        if isinstance(settings, SingleExplore):
            return _checked(settings, policy=_single.validate_python(parameters))
        if isinstance(settings, SlateExplore):
            plain = {"cold_start": None, "swap_pairs": None}
            return _checked(settings, policy=_slate.validate_python(parameters), **plain)
        if kind == "threshold":
            changed = {name: value for name, value in parameters.items() if name != "kind"}
            return _checked(settings, shape=UniformReject(epsilon=0.0), **changed)
        return _checked(settings, shape=_shape.validate_python(parameters))
    except ValidationError as error:
        [first, *_] = error.errors()
        raise UnknownTargetError(text, str(first["msg"])) from error


_NO_LIMITS: dict[str, Any] = {"max_regret": None, "max_expected_regret": None}


def _uniform(text: str, settings: Settings) -> Settings:
    if isinstance(settings, SingleExplore | SlateExplore):
        return greedy_target(settings).model_copy(update={"policy": EpsilonGreedy(epsilon=1.0)})
    raise UnknownTargetError(text, "an approval is not drawn uniformly")


def _checked(settings: Settings, **changed: Any) -> Settings:
    """Change settings, and judge them as a manifest's."""
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    return type(settings).model_validate(values | {"mode": "on"} | changed)


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``kind:name=value,name=value``."""
    kind, _, rest = text.strip().partition(":")
    parameters: dict[str, Any] = {"kind": kind}
    for pair in filter(None, rest.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise UnknownTargetError(text, f"{pair!r} is not name=value")
        parameters[name.strip()] = value.strip()
    return kind, parameters
