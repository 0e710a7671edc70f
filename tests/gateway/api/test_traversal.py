"""No path leads anywhere but where the router says."""

import json

import pytest
from fastapi import FastAPI

from gateway.registry.registry import Registry
from tests.gateway.api.conftest import Bundles
from tests.traversal import CORPUS, ask


@pytest.mark.parametrize(
    "place",
    [
        "/v2/{}",
        "/v2/models/{}",
        "/v2/models/{}/infer",
        "/v2/models/toy/versions/{}/infer",
        "/v2/repository/models/{}/load",
        "/v2/repository/{}/index",
        "/api/v1/models/{}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_that_tries_to_leave_its_place_gets_a_typed_4xx(
    app: FastAPI, registry: Registry, bundles: Bundles, place: str, method: str
) -> None:
    registry.register(bundles(name="identity"), as_="live", trust_code=False, who="ann")
    for text in CORPUS:
        path = place.format(text)
        status, headers, body = await ask(app, method, path)
        assert 400 <= status < 500, (path, status)
        assert headers[b"content-type"] == b"application/json", path
        assert set(json.loads(body)) == {"error", "code", "request_id"}, path


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(set(CORPUS)) >= 400
