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

from gateway.errors import BadRequestError, ConflictError, TooLargeError
from gateway.evaluate.feedback import MAX_FEEDBACK_BYTES, Feedback, parse_feedback
from gateway.evaluate.feedback_store import MAX_FEEDBACK_ROWS, FeedbackStore, Receipt
from gateway.evaluate.sink import FeedbackSink
from gateway.registry.registry import Registry
from models.prediction import text_number

ID = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32


def _stored(url: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        query = "SELECT prediction_id, row, label FROM labels ORDER BY revision"
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def _rewards(url: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        query = "SELECT prediction_id, row, slot, reward FROM rewards ORDER BY revision"
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_a_list_gives_one_label_per_row(database_url: str) -> None:
    receipt = FeedbackStore(database_url).add("m", [Feedback(ID, label=[1, True, 0.5])])

    assert receipt == Receipt(accepted=3, duplicates=0)
    assert _stored(database_url) == [(ID, 0, 1.0), (ID, 1, 1.0), (ID, 2, 0.5)]


def test_a_row_can_be_named(database_url: str) -> None:
    FeedbackStore(database_url).add("m", [Feedback(ID, row=7, label=1, reward=0.25)])

    assert _stored(database_url) == [(ID, 7, 1.0)]
    assert _rewards(database_url) == [(ID, 7, 0, 0.25)]


def test_a_list_of_rewards_has_one_per_row_and_with_a_row_one_per_slot(database_url: str) -> None:
    store = FeedbackStore(database_url)
    store.add("m", [Feedback(ID, reward=[1, 0]), Feedback(ID, row=2, reward=[0, 1, 0.5])])
    store.add("m", [Feedback(ID, row=3, slot=4, reward=1)])

    assert [found[1:] for found in _rewards(database_url)] == [
        (0, 0, 1.0),
        (1, 0, 0.0),
        (2, 0, 0.0),
        (2, 1, 1.0),
        (2, 2, 0.5),
        (3, 4, 1.0),
    ]


def test_what_was_really_shown_is_kept_with_the_reason_for_it(database_url: str) -> None:
    item = Feedback(ID, served=["b", 7], override="out of stock", idempotency_key="k")
    store = FeedbackStore(database_url)

    assert store.add("m", [item]) == Receipt(accepted=1, duplicates=0)
    assert store.add("m", [item]) == Receipt(accepted=0, duplicates=1)
    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as connection:
        found = connection.execute("SELECT row, served, override FROM confirmations").fetchall()
    connection.close()
    assert found == [(0, '["b",7]', "out of stock")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"label": 1}, {"label": 2}),
        ({"reward": 1}, {"reward": 0}),
        ({"reward": [1, 0]}, {"reward": [1, 1]}),
        ({"served": [1, 2]}, {"served": [2, 1]}),
        ({"served": 1}, {"served": 1, "override": "stock"}),
    ],
)
def test_another_value_under_the_same_key_is_refused_with_the_whole_call_and_counted(
    first: dict[str, Any], second: dict[str, Any], database_url: str
) -> None:
    store = FeedbackStore(database_url)
    store.add("m", [Feedback(ID, idempotency_key="k", **first)])
    new = Feedback(OTHER, label=1)

    with pytest.raises(ConflictError, match="item 1 says something else"):
        store.add("m", [new, Feedback(ID, idempotency_key="k", **second)])
    assert OTHER not in [found[0] for found in _stored(database_url)]
    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as connection:
        query = "SELECT model, prediction_id, row FROM contradictions"
        kept_apart = connection.execute(query).fetchall()
    connection.close()
    assert [found[:2] for found in kept_apart] == [("m", ID)]


def test_two_values_under_one_key_in_one_call_contradict_each_other(database_url: str) -> None:
    items = [Feedback(ID, reward=reward, idempotency_key="k") for reward in (0, 1)]

    with pytest.raises(ConflictError, match="item 1"):
        FeedbackStore(database_url).add("m", items)
    assert _rewards(database_url) == []


def test_the_first_bad_line_is_named() -> None:
    lines = b"\n".join([OBJECT, b"", OBJECT, b'{"prediction_id": 3}', b"{"])

    with pytest.raises(BadRequestError, match="line 4"):
        parse_feedback(lines, "application/x-ndjson")


def test_the_same_key_makes_no_second_row_also_after_a_restart(database_url: str) -> None:
    items = [Feedback(ID, label=[1, 2], idempotency_key="k")]
    FeedbackStore(database_url).add("m", items)

    assert FeedbackStore(database_url).add("m", items) == Receipt(accepted=0, duplicates=2)
    assert len(_stored(database_url)) == 2


def test_a_key_that_is_used_again_for_another_prediction_loses_no_label(database_url: str) -> None:
    store = FeedbackStore(database_url)
    store.add("m", [Feedback(ID, label=1, idempotency_key="k")])

    assert store.add("m", [Feedback(OTHER, label=1, idempotency_key="k")]).accepted == 1


def test_without_a_key_every_arrival_is_a_revision(database_url: str) -> None:
    store = FeedbackStore(database_url)
    store.add("m", [Feedback(ID, label=1)])
    store.add("m", [Feedback(ID, label=2)])

    assert [label for _, _, label in _stored(database_url)] == [1.0, 2.0]


def test_a_store_travels_to_another_process_by_its_address(database_url: str) -> None:
    store = FeedbackStore(database_url)
    store.add("m", [Feedback(ID, label=1)])

    assert pickle.loads(pickle.dumps(store)).add("m", [Feedback(ID, label=2)]).accepted == 1


def test_a_label_cannot_be_observed_after_it_was_received(database_url: str) -> None:
    store = FeedbackStore(database_url, clock_ns=lambda: 1000)
    store.add("m", [Feedback(ID, label=1, observed_ns=2**62)])

    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("SELECT observed_ns FROM labels").fetchall() == [(1000,)]
    connection.close()


KILLED = """
import os, signal, sys
from gateway.evaluate.feedback import Feedback
from gateway.evaluate.feedback_store import FeedbackStore
FeedbackStore(sys.argv[1]).add("m", [Feedback("{id}", label=[1.0] * 50)])
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
    store = FeedbackStore(database_url)
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
    FeedbackStore(database_url).add("m", [Feedback(ID, label=["zéro", "", "zéro"])])
    labels = [label for _, _, label in _stored(database_url)]

    assert labels == [text_number(text) for text in ("zéro".encode(), b"", "zéro".encode())]


def test_a_text_may_come_with_a_reward(database_url: str) -> None:
    FeedbackStore(database_url).add("m", [Feedback(ID, row=3, label="un", reward=0.5)])

    assert _stored(database_url) == [(ID, 3, text_number(b"un"))]
    assert _rewards(database_url) == [(ID, 3, 0, 0.5)]


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
        ({}, "a label, a reward or what was served is needed"),
        ({"label": ["cat", 1]}, "all be numbers or all be texts"),
        ({"label": {"cat": 1}}, "$.label"),
        ({"reward": "cat"}, "$.reward"),
        ({"label": ["cat"], "row": 0}, "row goes with one label"),
        ({"label": []}, "one value per row, it is empty"),
        ({"label": [1, None]}, "$.label[1]"),
        ({"label": [1], "row": 0}, "row goes with one label"),
        ({"label": 1, "slot": 0}, "slot goes with a reward"),
        ({"reward": [1], "slot": 0}, "slot goes with one reward"),
        ({"label": 1, "override": "stock"}, "say what"),
        ({"served": []}, "1 to 1000 choices"),
        ({"served": 1.5}, "$.served"),
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
    store = FeedbackStore(database_url)

    with pytest.raises(BadRequestError):
        store.add("m", [Feedback(ID, label=[1] * (MAX_FEEDBACK_ROWS + 1))])
    store.add("m", [Feedback(ID, label=1)])
    assert len(_stored(database_url)) == 1
