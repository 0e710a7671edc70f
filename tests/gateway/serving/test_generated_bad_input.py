"""Thousands of generated broken requests: no 5xx, no crash, no hang, no user data in an error.

More of them, or others: ``pytest ... --bad-requests 1000000 --bad-seed 7``.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from gateway.serving import ingress
from gateway.serving.sending import send_body
from models.bundle import Bundle
from models.signing import SigningKey
from tests.fuzz.asgi import HANG_S, Sent, ask
from tests.fuzz.faults import message
from tests.fuzz.generator import bad_requests
from tests.fuzz.judge import complaints
from tests.fuzz.pair import build_pair

RIGHT = Sent(message())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    # Nobody waits for a deadline here, however slow the machine is.
    return build_pair(Path(tmp_path_factory.mktemp("pair")), key, budget_ms=60_000)


async def failures(app: ASGIApp, count: int, seed: int) -> tuple[list[Any], Counter[int]]:
    """Send the broken requests; say which were answered wrongly, and count the statuses."""
    wrong: list[Any] = []
    statuses: Counter[int] = Counter()
    for sent in bad_requests(count, seed):
        try:
            reply = await ask(app, sent)
            if reply.took_s > HANG_S:  # a busy machine stalls now and then, a hang hangs again
                reply = await ask(app, sent)
        except Exception as crash:  # noqa: BLE001  whatever it is, it is a finding
            wrong.append((sent, [f"crashed: {crash!r}"]))
            continue
        statuses[reply.status] += 1
        if problems := complaints(reply):
            wrong.append((sent, problems))
    return wrong, statuses


async def test_no_generated_request_gets_a_5xx_or_hangs(
    serve: Any, pair: Bundle, pytestconfig: pytest.Config
) -> None:
    served = await serve(pair)
    count, seed = pytestconfig.getoption("--bad-requests"), pytestconfig.getoption("--bad-seed")

    wrong, statuses = await failures(served.ingress, count, seed)

    assert wrong[:5] == [], f"{len(wrong)} of {count} with seed {seed}"
    assert statuses[200] < count / 10  # nearly all of them are broken
    assert (await ask(served.ingress, RIGHT)).status == 200
    assert served.admission.in_flight == served.batcher.queued_rows == 0


async def test_the_harness_sees_a_handler_that_raises(
    serve: Any, pair: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(pair)
    right = ingress.parse_envelope

    def faulty(body: bytes, header_length: bytes | None, signature: Any) -> Any:
        if b"NaN" in body:
            raise KeyError("planted")
        return right(body, header_length, signature)

    monkeypatch.setattr(ingress, "parse_envelope", faulty)

    wrong, _ = await failures(served.ingress, 1000, seed=1)

    assert wrong
    assert all(problems == ["status 500"] for _, problems in wrong)


async def test_the_harness_sees_a_crash_and_a_hang() -> None:
    async def crash(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("planted")

    async def hang(scope: Any, receive: Any, send: Any) -> None:
        time.sleep(HANG_S * 1.1)
        await send_body(404, b'{"error": "a", "code": "a", "request_id": "a"}', send)

    crashed, _ = await failures(crash, 1, seed=1)
    hung, _ = await failures(hang, 1, seed=1)

    assert "crashed" in crashed[0][1][0]
    assert hung[0][1][0].startswith("took")
