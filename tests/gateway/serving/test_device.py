"""A device without memory splits batches; a device that is lost ends the process."""

import asyncio
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import orjson
import pytest

from gateway.dying import LOST_DEVICE
from gateway.serving.batcher import Batcher
from gateway.serving.item import Item
from gateway.serving.versions import Versions
from models.bundle import Bundle
from models.errors import OutOfMemoryError, StickyDeviceError
from models.runtime.fitting import RowLimit
from models.signing import SigningKey
from tests.gateway.serving.conftest import table
from tests.gateway.serving.poison import build_lookup

FOREVER_NS = 10**12
POISON = 1e6  # far outside the lookup table


@pytest.fixture(scope="module")
def lookup(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    return build_lookup(tmp_path_factory.mktemp("lookup"), key, version="1")


class Small:
    """The lookup on a device that holds ``fits`` rows at once."""

    def __init__(self, runtime: Any, fits: int) -> None:
        self._runtime = runtime
        self._fits = fits
        self.calls: list[int] = []

    def predict(self, inputs: Any, *, deadline_ns: int | None = None) -> Any:
        rows = len(inputs["place"])
        self.calls.append(rows)
        if rows > self._fits:
            raise OutOfMemoryError("lookup")
        return self._runtime.predict(inputs)


class Lost:
    """A device that met an illegal address."""

    def predict(self, inputs: Any, *, deadline_ns: int | None = None) -> Any:
        raise StickyDeviceError("lookup", "an illegal memory access was encountered")


def on(served: Any, runtime: Any) -> Any:
    live = served.versions.view.live
    return replace(live, runtime=runtime, limit=RowLimit("lookup"), model_ns=1e12)


def submit(served: Any, version: Any, places: list[float]) -> Any:
    item = Item("a", {"place": np.array(places, np.float32)[:, None]}, len(places))
    deadline_ns = time.perf_counter_ns() + FOREVER_NS
    return served.batcher.submit(version, served.versions.view.table, item, deadline_ns)


async def test_requests_that_fit_only_apart_are_all_answered(serve: Any, lookup: Bundle) -> None:
    served = await serve(lookup)
    device = Small(served.versions.view.live.runtime, fits=4)
    version = on(served, device)
    places = [[float(i % 8)] * (1 + i % 3) for i in range(20)]

    judged = await asyncio.gather(*(submit(served, version, row) for row in places))

    for row, answer in zip(places, judged, strict=True):
        assert answer.outputs["value"][:, 0].tolist() == [place + 1.0 for place in row]
    assert device.calls[0] == sum(len(row) for row in places)
    device.calls.clear()
    await asyncio.gather(*(submit(served, version, row) for row in places))
    assert max(device.calls) <= 4  # it remembers


async def test_one_request_of_many_rows_is_split_down_to_single_rows(
    serve: Any, lookup: Bundle
) -> None:
    served = await serve(lookup)
    version = on(served, Small(served.versions.view.live.runtime, fits=1))

    judged = await submit(served, version, [3.0, 1.0, 7.0, 0.0, 5.0])

    assert judged.outputs["value"][:, 0].tolist() == [4.0, 2.0, 8.0, 1.0, 6.0]
    assert version.limit.rows == 1


async def test_a_poison_row_and_a_full_memory_together_fail_one_request(
    serve: Any, lookup: Bundle
) -> None:
    served = await serve(lookup)
    version = on(served, Small(served.versions.view.live.runtime, fits=2))

    judged = await asyncio.gather(
        *(submit(served, version, [place]) for place in (1.0, POISON, 2.0, 3.0))
    )

    assert [answer.stop for answer in judged] == ["", "model_error", "", ""]
    assert judged[3].outputs["value"].tolist() == [[4.0]]


class DeadError(Exception):
    """Stands for the end of the process."""


def die(error: Exception) -> NoReturn:
    raise DeadError(str(error))


async def test_a_lost_device_ends_the_process_on_the_thread_that_meets_it(
    serve: Any, lookup: Bundle
) -> None:
    served = await serve(lookup)
    served.batcher = Batcher(
        ThreadPoolExecutor(1),
        max_rows=8,
        inline_below_us=0,
        exploration_closed=lambda: None,
        die=die,
    )

    with pytest.raises(DeadError, match="the device is lost to this process: an illegal memory"):
        await submit(served, on(served, Lost()), [1.0])


async def test_a_device_that_is_lost_while_a_version_loads_ends_the_process_too(
    lookup: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serving.versions.open_runtime", lambda bundle: Lost())
    versions = Versions(lambda digest: lookup.path, salt=b"", die=die)

    with pytest.raises(DeadError):
        await versions.apply(table(lookup))


REPLICA = """
import asyncio, json, sys, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from gateway.registry.routing import RoutingTable, VersionRef
from gateway.serving.batcher import Batcher
from gateway.serving.item import Item
from gateway.serving.versions import Versions
from models.errors import StickyDeviceError


class Failing:
    def __init__(self, runtime):
        self.runtime = runtime

    def predict(self, inputs, *, deadline_ns=None):
        if len(inputs["place"]) == 3:
            raise StickyDeviceError("lookup", "device-side assert triggered")
        return self.runtime.predict(inputs)


async def main(path, digest):
    versions = Versions(lambda _: Path(path), salt=b"")
    await versions.apply(RoutingTable("lookup", 1, "1", (VersionRef("1", digest),)))
    live = versions.view.live
    live = replace(live, runtime=Failing(live.runtime), model_ns=1e12)
    batcher = Batcher(
        ThreadPoolExecutor(1), max_rows=8, inline_below_us=0, exploration_closed=lambda: None
    )

    def ask(rows):
        item = Item("a", {"place": np.ones((rows, 1), np.float32)}, rows)
        until_ns = time.perf_counter_ns() + 10**10
        return batcher.submit(live, versions.view.table, item, until_ns)

    judged = await ask(1)
    print(json.dumps({"answered": judged.outputs["value"][0].tolist()}), flush=True)
    print("never", await ask(3), flush=True)


asyncio.run(main(*sys.argv[1:]))
"""


def test_the_process_is_gone_before_it_can_answer_anything(lookup: Bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPLICA, str(lookup.path), lookup.digest],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == LOST_DEVICE
    assert orjson.loads(done.stdout) == {"answered": [2.0]}
    assert done.stderr.strip().splitlines() == [
        "this process ends: model lookup: the device is lost to this process: "
        "device-side assert triggered"
    ]
