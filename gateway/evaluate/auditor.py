"""What people ask of an audit: which rows to label next, and which of those wait."""

import secrets
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from gateway.errors import ConflictError
from gateway.evaluate.audit import choose_rows, waiting_rows
from gateway.evaluate.expected import open_held_out
from gateway.evaluate.window import Window
from gateway.record.evidence import Evidence
from gateway.registry.database import reading
from gateway.registry.registry import Registry
from models.bundle import Bundle


class Auditor:
    """Chooses rows of any model, one audit at a time."""

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        evidence: Evidence,
        open_bundle: Callable[[str], Bundle],
        *,
        salt: Callable[[], bytes] = lambda: secrets.token_bytes(16),
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._evidence = evidence
        self._open_bundle = open_bundle  # digest -> verified bundle
        self._salt = salt
        self._one = threading.Lock()  # each reads thousands of payloads

    def choose(self, model: str, *, budget: int) -> dict[str, Any]:
        """Choose about ``budget`` captured rows of the live version to label.

        Raises:
            UnknownModelError: there is no such model.
            ConflictError: it has no live version, answers no classes with probabilities, or no
                captured rows that were in no audit before.
        """
        rows = {row.version: row for row in self._registry.versions(model)}
        table = self._registry.table(model)
        if table is None:
            raise ConflictError(f"model {model!r} has no live version")
        row = rows[table.live]
        with self._one:
            window = Window(self._engine, self._evidence, row.manifest)
            window.advance()
            captured = window.captured
            if captured is not None and captured.probabilities is None:
                raise ConflictError(
                    f"model {model!r} answers no probabilities of classes: an audit is about them"
                )
            number, chosen = 0, list[dict[str, Any]]()
            if captured is not None:
                held_out = open_held_out(self._open_bundle, row.digest)
                with self._engine.begin() as connection:
                    number, chosen = choose_rows(
                        connection,
                        model,
                        row.version,
                        captured,
                        held_out,
                        budget=budget,
                        salt=self._salt(),
                    )
        if not number:
            raise ConflictError(
                f"model {model!r} has no captured rows that were in no audit before; "
                "capture.share says how many are captured"
            )
        return {"model": model, "version": row.version, "round": number, "chosen": chosen}

    def waiting(self, model: str) -> dict[str, Any]:
        """List the chosen rows that have no label yet.

        Raises:
            UnknownModelError: there is no such model.
        """
        self._registry.versions(model)
        with reading(self._engine) as connection:
            return {"model": model, "waiting": waiting_rows(connection, model)}
