"""What people ask of a model's log: estimates and exports, read from the evidence when asked."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from gateway.errors import BadRequestError, UnknownModelError
from gateway.evaluate.choice_log import ChoiceLog, read_log, window_of
from gateway.evaluate.estimates import estimate
from gateway.evaluate.export import FORMATS, write_export
from gateway.evaluate.targets import VERSION
from gateway.record.decision import Decision
from gateway.record.evidence import Evidence
from gateway.registry.registry import Registry
from guards.explore.target import UnknownTargetError
from models.manifest import Manifest

MAX_REQUESTS = 100_000  # read at once; about a kilobyte each, and ten times that in memory
NS_PER_S = 10**9


@dataclass(frozen=True, slots=True)
class Read:
    """Which requests with a choice were read for an answer: the newest of the time asked about."""

    requests: int
    oldest_s: float | None  # Unix, when the oldest was recorded; None where there are none
    is_cut: bool  # there are older ones in the time asked about, and they were left out

    def to_json(self) -> dict[str, Any]:
        """Tell it beside the answer."""
        return {"requests": self.requests, "oldest": self.oldest_s, "is_cut": self.is_cut}


class AskedLog:
    """Reads the log of choices of any model."""

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        evidence: Evidence,
        *,
        alpha: float,
        clock_ns: Callable[[], int] = time.time_ns,
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._evidence = evidence
        self._alpha = alpha
        self._clock_ns = clock_ns
        self._max_requests = max_requests
        self._one = threading.Lock()  # a log at a time: each may be a gigabyte

    def estimate(
        self, model: str, target: str, *, since_s: float = 0.0, until_s: float | None = None
    ) -> dict[str, Any]:
        """Say what ``target`` would have earned; a refusal is an answer too.

        Raises:
            UnknownModelError: there is no such model, or no such version of it.
            BadRequestError: there is no such target.
        """
        manifest = self._manifest(model)
        version = target.removeprefix(VERSION) if target.startswith(VERSION) else None
        if version not in {None, *(row.version for row in self._registry.versions(model))}:
            raise UnknownModelError(model, version)
        try:
            with self._one:
                log, read = self._log(manifest, since_s, until_s)
                found = estimate(self._engine, manifest, log, target, alpha=self._alpha)
        except UnknownTargetError as error:
            raise BadRequestError(str(error)) from error
        return {**found.model_dump(mode="json"), "read": read.to_json()}

    def export(
        self, model: str, format_: str, *, since_s: float = 0.0, until_s: float | None = None
    ) -> tuple[bytes, Read]:
        """Write the joined decisions, with propensities and weights, as a file.

        Returns:
            The file's content, and what was read for it.

        Raises:
            UnknownModelError: there is no such model.
            BadRequestError: there is no such format.
        """
        if format_ not in FORMATS:
            raise BadRequestError(f"format must be one of {', '.join(FORMATS)}")
        manifest = self._manifest(model)
        with self._one:
            log, read = self._log(manifest, since_s, until_s)
            return write_export(log, format_), read

    def _manifest(self, model: str) -> Manifest:
        """Find the live version's, or the newest's where none is live."""
        versions = {row.version: row.manifest for row in self._registry.versions(model)}
        table = self._registry.table(model)
        return versions[table.live] if table is not None else list(versions.values())[-1]

    def _log(
        self, manifest: Manifest, since_s: float, until_s: float | None
    ) -> tuple[ChoiceLog, Read]:
        now_ns = self._clock_ns()
        until_ns = now_ns if until_s is None else int(until_s * NS_PER_S)
        model, since_ns = manifest.name, int(since_s * NS_PER_S)
        found = self._evidence.read_choices(
            model, since_ns=since_ns, until_ns=until_ns, limit=self._max_requests
        )
        is_cut = len(found) >= self._max_requests or self._has_older(model, since_ns, found)
        if is_cut:  # records are committed together: of the oldest commit, some may be missing
            whole = [(at_ns, request) for at_ns, request in found if at_ns > found[0][0]]
            found = whole or found
        log = read_log(
            self._engine,
            model,
            [request for _, request in found],
            window=window_of(manifest.feedback),
            now_ns=now_ns,
        )
        oldest_s = found[0][0] / NS_PER_S if found else None
        return log, Read(len(found), oldest_s, is_cut=is_cut)

    def _has_older(self, model: str, since_ns: int, found: list[tuple[int, Decision]]) -> bool:
        """Whether records of the time asked about were not read; ``found`` is in their order."""
        first_ns = self._evidence.first_choice_ns(model, since_ns=since_ns)
        return first_ns is not None and bool(found) and first_ns < found[0][0]
