"""A guard's own failure is a decision of its settings, never an error of the request."""

import numpy as np
import pytest

from gateway.serving.chain import GuardChain
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.output.guard import OutputGuard
from guards.output.settings import OutputSettings
from guards.schema import SchemaGuard, SchemaSettings
from guards.verdict import Action, Rows, Verdict
from models.bundle import GuardSet
from models.manifest import GuardsSpec


class BrokenGuard:
    """Fails at every call, as a guard with damaged state would."""

    name = "outlier"
    reads = "features"

    def check(self, rows: Rows) -> Verdict:
        raise FloatingPointError("damaged")


def chain(settings: OutlierSettings) -> GuardChain:
    guards = GuardSet(SchemaGuard(SchemaSettings()), BrokenGuard(), OutputGuard(OutputSettings()))  # type: ignore[arg-type]
    return GuardChain(guards, GuardsSpec(outlier=settings))


@pytest.mark.parametrize(
    ("on_error", "action"), [("open", Action.FLAG), ("closed", Action.FALLBACK)]
)
def test_a_guard_that_fails_applies_its_on_error(on_error: str, action: Action) -> None:
    settings = OutlierSettings(on_error=on_error)  # type: ignore[arg-type]

    [verdict] = chain(settings).check_inputs(np.zeros((3, 2), np.float32), ())

    assert verdict.actions.tolist() == [action] * 3
    assert {reason.kind for why in verdict.reasons.values() for reason in why} == {"guard_failed"}


@pytest.mark.parametrize("settings", [OutlierSettings(), OutlierSettings(dry_run=True)])
def test_a_guard_in_dry_run_judges_and_never_acts(settings: OutlierSettings) -> None:
    rng = np.random.default_rng(0)
    reference, held_out = rng.normal(size=(400, 3)), rng.normal(size=(400, 3))
    guard = OutlierGuard.fit(reference, held_out, settings)
    guards = GuardSet(SchemaGuard(SchemaSettings()), guard, OutputGuard(OutputSettings()))
    pushed = () if settings.dry_run is True else ("outlier",)

    [verdict] = GuardChain(guards, GuardsSpec(outlier=settings)).check_inputs(
        np.full((1, 3), 50.0), pushed
    )

    assert verdict.actions.tolist() == [Action.ALLOW]
    assert verdict.p_values is not None
    assert verdict.p_values[0] < 0.01
    assert verdict.reasons[0]
