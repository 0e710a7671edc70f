"""Published logged feedback: the reference values, to twelve digits, and a refusal."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from guards.quality.offpolicy.comparison import Verdict, compare
from guards.quality.offpolicy.diagnostics import diagnose
from guards.quality.offpolicy.importance import ips, on_policy, snips
from guards.quality.offpolicy.logged import LoggedData

OBD = Path(__file__).parents[3] / "../shared/data/obd"
pytestmark = pytest.mark.skipif(not OBD.exists(), reason="no Open Bandit Data beside the project")


def test_the_random_log_evaluates_the_other_policy_as_the_reference_does() -> None:
    golden = json.loads((OBD / "golden_men.json").read_text())
    data = read("men_random.csv", target=np.array(golden["action_dist"]))

    assert ips(data).value == pytest.approx(golden["ipw"], rel=1e-12)
    assert snips(data).value == pytest.approx(golden["snipw"], rel=1e-12)
    assert diagnose(data).effective_rows == pytest.approx(golden["ess"], rel=1e-12)


def test_no_verdict_on_the_uniform_policy_from_the_policy_that_learned() -> None:
    """Largest weight 178 of 10,000 rows; what the mean weight says is noise."""
    data = read("men_bts.csv", target=np.full((34, 3), 1 / 34))
    seen = diagnose(data)

    assert seen.effective_rows == pytest.approx(656, abs=1)
    assert compare(snips(data), on_policy(data), seen).verdict != Verdict.MORE


def read(name: str, *, target: np.ndarray) -> LoggedData:
    with (OBD / name).open() as file:
        rows = list(csv.DictReader(file))
    items = np.array([int(row["item_id"]) for row in rows])
    positions = np.array([int(row["position"]) for row in rows]) - 1
    rewards = np.array([float(row["click"]) for row in rows])
    propensities = np.array([float(row["propensity_score"]) for row in rows])
    return LoggedData(rewards, propensities, target[items, positions])
