"""Text in, text out: the translation example on a real gateway, from training to judged labels."""

import json
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton

from models.bytes_tensor import as_elements
from models.examples.translation import Translation
from tests.e2e.conftest import Running, wait_for

pytestmark = pytest.mark.e2e

INFER = "/v2/models/translation/infer"


@pytest.fixture(scope="module")
def running(common: Running, translation: Translation) -> Running:
    with common.client() as client:
        client.register(translation.bundle.path, as_="live")  # data: no trust in code is asked for
    return common


def ask(url: str, texts: list[str], **parameters: Any) -> Any:
    """Ask as curl does."""
    tensor = {"name": "english", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    body = {"inputs": [tensor], "parameters": parameters}
    response = httpx.post(url + INFER, content=json.dumps(body))
    assert response.status_code == 200, response.text
    return response.json()


def test_strings_in_json_are_answered_with_strings(running: Running) -> None:
    answer = ask(running.url, ["three hundred and forty-two", "eighty thousand"])

    assert answer["outputs"][0]["data"] == ["trois cent quarante-deux", "quatre-vingt mille"]
    assert answer["parameters"]["served_by"] == "model"


def test_a_stock_client_sends_and_gets_binary_strings(running: Running) -> None:
    texts = np.array([b"seventy-one", b"\xff"], np.object_)
    tensor = triton.InferInput("english", texts.shape, "BYTES")
    tensor.set_data_from_numpy(texts, binary_data=True)
    with triton.InferenceServerClient(running.url.removeprefix("http://")) as client:
        answer = client.infer("translation", [tensor])

    said = answer.as_numpy("french").tolist()
    assert said[0] == b"soixante et onze"
    assert isinstance(said[1], bytes)


def test_a_stock_client_is_answered_over_grpc(running: Running) -> None:
    texts = np.array([b"eighty-one", b"two hundred thousand"], np.object_)
    tensor = triton_grpc.InferInput("english", texts.shape, "BYTES")
    tensor.set_data_from_numpy(texts)
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{running.grpc_port}") as client:
        answer = client.infer("translation", [tensor])

    assert answer.as_numpy("french").tolist() == [b"quatre-vingt-un", b"deux cent mille"]


def test_a_deadline_of_a_millisecond_is_answered_by_the_ladder(running: Running) -> None:
    answer = ask(running.url, ["nine hundred and ninety-one", "one"], timeout=1000)

    assert answer["parameters"]["served_by"] == "fallback:constant"
    assert answer["parameters"]["fallback_reason"] == "deadline"
    assert answer["outputs"][0]["data"] == ["", ""]


def test_its_accuracy_is_judged_from_texts_that_turned_out_right(
    running: Running, translation: Translation
) -> None:
    texts, labels = translation.test_texts, translation.test_labels
    with running.client() as client:
        right = 0
        for start in range(0, len(texts), 20):
            part = slice(start, start + 20)
            answer = client.infer("translation", {"english": as_elements(texts[part], (20,))})
            right += int((answer.outputs["french"] == labels[part]).sum())
            truth = [label.decode() for label in labels[part].tolist()]
            client.feedback(
                "translation", [{"prediction_id": answer.prediction_id, "label": truth}]
            )

        def judged() -> bool:
            live = client.report("translation")["versions"][0]
            return int(live["accuracy"]["n"]) == len(texts)

        wait_for(judged, 30)
        report = client.report("translation")
    assert report["versions"][0]["accuracy"]["hits"] == right
    assert right / len(texts) >= 0.99
    assert {e["state"] for e in report["expectations"]} <= {"holds", "unknown"}
