"""The newest captured rows, however large they are and however often one begins again."""

from pathlib import Path

import numpy as np
import pytest

from gateway.evaluate import window as module
from gateway.evaluate.window import Window, bytes_of_row
from models.bundle import Bundle
from tests.gateway.evaluate.traffic import Service, draw_world, pack_classifier


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pack_classifier(tmp_path_factory.mktemp("bundle") / "1")


@pytest.fixture
def service(tmp_path: Path, bundle: Bundle) -> Service:
    return Service(tmp_path, bundle)


def window(service: Service) -> Window:
    return Window(service.engine, service.evidence, service.bundle.manifest)


def kept(of: Window) -> list[str]:
    captured = of.captured
    return [] if captured is None else [prediction for prediction, _ in captured.keys]


def test_a_window_holds_the_newest_rows_and_moves_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    monkeypatch.setattr(module, "BATCH_REQUESTS", 7)
    moving = window(service)
    assert (moving.advance(), moving.captured) == (0, None)
    for turn in range(3):
        service.serve(draw_world(60, np.random.default_rng(turn)))
        assert moving.advance() == 60

    newest = [decision.prediction_id for decision in service.served[-100:]]
    assert kept(moving) == newest
    again = window(service)
    assert again.advance() == 100
    assert kept(again) == newest


def test_what_newer_rows_replace_at_once_is_not_read(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    moving = window(service)
    service.serve(draw_world(10, np.random.default_rng(0)))
    moving.advance()

    service.serve(draw_world(250, np.random.default_rng(1)))

    assert moving.advance() == 100
    assert kept(moving) == [decision.prediction_id for decision in service.served[-100:]]


def test_large_rows_are_fewer_and_read_part_by_part(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = bytes_of_row(service.bundle.manifest.signature)
    monkeypatch.setattr(module, "MOST_BYTES", 30 * size)
    monkeypatch.setattr(module, "BATCH_BYTES", 4 * size)
    service.serve(draw_world(50, np.random.default_rng(0)))
    asked = []
    read = service.evidence.read
    monkeypatch.setattr(
        service.evidence, "read", lambda **what: asked.append(len(what["ids"])) or read(**what)
    )

    small = window(service)

    assert small.advance() == 30
    assert kept(small) == [decision.prediction_id for decision in service.served[-30:]]
    assert max(asked) == 4


def test_a_request_larger_than_all_bounds_is_read_alone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    service.serve(draw_world(5, np.random.default_rng(0)))

    tiny = window(service)

    assert tiny.advance() == 1
    assert kept(tiny) == [service.served[-1].prediction_id]
