"""A guard that rejects judges a new model's traffic, and stops nobody until it is confirmed."""

from pathlib import Path

import numpy as np
import pytest

from gateway.client import AnswerError
from models.signing import SigningKey
from tests.e2e.conftest import Running, wait_for
from tests.gateway.registry.bundles import make_bundle

pytestmark = pytest.mark.e2e

ORDINARY = 2000


def test_a_guard_acts_once_its_false_alarms_on_live_traffic_are_confirmed(
    common: Running, key: SigningKey, tmp_path: Path
) -> None:
    outlier = {"alpha": 0.2, "action": "reject"}
    bundle = make_bundle(tmp_path / "bundle", outlier=outlier, key=key)
    rows = np.random.default_rng(1).normal(size=(ORDINARY, 2)).astype(np.float32)
    strange = {"x": np.full((1, 2), 100, np.float32)}
    with common.client() as client:
        assert client.register(bundle.path, as_="live")["dry_run"] == ["outlier"]
        assert client.infer("toy", strange).parameters["served_by"] == "model"
        for start in range(0, ORDINARY, 100):
            client.infer("toy", {"x": rows[start : start + 100]})
        wait_for(lambda: client.guards("toy")[0]["rows"] == ORDINARY + 1, 30)

        seen = client.guards("toy")[0]
        assert seen["dry_run"]
        assert 0 < seen["share"] < seen["high"] < 0.2
        assert not client.confirm("toy", why="looks right")["dry_run"]
        with pytest.raises(AnswerError, match="guard outlier rejected row 0"):
            client.infer("toy", strange)
