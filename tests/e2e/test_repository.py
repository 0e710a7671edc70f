"""Models taken off the data plane and brought back, and figures of several replicas, for real."""

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from gateway.running import key_of
from models.examples.example import Example
from tests.e2e.conftest import Running, gateway, wait_for
from tests.traversal import CORPUS

LOAD_S = 60.0


def ask(running: Running, verb: str, model: str) -> httpx.Response:
    key = {"Authorization": f"Bearer {key_of(running.state)}"}
    url = f"{running.url}/v2/repository/models/{model}/{verb}"
    return httpx.post(url, headers=key, json={}, timeout=LOAD_S)


def state_of(running: Running, model: str) -> tuple[str, str]:
    """Live state of a model's only version in the index, and what the data plane says."""
    index = httpx.post(f"{running.url}/v2/repository/index").json()
    [entry] = [entry for entry in index if entry["name"] == model]
    response = httpx.get(f"{running.url}/v2/models/{model}/ready")
    return entry["state"], response.json().get("code", "ready")


def test_an_unloaded_model_stays_off_over_a_restart_and_comes_back_as_it_went(
    new_state: Path, examples: tuple[Example, Example]
) -> None:
    model = "breast_cancer"
    with gateway(new_state) as running:
        with running.client() as client:
            client.register(examples[1].bundles[0].path, as_="live")
        assert state_of(running, model) == ("READY", "ready")
        assert ask(running, "unload", model).json() == {"name": model, "unload": True}
        assert state_of(running, model)[1] == "not_ready"
        assert httpx.get(f"{running.url}/v2/health/ready").status_code == 200

    with gateway(new_state) as running:
        assert state_of(running, model) == ("UNAVAILABLE", "not_ready")
        assert ask(running, "load", model).json() == {"name": model, "load": True}
        assert state_of(running, model) == ("READY", "ready")
        assert ask(running, "unload", model).status_code == 200
        # While the old replica still ends; on a slow machine once may not be enough.
        wait_for(lambda: ask(running, "load", model).status_code == 200, 3 * LOAD_S)
        assert state_of(running, model) == ("READY", "ready")


def test_statistics_are_of_all_replicas_and_no_path_leaves_its_place(
    new_state: Path, examples: tuple[Example, Example]
) -> None:
    example = examples[1]
    with gateway(new_state, HANDRAIL__SERVING__REPLICAS="2") as running:
        with running.client() as client:
            client.register(example.bundles[0].path, as_="live")
        url = f"{running.url}/v2/models/breast_cancer"
        row = example.test_rows[:2].tolist()
        tensor = {"name": "measurements", "shape": [2, 30], "datatype": "FP32", "data": row}
        for _ in range(20):  # a connection each, so that both replicas get some
            assert httpx.post(f"{url}/infer", json={"inputs": [tensor]}).status_code == 200

        def total() -> Any:
            [stats] = httpx.get(f"{url}/stats").json()["model_stats"]
            return stats

        wait_for(lambda: total()["inference_count"] == 40, 5.0)
        assert {total()["execution_count"] for _ in range(5)} == {20}
        of_all = httpx.get(f"{running.url}/v2/models/stats").json()["model_stats"]
        assert [stats["inference_count"] for stats in of_all] == [40]
        _walk(running)


def _walk(running: Running) -> None:
    """Send every path as it stands; a client library would tidy it up first."""
    places = ("/v2/models/{}/infer", "/v2/models/breast_cancer/versions/{}", "/v2/{}")
    address = urlsplit(running.url).netloc
    with closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        for path in (place.format(text) for place in places for text in CORPUS):
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            assert 400 <= response.status < 500, (path, response.status)
            assert response.headers["content-type"] == "application/json", path
            assert set(json.loads(body)) == {"error", "code", "request_id"}, path
