"""One input per feature, numbers and words mixed: judged, repaired, answered."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from gateway.wire import HEADER_LENGTH, encode_request
from models.bundle import Bundle
from models.bytes_tensor import as_elements
from models.signing import SigningKey
from tests.gateway.serving.columns_model import build_columns

EXACT = 2**53 - 1  # no float32 holds it


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("columns"))


@pytest.fixture(scope="module")
def flagging(root: Path, key: SigningKey) -> Bundle:
    return build_columns(root, key, name="flagging")


@pytest.fixture(scope="module")
def imputing(root: Path, key: SigningKey) -> Bundle:
    everything = dict.fromkeys(("missing", "nonfinite", "range", "category", "type"), "impute")
    return build_columns(root, key, name="imputing", **everything)


def ask(client: httpx.AsyncClient, *rows: tuple[float, int, str]) -> Any:
    """Send rows as JSON: one tensor per column."""
    ages, incomes, jobs = (list(column) for column in zip(*rows, strict=True))
    columns = ("age", "FP32", ages), ("income", "INT64", incomes), ("job", "BYTES", jobs)
    inputs = [
        {"name": name, "shape": [len(rows), 1], "datatype": datatype, "data": data}
        for name, datatype, data in columns
    ]
    wanted = ["age_out", "income_out", "job_out", "handrail.verdict", "handrail.reasons"]
    body = {"inputs": inputs, "outputs": [{"name": name} for name in wanted]}
    return client.post("/infer", content=orjson.dumps(body))


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: output["data"] for output in response.json()["outputs"]}


def kinds(answer: dict[str, Any], row: int = 0) -> list[tuple[str, str]]:
    reasons = orjson.loads(answer["handrail.reasons"][row])
    return [(reason["feature"], reason["kind"]) for reason in reasons]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ((30, 5000, "smith"), []),
        ((17, 5000, "smith"), [("age", "range")]),
        ((30, -1, "smith"), [("income", "range")]),
        ((30, 5000, "baker"), [("job", "category")]),
        ((30, 200_000, "clerk"), [("row", "rule")]),
        ((30, 200_000, "smith"), []),
        ((17, -1, "baker"), [("age", "range"), ("income", "range"), ("job", "category")]),
    ],
)
async def test_numbers_words_and_rules_are_judged_together(
    serve: Any, flagging: Bundle, row: tuple[float, int, str], found: list[tuple[str, str]]
) -> None:
    served = await serve(flagging)

    answer = outputs(await ask(served.client, row))

    assert kinds(answer) == found
    assert answer["handrail.verdict"] == [int(bool(found))]
    # A flag changes nothing about what the model is asked.
    assert [answer[f"{name}_out"][0] for name in ("age", "income", "job")] == list(row)


async def test_a_missing_word_is_refused_and_says_which(serve: Any, flagging: Bundle) -> None:
    served = await serve(flagging)

    response = await ask(served.client, (30, 5000, ""))

    assert response.status_code == 422
    assert "schema" in response.json()["error"]


async def test_the_model_gets_the_default_in_the_place_of_a_violation(
    serve: Any, imputing: Bundle
) -> None:
    served = await serve(imputing)

    answer = outputs(await ask(served.client, (17, -1, "baker"), (30, 5000, "smith"), (30, 7, "")))

    assert answer["age_out"] == [40.0, 30.0, 30.0]
    assert answer["income_out"] == [30_000, 5000, 7]
    assert answer["job_out"] == ["clerk", "smith", "clerk"]
    assert answer["handrail.verdict"] == [1, 0, 1]
    assert kinds(answer, 2) == [("job", "missing")]
    told = orjson.loads(answer["handrail.reasons"][0])[0]
    assert told["observed"] == 17
    assert told["expected"] == "18 to 100 years; 40.0 took its place"


async def test_a_row_that_is_repaired_leaves_its_batch_mates_alone(
    serve: Any, imputing: Bundle
) -> None:
    served = await serve(imputing)
    rows = [(30 + i / 2, i, "smith") if i % 3 else (0, i, "smith") for i in range(20)]

    answers = await asyncio.gather(*(ask(served.client, row) for row in rows))

    ages = [outputs(answer)["age_out"][0] for answer in answers]
    assert ages == [row[0] if i % 3 else 40.0 for i, row in enumerate(rows)]


async def test_what_is_not_repaired_stays_the_very_number_that_came(
    serve: Any, root: Path, key: SigningKey
) -> None:
    bundle = build_columns(root, key, name="exact", range="allow", category="impute", rules=())
    served = await serve(bundle)

    answer = outputs(await ask(served.client, (30, EXACT, "baker")))

    assert answer["income_out"] == [EXACT]
    assert answer["job_out"] == ["clerk"]


async def test_what_is_recorded_and_counted_is_what_came(serve: Any, imputing: Bundle) -> None:
    served = await serve(imputing)

    outputs(await ask(served.client, (17, -1, "baker")))

    payload = served.kept.decisions[0].payload
    age = next(tensor for tensor in payload.inputs if tensor.name == "age")
    assert np.frombuffer(age.data, np.float32).tolist() == [17.0]


async def test_a_dry_run_repairs_nothing(serve: Any, imputing: Bundle) -> None:
    served = await serve(imputing, dry_run=("schema",))

    answer = outputs(await ask(served.client, (17, -1, "baker")))

    assert answer["age_out"] == [17.0]
    assert kinds(answer) == [("age", "range"), ("income", "range"), ("job", "category")]
    assert answer["handrail.verdict"] == [0]


async def test_binary_columns_are_judged_as_json_is(serve: Any, imputing: Bundle) -> None:
    served = await serve(imputing)
    columns = {
        "age": np.array([[np.nan]], np.float32),
        "income": np.array([[5000]]),
        "job": as_elements([b"baker"], (1, 1)),
    }
    body, head_bytes = encode_request(
        columns, timeout_ms=None, outputs=(), binary=True, request_id=None
    )

    response = await served.client.post(
        "/infer", content=body, headers={HEADER_LENGTH: str(head_bytes)}
    )

    assert response.status_code == 200
    answer = orjson.loads(response.content[: int(response.headers[HEADER_LENGTH])])
    assert answer["parameters"]["flagged_rows"] == 1
    assert response.content.endswith(b"\x05\x00\x00\x00clerk")
