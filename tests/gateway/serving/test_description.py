"""What a model tells about itself, over its own endpoints."""

import asyncio
import json
from typing import Any, get_args

import pytest

from gateway.serving.description import BACKENDS, PLATFORMS
from models.examples.example import Example
from models.runtime_spec import RuntimeSpec
from tests.gateway.serving.test_ingress import body
from tests.traversal import CORPUS, ask


async def test_configuration_describes_rows_where_metadata_describes_batches(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles)

    metadata = (await served.client.get("")).json()
    config = (await served.client.get("/config")).json()

    assert metadata["inputs"] == [{"name": "measurements", "datatype": "FP32", "shape": [-1, 30]}]
    assert config["input"] == [{"name": "measurements", "data_type": "TYPE_FP32", "dims": [30]}]
    assert (config["name"], config["backend"]) == ("breast_cancer", "onnxruntime")
    assert config["max_batch_size"] == 256
    assert config["model_transaction_policy"] == {"decoupled": False}
    assert config["response_cache"] == {"enable": False}
    assert config["parameters"]["bundle_digest"]["string_value"] == cancer.bundles[0].digest


def test_every_kind_of_runtime_has_a_platform_and_a_backend() -> None:
    kinds = set(get_args(RuntimeSpec.model_fields["kind"].annotation))

    assert set(PLATFORMS) == set(BACKENDS) == kinds


async def test_statistics_tell_what_was_served_and_count_no_question_about_it(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles)
    for rows in (1, 4):
        await served.client.post("/infer", content=body(cancer.test_rows[:rows]))
    await served.client.post("/infer", content=b"{")

    for path in ("/stats", "/stats", "/versions/1/stats"):
        [stats] = (await served.client.get(path)).json()["model_stats"]

    assert (stats["name"], stats["version"]) == ("breast_cancer", "1")
    assert (stats["inference_count"], stats["execution_count"]) == (5, 2)
    found = stats["inference_stats"]
    assert (found["success"]["count"], found["fail"]["count"]) == (2, 1)
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    assert sum(found[stage]["ns"] for stage in stages) == found["success"]["ns"] > 0
    assert [batch["batch_size"] for batch in stats["batch_stats"]] == [1, 4]
    assert stats["last_inference"] > 1_600_000_000_000


async def test_requests_of_one_batch_are_one_execution(serve: Any, cancer: Example) -> None:
    served = await serve(*cancer.bundles)
    one = body(cancer.test_rows[:1])

    await asyncio.gather(*(served.client.post("/infer", content=one) for _ in range(6)))

    [stats] = (await served.client.get("/stats")).json()["model_stats"]
    batches = {decision.batch_rows for decision in served.kept.decisions}
    assert stats["inference_count"] == 6
    assert stats["execution_count"] == 6 // batches.pop()
    assert stats["inference_stats"]["queue"]["count"] == 6


@pytest.mark.parametrize("verb", ["config", "stats", "ready"])
async def test_an_unknown_version_has_nothing_to_tell(
    serve: Any, cancer: Example, verb: str
) -> None:
    served = await serve(*cancer.bundles)
    assert (await served.client.get(f"/versions/9/{verb}")).status_code == 404


@pytest.mark.parametrize("verb", ["generate", "generate_stream", "trace/setting"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_is_not_served_is_refused_in_the_error_form(
    serve: Any, cancer: Example, verb: str, method: str
) -> None:
    served = await serve(*cancer.bundles)

    response = await served.client.request(method, f"/{verb}", content=b"")

    assert (response.status_code, response.json()["code"]) == (501, "unsupported")
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("verb", ["", "/ready", "/config", "/stats", "/infer"])
async def test_the_wrong_method_is_said_to_be_wrong(
    serve: Any, cancer: Example, method: str, verb: str
) -> None:
    served = await serve(*cancer.bundles)

    response = await served.client.request(method, verb)

    assert response.status_code == 405
    assert response.headers["allow"] == ("POST" if verb == "/infer" else "GET")
    assert response.headers["content-type"] == "application/json"


async def test_an_unloaded_model_answers_nothing(serve: Any, cancer: Example) -> None:
    served = await serve(*cancer.bundles, loaded=False)

    for method, path in (("POST", "/infer"), ("GET", "/ready"), ("GET", ""), ("GET", "/stats")):
        response = await served.client.request(method, path, content=body(cancer.test_rows[:1]))
        assert (response.status_code, response.json()["code"]) == (503, "not_ready"), path


@pytest.mark.parametrize("place", ["versions/{}", "versions/{}/infer", "{}", "infer/{}"])
async def test_a_path_that_tries_to_leave_its_place_gets_a_typed_4xx(
    serve: Any, cancer: Example, place: str
) -> None:
    served = await serve(*cancer.bundles)
    app = served.client._transport.app
    for text in CORPUS:
        path = f"/v2/models/breast_cancer/{place.format(text)}"
        status, headers, answer = await ask(app, "GET", path)
        assert 400 <= status < 500, (path, status)
        assert headers[b"content-type"] == b"application/json", path
        assert set(json.loads(answer)) == {"error", "code", "request_id"}, path
