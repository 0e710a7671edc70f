"""Metadata, health, configuration, statistics, repository.

Source: Open Inference Protocol, ``inference_rest.md``; Triton's extensions ``model_configuration``,
``statistics`` and ``model_repository``; where real clients are stricter, what they need.
"""

from typing import Any

import httpx
import pytest

from tests.conformance.wire import JSON_DATATYPES, UNKNOWN, json_request, rows_of

DURATIONS = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit",
    "cache_miss",
)  # fmt: skip


def get(http: httpx.Client, path: str) -> Any:
    response = http.get(path)
    assert response.status_code == 200, response.text
    return response.json()


def infer(http: httpx.Client, rows: int) -> None:
    request = json_request(rows_of(JSON_DATATYPES, rows))
    assert http.post("/v2/models/identity/infer", json=request).status_code == 200


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata_is_there_with_and_without_a_slash(http: httpx.Client, path: str) -> None:
    metadata = get(http, path)
    assert isinstance(metadata["name"], str)
    assert isinstance(metadata["version"], str)
    assert isinstance(metadata["extensions"], list)


def test_server_is_live_and_says_so(http: httpx.Client) -> None:
    assert get(http, "/v2/health/live").get("live") is True


def test_server_is_ready_and_says_so(http: httpx.Client) -> None:
    assert get(http, "/v2/health/ready").get("ready") is True


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_a_model_is_ready(http: httpx.Client, version: str) -> None:
    ready = get(http, f"/v2/models/identity{version}/ready")
    assert ready["name"] == "identity"
    assert ready["ready"] is True


def test_an_unknown_model_is_not_ready(http: httpx.Client) -> None:
    assert http.get("/v2/models/nobody/ready").status_code >= 400


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_model_metadata_describes_every_tensor(http: httpx.Client, version: str) -> None:
    metadata = get(http, f"/v2/models/identity{version}")
    assert metadata["name"] == "identity"
    assert isinstance(metadata["platform"], str)
    for tensor in metadata["inputs"] + metadata["outputs"]:
        assert set(tensor) >= {"name", "datatype", "shape"}
        assert tensor["shape"][0] == -1


@pytest.mark.extension("versions")
def test_model_metadata_lists_the_versions(http: httpx.Client) -> None:
    assert "1" in get(http, "/v2/models/identity")["versions"]


@pytest.mark.parametrize("path", ["nobody", "identity/versions/77"])
def test_an_unknown_model_or_version_is_refused(http: httpx.Client, path: str) -> None:
    assert http.get(f"/v2/models/{path}").status_code in UNKNOWN


@pytest.mark.extension("model list")
def test_models_are_listed(http: httpx.Client) -> None:
    assert {"identity", "half"} <= set(get(http, "/v2/models")["models"])


@pytest.mark.extension("model_configuration")
@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_configuration_has_what_a_load_generator_reads(http: httpx.Client, version: str) -> None:
    config = get(http, f"/v2/models/identity{version}/config")
    names = {spec["name"] for spec in get(http, "/v2/models/identity")["inputs"]}
    assert config["name"] == "identity"
    assert isinstance(config["max_batch_size"], int)
    assert {tensor["name"] for tensor in config["input"]} == names
    for tensor in config["input"] + config["output"]:
        assert tensor["data_type"].startswith("TYPE_")
        assert -1 not in tensor["dims"]  # the batch dimension is not among them
    assert config["model_transaction_policy"]["decoupled"] is False


@pytest.mark.extension("statistics")
@pytest.mark.parametrize(
    "path",
    ["/v2/models/identity/stats", "/v2/models/identity/versions/1/stats", "/v2/models/stats"],
)
def test_statistics_count_what_was_served(http: httpx.Client, path: str) -> None:
    def read() -> dict[str, Any]:
        found = get(http, path)["model_stats"]
        return next(stats for stats in found if stats["name"] == "identity")

    infer(http, 1)
    before = read()
    for rows in (1, 3, 5):
        infer(http, rows)
    after = read()

    assert after["version"] == "1"
    assert after["inference_count"] - before["inference_count"] == 9
    assert 1 <= after["execution_count"] - before["execution_count"] <= 3
    assert after["last_inference"] >= before["last_inference"]
    for name in DURATIONS:
        assert {"count", "ns"} <= set(after["inference_stats"][name])
    success = after["inference_stats"]["success"], before["inference_stats"]["success"]
    assert success[0]["count"] - success[1]["count"] == 3
    assert success[0]["ns"] > success[1]["ns"]


@pytest.mark.extension("model_repository")
@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready": true}'])
def test_repository_index_is_a_bare_array(http: httpx.Client, body: bytes) -> None:
    response = http.post("/v2/repository/index", content=body)
    assert response.status_code == 200
    entries = {entry["name"]: entry for entry in response.json()}
    assert entries["identity"]["version"] == "1"
    assert entries["identity"]["state"] == "READY"


@pytest.mark.parametrize(
    "path", ["/v2/systemsharedmemory/status", "/v2/cudasharedmemory/status", "/v2/nonsense"]
)
def test_what_is_not_served_answers_in_the_error_form(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    if response.status_code != 200:
        assert isinstance(response.json()["error"], str)


def test_shared_memory_is_advertised_exactly_if_it_is_served(http: httpx.Client) -> None:
    extensions = get(http, "/v2")["extensions"]
    for kind in ("system", "cuda"):
        served = http.get(f"/v2/{kind}sharedmemory/status").status_code == 200
        assert served == (f"{kind}_shared_memory" in extensions)
