"""A feature contract over the wire, with stock clients: refused, repaired, flagged with reasons."""

import json

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from models.signing import SigningKey
from tests.e2e.conftest import Running
from tests.gateway.serving.columns_model import build_columns

pytestmark = pytest.mark.e2e

Row = tuple[float, int, bytes]
ORDINARY: Row = (30, 5000, b"smith")
WANTED = ("age_out", "income_out", "job_out", "handrail.verdict", "handrail.reasons")


@pytest.fixture(scope="module")
def running(common: Running, key: SigningKey, tmp_path_factory: pytest.TempPathFactory) -> Running:
    bundles = tmp_path_factory.mktemp("contract")
    on = {"range": "impute", "category": "impute", "missing": "reject"}
    with common.client() as client:
        client.register(build_columns(bundles, key, **on).path, as_="live")
        younger = build_columns(bundles, key, version="2", rules=(), **on)
        told = client.register(younger.path, as_="shadow")
    assert told["contract"]["verdict"] == "widened"
    assert told["contract"]["changes"] == ["no longer: income <= 100000.0 where job == clerk"]
    return common


@pytest.fixture(params=["http", "grpc"])
def ask(request: pytest.FixtureRequest, running: Running):  # type: ignore[no-untyped-def]
    """Ask with tritonclient, unchanged; an answer is a dict of arrays."""
    kind = request.param
    module = triton_http if kind == "http" else triton_grpc
    address = (
        running.url.removeprefix("http://") if kind == "http" else f"127.0.0.1:{running.grpc_port}"
    )

    def send(*rows: Row):  # type: ignore[no-untyped-def]
        ages, incomes, jobs = zip(*rows, strict=True)
        columns = {
            "age": ("FP32", np.array(ages, np.float32)),
            "income": ("INT64", np.array(incomes, np.int64)),
            "job": ("BYTES", np.array(jobs, np.object_)),
        }
        inputs = []
        for name, (datatype, values) in columns.items():
            tensor = module.InferInput(name, [len(rows), 1], datatype)
            tensor.set_data_from_numpy(values[:, None])
            inputs.append(tensor)
        outputs = [module.InferRequestedOutput(name) for name in WANTED]
        with module.InferenceServerClient(address) as client:
            answer = client.infer("columns", inputs, outputs=outputs)
        return {name: answer.as_numpy(name).ravel() for name in WANTED}

    return send


def test_a_row_that_keeps_the_contract_is_answered_as_it_came(ask) -> None:  # type: ignore[no-untyped-def]
    answer = ask(ORDINARY)

    assert answer["handrail.verdict"].tolist() == [0]
    assert (answer["age_out"][0], answer["income_out"][0], answer["job_out"][0]) == ORDINARY


def test_a_violation_is_repaired_flagged_and_explained_and_no_neighbour_notices(ask) -> None:  # type: ignore[no-untyped-def]
    answer = ask(ORDINARY, (7, 5000, b"baker"), ORDINARY)

    assert answer["handrail.verdict"].tolist() == [0, 1, 0]
    assert answer["age_out"].tolist() == [30, 40, 30]
    assert answer["job_out"].tolist() == [b"smith", b"clerk", b"smith"]
    reasons = json.loads(answer["handrail.reasons"][1])
    assert [(why["feature"], why["kind"]) for why in reasons] == [
        ("age", "range"),
        ("job", "category"),
    ]
    assert reasons[1]["expected"] == "one of clerk, smith; clerk took its place"


def test_a_rule_between_a_word_and_a_number_flags_what_breaks_it(ask) -> None:  # type: ignore[no-untyped-def]
    answer = ask((30, 200_000, b"clerk"), (30, 200_000, b"smith"))

    assert answer["handrail.verdict"].tolist() == [1, 0]
    assert json.loads(answer["handrail.reasons"][0])[0]["kind"] == "rule"


def test_a_missing_value_is_refused_with_the_guard_that_says_no(ask) -> None:  # type: ignore[no-untyped-def]
    for row in ((float("nan"), 5000, b"smith"), (30, 5000, b"")):
        with pytest.raises(InferenceServerException) as caught:
            ask(row)
        assert "schema" in str(caught.value)
