"""Rows that make a model fail, among rows that do not, through the real data plane."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gateway.client import AnswerError
from gateway.record.decision import Decision
from gateway.record.evidence import Evidence
from models.signing import SigningKey
from tests.e2e.conftest import Running, wait_for
from tests.gateway.serving.poison import build_lookup

pytestmark = pytest.mark.e2e

CLIENTS = 16
ROUNDS = 25


def test_a_poison_row_fails_alone_while_its_batch_mates_are_answered(
    common: Running, tmp_path: Path, key: SigningKey
) -> None:
    bundle = build_lookup(tmp_path / "bundles", key)
    with common.client() as client:
        client.register(bundle.path, as_="live")

        def ask(i: int) -> float | str:
            place = 1e6 if i % CLIENTS == 5 else float(i % 8)
            try:
                answer = client.infer("lookup", {"place": np.array([[place]], np.float32)})
            except AnswerError as error:
                return error.code
            return float(answer.outputs["value"][0, 0])

        with ThreadPoolExecutor(CLIENTS) as pool:
            found = list(pool.map(ask, range(CLIENTS * ROUNDS)))
        evidence = Evidence(str(common.state / "evidence"))

        def recorded() -> list[Decision]:
            decisions = (decision for _, decision in evidence.read(since_ns=0))
            return [decision for decision in decisions if decision.model == "lookup"]

        wait_for(lambda: len(recorded()) == len(found), 20)
        decisions = recorded()

    shared = [d for d in decisions if d.code == "unanswered" and d.batch_rows > 1]
    assert shared, "no poison row ever rode with others"
    for i, answer in enumerate(found):
        assert answer == ("unanswered" if i % CLIENTS == 5 else i % 8 + 1.0)
