"""What is wrong with an answer to a broken request."""

import orjson

from tests.fuzz.asgi import HANG_S, Reply
from tests.fuzz.faults import CANARY

SENTENCE_MAX = 300
SECRETS = (CANARY, "Traceback", "site-packages", ".py", "msgspec", "object at 0x")
REFUSALS = {400, 401, 403, 404, 405, 413, 415, 422, 501}
TOO_LATE = (504, "deadline_exceeded")  # the request was right, the time that it gave too short


def code_of(reply: Reply) -> str:
    """Read the code of an error; an answer has none."""
    told = _read(reply)
    return str(told.get("code", "")) if isinstance(told, dict) else ""


def complaints(reply: Reply) -> list[str]:
    """Say all that is wrong with an answer: its status, form, words or the time it took."""
    wrong = []
    answered = (reply.status, code_of(reply))
    if reply.status not in REFUSALS | {200} and answered != TOO_LATE:
        wrong.append(f"status {reply.status}")
    if reply.took_s > HANG_S:
        wrong.append(f"took {reply.took_s:.1f} s")
    if reply.status != 200:
        wrong += _complaints_about_error(reply)
    return wrong


def _complaints_about_error(reply: Reply) -> list[str]:
    told = _read(reply)
    if reply.headers.get(b"content-type") != b"application/json":
        return [f"content type {reply.headers.get(b'content-type')!r}"]
    if not isinstance(told, dict) or set(told) != {"error", "code", "request_id"}:
        return ["not in the form of an error"]
    wrong = [f"the sentence holds {secret}" for secret in SECRETS if secret in told["error"]]
    if not 0 < len(told["error"]) <= SENTENCE_MAX:
        wrong.append(f"a sentence of {len(told['error'])} characters")
    return wrong


def _read(reply: Reply) -> object:
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None
