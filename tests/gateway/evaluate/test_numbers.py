"""A model that answers numbers: its errors, measured, estimated and promised."""

from pathlib import Path

import numpy as np
import pytest

from gateway.record.decision import Payload, Tensor
from guards.quality.expectation import State
from tests.gateway.evaluate.decisions import decide
from tests.gateway.evaluate.test_performance import named
from tests.gateway.evaluate.traffic import Service, noisy, pack_regressor

PROMISED = {"mae": 0.6, "rmse": 0.9, "r2": 0.2, "accuracy": 0.9, "auroc": 0.9, "worst_slice": 0.9}
ROWS = 2000


@pytest.fixture
def service(tmp_path: Path) -> Service:
    bundle = pack_regressor(
        tmp_path / "1",
        expectations=PROMISED,
        slices=[{"by": "noise", "edges": [-1.0, 1.0]}],
        guards={"schema": {"features": [{"name": "level"}, {"name": "noise"}]}},
    )
    return Service(tmp_path, bundle)


def serve(service: Service, x: np.ndarray) -> list[str]:
    """Answer every row with its first feature."""
    decisions = [
        decide(
            n,
            predicted=(float(row[0]),),
            payload=Payload(
                (Tensor("x", "FP32", (1, 2), row.tobytes()),),
                (Tensor("value", "FP32", (1, 1), row[:1].tobytes()),),
            ),
        )
        for n, row in enumerate(x)
    ]
    service.keep(decisions)
    return [decision.prediction_id for decision in decisions]


def test_errors_are_measured_promised_and_worst_where_the_noise_is(service: Service) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 2)).astype(np.float32)
    serve(service, x)
    labels = noisy(x, rng)
    service.label(service.served, labels)

    found = service.report()

    errors = np.abs(x[:, 0] - labels)
    told = {one.metric: one.estimate for one in found.performance}
    assert told["mae"] == pytest.approx(errors.mean())
    assert told["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    states = {name: named(found, name).state for name in ("mae", "rmse", "r2")}
    assert states == dict.fromkeys(states, State.HOLDS)
    for name in ("accuracy", "auroc", "worst_slice"):
        assert named(found, name).state is State.UNKNOWN
        assert "the model answers" in named(found, name).reason
    assert found.quality is not None
    assert found.quality.slices[-1].value == "[-1, 1)"
    assert found.quality.slices[0].metric.metric == "mae"


def test_the_error_is_estimated_without_a_label_and_follows_the_noise(service: Service) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, 2)).astype(np.float32)
    x = x[np.abs(x[:, 1]) > 0.8]  # more of the noisy rows, and none that is unheard of
    serve(service, x)

    found = service.report()

    assert found.quality is not None
    assert found.quality.estimated is not None
    assert found.quality.estimated.metric == "mae"
    truth = float(np.abs(x[:, 0] - noisy(x, rng)).mean())
    assert found.quality.estimated.high == pytest.approx(truth, rel=0.15)
    assert found.quality.estimated.held_out < 0.8 * truth
    assert "an estimate alone never says that it holds" in named(found, "mae").reason
