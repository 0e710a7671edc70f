"""The largest values of each row, named; never so many that others wait for it."""

from typing import Any

import numpy as np
import pytest

from gateway.errors import BadRequestError
from gateway.serving.classification import NAMED_MAX, check_classes, top_classes
from models.examples.example import Example
from models.manifest import DTYPES, TensorSpec
from tests.gateway.serving.test_ingress import body

NUMBERS = sorted(set(DTYPES) - {"BYTES"})


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_of_every_datatype_can_be_named(datatype: str) -> None:
    rows = np.array([[0, 1, 1], [1, 0, 0]]).astype(DTYPES[datatype])

    named = top_classes(rows, 2)

    one, zero = ("1", "0") if rows.dtype.kind in "iub" else ("1.000000", "0.000000")
    wanted = [[f"{one}:1", f"{one}:2"], [f"{one}:0", f"{zero}:1"]]
    assert [[name.decode() for name in row] for row in named] == wanted


@pytest.mark.parametrize("datatype", ["INT64", "UINT64"])
def test_the_largest_whole_number_is_named_to_its_last_digit(datatype: str) -> None:
    largest = int(np.iinfo(DTYPES[datatype]).max)

    [[name]] = top_classes(np.array([[0, largest]], DTYPES[datatype]), 1)

    assert name == f"{largest}:1".encode()


def test_numbers_that_are_none_come_last() -> None:
    [named] = top_classes(np.array([[np.nan, 2.5, -np.inf]], np.float32), 3)

    assert named[0] == b"2.500000:1"
    assert sorted(named[1:]) == [b"-inf:2", b"nan:0"]


async def test_more_classes_than_an_answer_holds_are_refused_before_the_model_runs(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles, max_body_bytes=1 << 23)
    rows = np.tile(np.float32(cancer.test_rows[:1]), (NAMED_MAX // 2 + 1, 1))
    output = {"name": "probabilities", "parameters": {"classification": 2}}

    refused = await served.client.post("/infer", content=body(rows, outputs=[output]))

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_parameter")
    assert served.kept.decisions[0].batch_rows == 0


def test_as_many_classes_as_an_answer_holds_may_be_named() -> None:
    spec = TensorSpec(name="y", datatype="FP32", shape=(-1, 10))

    check_classes(spec, rows=NAMED_MAX // 10, classes=1000)  # a row has no more than ten
    with pytest.raises(BadRequestError):
        check_classes(spec, rows=NAMED_MAX // 10 + 1, classes=10)
