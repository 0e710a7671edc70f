"""Where the model's answer is a choice, the served choice may be drawn, with exact propensity."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from guards.explore.policies import EpsilonGreedy
from guards.explore.settings import SingleExplore
from models.bundle import Bundle, load_reference
from models.examples.example import Example
from models.manifest import Manifest
from models.pack import pack
from models.signing import SigningKey

EPSILON = 0.3
CLASSES = 2


@pytest.fixture(scope="module")
def exploring(tmp_path_factory: pytest.TempPathFactory, key: SigningKey, cancer: Example) -> Bundle:
    """The breast_cancer model, asked to explore its two classes."""
    bundle = cancer.bundles[0]
    told = bundle.manifest.model_dump(by_alias=True)
    told["explore"] = SingleExplore(policy=EpsilonGreedy(epsilon=EPSILON)).model_dump()
    reference = load_reference(bundle).inputs
    return pack(
        Manifest.model_validate(told),
        bundle.path / str(bundle.manifest.runtime.file),
        reference=reference,
        held_out={"measurements": reference["measurements"][:150]},
        out=Path(tmp_path_factory.mktemp("explore")) / "bundle",
        key=key,
    )


async def ask(served: Any, row: np.ndarray[Any, Any], request_id: str) -> dict[str, Any]:
    """Ask about one row; return the outputs by name and the parameters."""
    tensor = {
        "name": "measurements",
        "shape": [1, 30],
        "datatype": "FP32",
        "data": row.tolist(),
    }
    response = await served.client.post(
        "/infer",
        content=orjson.dumps({"inputs": [tensor]}),
        headers={"x-request-id": request_id},
    )
    answer = response.json()
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    return outputs | {"parameters": answer["parameters"]}


async def test_served_choices_are_drawn_with_the_propensity_that_is_told(
    serve: Any, exploring: Bundle, cancer: Example
) -> None:
    served = await serve(exploring)
    rows = cancer.test_rows[:100]

    answers = [await ask(served, row, f"{i}-{j}") for j in range(5) for i, row in enumerate(rows)]

    open_ = [a for a in answers if a["parameters"]["flagged_rows"] == 0]
    explored = [a for a in open_ if a["parameters"]["explored"]]
    for answer in open_:
        greedy = int(np.argmax(answer["probabilities"]))
        chose_greedy = answer["handrail.choice"][0] == greedy
        told = 1 - EPSILON + EPSILON / CLASSES if chose_greedy else EPSILON / CLASSES
        assert answer["handrail.propensity"][0] == pytest.approx(told, abs=1e-12)
        assert answer["parameters"]["explored"] == (not chose_greedy)
    # 490 draws or more with probability 0.15: the standard error is 0.016.
    share = len(explored) / len(open_)
    assert abs(share - EPSILON / CLASSES) < 4 * 0.016
    record = served.kept.decisions[0].exploration
    assert record.policy == "epsilon_greedy"


async def test_a_repeated_request_is_the_same_decision(
    serve: Any, exploring: Bundle, cancer: Example
) -> None:
    first, second = await serve(exploring), await serve(exploring)  # two replicas

    for i in range(40):
        one = await ask(first, cancer.test_rows[i], f"same-{i}")
        two = await ask(second, cancer.test_rows[i], f"same-{i}")
        assert one["handrail.choice"] == two["handrail.choice"]
        assert one["parameters"]["prediction_id"] == two["parameters"]["prediction_id"]


async def test_a_closed_gate_serves_the_greedy_choice(
    serve: Any, exploring: Bundle, cancer: Example
) -> None:
    served = await serve(exploring, closed=lambda: "kill_switch")

    answers = [await ask(served, row, str(i)) for i, row in enumerate(cancer.test_rows[:60])]

    assert not any(answer["parameters"]["explored"] for answer in answers)
    assert {answer["handrail.propensity"][0] for answer in answers} == {1.0}
    closed = {d.exploration.closed[0] for d in served.kept.decisions}
    assert "kill_switch" in closed


async def test_a_flagged_row_is_never_explored(
    serve: Any, exploring: Bundle, cancer: Example
) -> None:
    served = await serve(exploring)
    rows = np.full((1, 30), 1e30, np.float32)  # far from everything: flagged, not explored

    answer = await ask(served, rows[0], "far")

    assert answer["parameters"]["flagged_rows"] == 1
    assert answer["parameters"]["explored"] is False
    assert answer["handrail.propensity"] == [1.0]
