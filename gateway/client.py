"""A small Python client: inference over the Open Inference Protocol v2, and the management API."""

import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import httpx

from gateway.wire import (
    HEADER_LENGTH,
    READ_HEADER,
    Answer,
    Arrays,
    Json,
    decode_answer,
    encode_request,
)

TIMEOUT_S = 30.0
IMPORT_LINES = 5000  # of feedback, in one call: well below the gateway's limits
LOG_S = 120.0  # reading a hundred thousand decisions
UPLOAD_S = 300.0  # the gateway runs the golden rows before it answers


class AnswerError(Exception):
    """The gateway answered with an error, or not at all (status 0, code ``unreachable``)."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(status, code, sentence)
        self.status = status
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        """Repeat what the gateway said."""
        return self.sentence


class Client:
    """Talks to one gateway.  Close it, or use it in a ``with`` statement."""

    def __init__(
        self, url: str, key: str | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=TIMEOUT_S, transport=transport
        )

    def __enter__(self) -> Self:
        """Do nothing but return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def infer(
        self,
        model: str,
        inputs: Arrays,
        *,
        timeout_ms: float | None = None,
        version: str | None = None,
        outputs: Sequence[str] = (),
        binary: bool = True,
        request_id: str | None = None,
    ) -> Answer:
        """Ask a model about rows.

        Args:
            model: Its name.
            inputs: Arrays of the model's datatypes, each (n, ...).
            timeout_ms: An answer later than this is of no use; the model's own budget still holds.
            version: A certain version; None: the live one.
            outputs: Which outputs to send; empty: all of the model's.  Outputs that are only sent
                when asked for start with ``handrail.``.
            binary: Send and receive raw bytes, which is faster; False: JSON.
            request_id: Names the request in traces; the same id is the same decision.

        Raises:
            AnswerError: there is no answer.
            ValueError: an array holds what JSON cannot carry, such as NaN; send it ``binary``.
        """
        body, json_bytes = encode_request(
            inputs, timeout_ms=timeout_ms, outputs=outputs, binary=binary, request_id=request_id
        )
        headers = {"Content-Type": "application/octet-stream" if binary else "application/json"}
        if binary:
            headers[HEADER_LENGTH] = str(json_bytes)
        if request_id is not None:
            headers["X-Request-Id"] = request_id
        at = "" if version is None else f"/versions/{version}"
        path = f"/v2/models/{model}{at}/infer"
        response = self._send("POST", path, content=body, headers=headers)
        return decode_answer(response.content, response.headers.get(HEADER_LENGTH))

    def feedback(self, model: str, items: Sequence[Json]) -> Json:
        """Send labels, rewards or what was shown; they are on disk when this returns."""
        return self._json("POST", f"/v2/models/{model}/feedback", json=list(items))

    def import_feedback(self, model: str, lines: bytes) -> Json:
        """Send feedback as NDJSON of any length, part by part.

        Raises:
            AnswerError: a part was refused; those before it are kept, and sent again they are
                duplicates if they carry idempotency keys.
        """
        told: Json = {"accepted": 0, "duplicates": 0}
        headers = {"Content-Type": "application/x-ndjson"}
        split = lines.split(b"\n")
        for first in range(0, len(split), IMPORT_LINES):
            part = b"\n".join(split[first : first + IMPORT_LINES])
            if not part.strip():
                continue
            try:
                receipt = self.post(f"/v2/models/{model}/feedback", part, headers=headers)
            except AnswerError as error:
                where = f" (lines counted from line {first + 1})" if first else ""
                raise AnswerError(error.status, error.code, f"{error}{where}") from error
            told = {name: told[name] + receipt[name] for name in told}
        return told

    def register(
        self, bundle: Path, *, as_: Literal["live", "shadow"], trust_code: bool = False
    ) -> Json:
        """Upload a bundle directory and register it."""
        with tempfile.TemporaryFile() as archive:
            write_archive(bundle, archive)
            archive.seek(0)
            return self._json(
                "POST",
                "/api/v1/models",
                params={"as": as_, "trust_code": trust_code},
                content=archive,
                headers={"Content-Type": "application/x-tar"},
                timeout=UPLOAD_S,
            )

    def models(self) -> list[Json]:
        """List the models: who is live, shadow and previous, and the state of every version."""
        found: list[Json] = self._json("GET", "/api/v1/models")["models"]
        return found

    def status(self) -> Json:
        """Tell which models answer, and how their expectations stand."""
        return self._json("GET", "/api/v1/status")

    def report(self, model: str) -> Json:
        """Tell what the evaluator found about a model."""
        return self._json("GET", f"/api/v1/models/{model}/report")

    def estimate(
        self, model: str, target: str, *, since_s: float = 0.0, until_s: float | None = None
    ) -> Json:
        """Tell what another policy or version would have earned; ``target`` as in ``greedy``,
        ``uniform``, ``softmax:tau=0.1`` or ``version:2``.
        """
        asked = {"target": target, **_between(since_s, until_s)}
        path = f"/api/v1/models/{model}/estimate"
        return self._json("GET", path, params=asked, timeout=LOG_S)

    def export(
        self,
        model: str,
        *,
        format: Literal["parquet", "dsjson"] = "parquet",
        since_s: float = 0.0,
        until_s: float | None = None,
    ) -> tuple[bytes, Json]:
        """Fetch the joined decisions with propensities and weights.

        Returns:
            A file's content, and what was read for it: ``requests``, the ``oldest`` of them in
            Unix s, and ``is_cut``: older ones were left out, and ``until_s`` reaches them.
        """
        asked = {"format": format, **_between(since_s, until_s)}
        path = f"/api/v1/models/{model}/export"
        response = self._send("GET", path, params=asked, timeout=LOG_S)
        return response.content, json.loads(response.headers[READ_HEADER])

    def choose_audit(self, model: str, budget: int) -> Json:
        """Choose about ``budget`` rows of the live version to label; labels are feedback."""
        path = f"/api/v1/models/{model}/audits"
        return self._json("POST", path, json={"budget": budget}, timeout=LOG_S)

    def waiting_audit(self, model: str) -> list[Json]:
        """List the chosen rows that have no label yet."""
        found: list[Json] = self._json("GET", f"/api/v1/models/{model}/audits")["waiting"]
        return found

    def quarantine(self, model: str) -> list[Json]:
        """List the inputs that ended replicas of a model twice, by fingerprint."""
        found: list[Json] = self._json("GET", f"/api/v1/models/{model}/quarantine")["quarantine"]
        return found

    def lift(self, model: str, fingerprint: str) -> Json:
        """Let quarantined inputs in again."""
        return self._json("DELETE", f"/api/v1/models/{model}/quarantine/{fingerprint}")

    def explore(self, *, on: bool | None = None, model: str | None = None, why: str = "") -> Json:
        """Turn the kill switch of exploration, for one model or for all; None: tell how it is."""
        if on is None:
            return self._json("GET", "/api/v1/explore")
        path = "/api/v1/explore" if model is None else f"/api/v1/models/{model}/explore"
        return self._json("POST", path, json={"on": on, "why": why})

    def guards(self, model: str) -> list[Json]:
        """Tell which share of live rows the guards of a model find strange, and which may act."""
        found: list[Json] = self._json("GET", f"/api/v1/models/{model}/guards")["guards"]
        return found

    def confirm(self, model: str, *, anyway: bool = False, why: str = "") -> Json:
        """Let the outlier guard of a model act, if its false alarms keep the promise."""
        body = {"anyway": anyway, "why": why}
        return self._json("POST", f"/api/v1/models/{model}/guards/outlier/confirm", json=body)

    def promote(
        self, model: str, version: str | None = None, *, anyway: bool = False, why: str = ""
    ) -> Json:
        """Make a version live; None: the shadow."""
        body: Json = {"why": why, "anyway": anyway}
        if version is not None:
            body["version"] = version
        return self._json("POST", f"/api/v1/models/{model}/promote", json=body)

    def rollback(self, model: str, *, why: str = "") -> Json:
        """Return to the previous version."""
        return self._json("POST", f"/api/v1/models/{model}/rollback", json={"why": why})

    def post(self, path: str, body: bytes, *, headers: Mapping[str, str]) -> Json:
        """Send a body that is finished already, as it is."""
        return self._json("POST", path, content=body, headers=headers)

    def ready(self) -> bool:
        """Whether every registered model answers."""
        try:
            self._send("GET", "/v2/health/ready")
        except AnswerError:
            return False
        return True

    def _json(self, method: str, path: str, **request: Any) -> Json:
        answer: Json = self._send(method, path, **request).json()
        return answer

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            problem = str(error) or type(error).__name__
            sentence = f"no answer from {self._http.base_url}: {problem}"
            raise AnswerError(0, "unreachable", sentence) from error
        if response.status_code != 200:
            raise _answer_error(response)
        return response


def write_archive(bundle: Path, archive: IO[bytes]) -> None:
    """Write the files of a bundle directory as a plain tar, in the order of their names."""
    # USTAR has no extended headers, which the gateway refuses.
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(bundle.iterdir()):
            tar.add(path, arcname=path.name, recursive=False)


def _between(since_s: float, until_s: float | None) -> Json:
    return {"since": since_s} | ({} if until_s is None else {"until": until_s})


def _answer_error(response: httpx.Response) -> AnswerError:
    try:
        body = response.json()
        return AnswerError(response.status_code, str(body["code"]), str(body["error"]))
    except (ValueError, KeyError, TypeError):
        status = response.status_code
        return AnswerError(status, "unknown", f"the gateway answered with status {status}")
