"""An acknowledged label is never lost, and one that is sent twice counts once."""

import json
import multiprocessing
import pickle
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadRequestError, TooLargeError
from gateway.evaluate.feedback import FeedbackSink
from gateway.evaluate.labels import (
    MAX_FEEDBACK_BYTES,
    MAX_FEEDBACK_ROWS,
    Feedback,
    LabelStore,
    Receipt,
    parse_feedback,
)
from gateway.registry.registry import Registry
from models.prediction import text_number

ID = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32


def _stored(url: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        query = "SELECT prediction_id, row, label, reward FROM labels ORDER BY revision"
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_a_list_gives_one_label_per_row(database_url: str) -> None:
    receipt = LabelStore(database_url).add("m", [Feedback(ID, label=[1, True, 0.5])])

    assert receipt == Receipt(accepted=3, duplicates=0)
    assert _stored(database_url) == [(ID, 0, 1.0, None), (ID, 1, 1.0, None), (ID, 2, 0.5, None)]


def test_a_row_can_be_named(database_url: str) -> None:
    LabelStore(database_url).add("m", [Feedback(ID, row=7, label=1, reward=0.25)])

    assert _stored(database_url) == [(ID, 7, 1.0, 0.25)]


def test_the_same_key_makes_no_second_row_also_after_a_restart(database_url: str) -> None:
    items = [Feedback(ID, label=[1, 2], idempotency_key="k")]
    LabelStore(database_url).add("m", items)

    assert LabelStore(database_url).add("m", items) == Receipt(accepted=0, duplicates=2)
    assert len(_stored(database_url)) == 2


def test_a_key_that_is_used_again_for_another_prediction_loses_no_label(database_url: str) -> None:
    store = LabelStore(database_url)
    store.add("m", [Feedback(ID, label=1, idempotency_key="k")])

    assert store.add("m", [Feedback(OTHER, label=1, idempotency_key="k")]).accepted == 1


def test_without_a_key_every_arrival_is_a_revision(database_url: str) -> None:
    store = LabelStore(database_url)
    store.add("m", [Feedback(ID, label=1)])
    store.add("m", [Feedback(ID, label=2)])

    assert [label for _, _, label, _ in _stored(database_url)] == [1.0, 2.0]


def test_a_store_travels_to_another_process_by_its_address(database_url: str) -> None:
    store = LabelStore(database_url)
    store.add("m", [Feedback(ID, label=1)])

    assert pickle.loads(pickle.dumps(store)).add("m", [Feedback(ID, label=2)]).accepted == 1


def test_a_label_cannot_be_observed_after_it_was_received(database_url: str) -> None:
    store = LabelStore(database_url, clock_ns=lambda: 1000)
    store.add("m", [Feedback(ID, label=1, observed_ns=2**62)])

    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("SELECT observed_ns FROM labels").fetchall() == [(1000,)]
    connection.close()


KILLED = """
import os, signal, sys
from gateway.evaluate.labels import Feedback, LabelStore
LabelStore(sys.argv[1]).add("m", [Feedback("{id}", label=[1.0] * 50)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_acknowledged_survives_sigkill(database_url: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED.format(id=ID), database_url],
        cwd=Path(__file__).parents[3],
        check=False,
        timeout=60,
    )

    assert child.returncode == -signal.SIGKILL
    assert len(_stored(database_url)) == 50


def _add_all(database_url: str, keys: int) -> int:
    store = LabelStore(database_url)
    return sum(
        store.add("m", [Feedback(ID, label=1, idempotency_key=f"k{key}")]).accepted
        for key in range(keys)
    )


def test_processes_that_race_with_the_same_keys_store_each_once(database_url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        accepted = pool.starmap(_add_all, [(database_url, 40)] * 3)

    assert sum(accepted) == 40
    assert len(_stored(database_url)) == 40


@pytest.fixture
def sink(registry: Registry, database_url: str, tmp_path: Path) -> FeedbackSink:
    """Of a registered model that answers classes."""
    return FeedbackSink(
        "mlp", database_url=database_url, artifacts_url=f"file://{tmp_path}/artifacts"
    )


async def test_the_sink_answers_with_the_receipt(sink: FeedbackSink) -> None:
    body = json.dumps({"prediction_id": ID, "label": 1, "idempotency_key": "k"}).encode()

    assert await sink(body, "application/json") == {"accepted": 1, "duplicates": 0}
    assert await sink(body, "application/json") == {"accepted": 0, "duplicates": 1}


async def test_a_text_for_a_model_of_classes_is_refused_and_nothing_of_the_call_is_kept(
    sink: FeedbackSink, database_url: str
) -> None:
    body = json.dumps([{"prediction_id": ID, "label": label} for label in (1, "cat")]).encode()

    with pytest.raises(BadRequestError, match="a class is sent as its index"):
        await sink(body, "application/json")
    assert _stored(database_url) == []


async def test_a_sink_reaches_another_process_by_addresses(sink: FeedbackSink) -> None:
    body = json.dumps({"prediction_id": ID, "label": 1}).encode()

    assert (await pickle.loads(pickle.dumps(sink))(body, ""))["accepted"] == 1


def test_a_text_is_kept_as_the_number_that_stands_for_it(database_url: str) -> None:
    LabelStore(database_url).add("m", [Feedback(ID, label=["zéro", "", "zéro"])])
    labels = [label for _, _, label, _ in _stored(database_url)]

    assert labels == [text_number(text) for text in ("zéro".encode(), b"", "zéro".encode())]


def test_a_text_may_come_with_a_reward(database_url: str) -> None:
    LabelStore(database_url).add("m", [Feedback(ID, row=3, label="un", reward=0.5)])

    assert _stored(database_url) == [(ID, 3, text_number(b"un"), 0.5)]


OBJECT = b'{"prediction_id": "%s", "label": 1}' % ID.encode()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (OBJECT, "application/json"),
        (b" [" + OBJECT + b"]", "application/json; charset=utf-8"),
        (b'{"feedback": [' + OBJECT + b"]}", ""),
        (OBJECT + b"\n", "application/x-ndjson"),
    ],
)
def test_an_object_a_list_and_lines_are_read_alike(body: bytes, content_type: str) -> None:
    assert parse_feedback(body, content_type) == [Feedback(ID, label=1)]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "a label or a reward is needed"),
        ({"label": ["cat", 1]}, "all be numbers or all be texts"),
        ({"label": {"cat": 1}}, "$.label"),
        ({"reward": "cat"}, "$.reward"),
        ({"label": ["cat"], "row": 0}, "row goes with one value"),
        ({"label": []}, "one value per row, it is empty"),
        ({"label": [1, None]}, "$.label[1]"),
        ({"label": [1], "row": 0}, "row goes with one value"),
        ({"label": [1], "reward": [1, 2]}, "lists of the same length"),
        ({"label": [1], "reward": 1}, "or neither a list"),
        ({"label": 1, "row": -1}, "$.row"),
        ({"label": 2**53 + 1}, "beyond 2**53"),
        ({"label": 1, "observed_ns": -1}, "$.observed_ns"),
        ({"label": 1, "prediction_id": "ABC"}, "$.prediction_id"),
        ({"label": 1, "idempotency_key": ""}, "$.idempotency_key"),
        ({"label": 1, "secret": 1}, "a field that is not known here"),
    ],
)
def test_feedback_without_sense_is_refused_with_a_sentence(
    fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        parse_feedback(json.dumps({"prediction_id": ID, **fields}).encode(), "application/json")

    assert sentence in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "cat" not in str(refused.value)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{", b"3", b"null", b"[]", b'{"feedback": 3}', b"[1]", b"NaN", b"{}"]
)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_what_is_not_feedback_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(BadRequestError):
        parse_feedback(body, content_type)


def test_a_body_beyond_the_limit_is_not_parsed() -> None:
    with pytest.raises(TooLargeError):
        parse_feedback(b" " * (MAX_FEEDBACK_BYTES + 1), "application/json")


def test_more_rows_than_one_transaction_takes_are_refused_whole(database_url: str) -> None:
    store = LabelStore(database_url)

    with pytest.raises(BadRequestError):
        store.add("m", [Feedback(ID, label=[1] * (MAX_FEEDBACK_ROWS + 1))])
    store.add("m", [Feedback(ID, label=1)])
    assert len(_stored(database_url)) == 1
