"""Inputs that may have ended a replica: who is asked alone, who waits, and who is refused.

Two sources.  The registry knows of deaths that a recorder has entered, about a second later.
HAProxy repeats a dead replica's requests within milliseconds, so the in-flight files of the
replicas beside this one are looked at with every request: inputs found in a dead one's file were
being computed when it died.  Every death is known by its writer, so both together count it once.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import QuarantinedError, SuspectError
from gateway.record.inflight import Flight, ForeignFileError, list_flights, model_of
from gateway.registry.deaths import CONVICTED, Death, Deaths
from gateway.serving.item import Item

# A replica that is alone leaves suspects of a crash to its ladder for so long: meanwhile another
# one starts, and if the inputs do kill, they take only one of the two.
WAIT_S = 30.0
RETRY_AFTER_S = 5  # about what a replica takes to start
HEALTHY_NS = 2_000_000_000  # an event loop that turned within so long is fine
log = logging.getLogger(__name__)


class Standing(Enum):
    """What is known against some inputs."""

    CLEAR = "clear"
    ALONE = "alone"  # a suspect: nobody else may be hurt by it
    NOT_NOW = "not_now"  # a suspect, and if it is what it seems, nobody would be left
    QUARANTINED = "quarantined"


class Suspects:
    """What one replica knows.  `refresh` runs on a thread, all else on the event loop."""

    def __init__(
        self,
        model: str,
        own: Flight,
        deaths: Deaths,
        *,
        has_siblings: bool,
        now_ns: Callable[[], int] = time.monotonic_ns,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """Know nothing yet; `refresh` once before the first request.

        Args:
            model: Its name.
            own: The in-flight file of this replica.
            deaths: What the recorders have entered.
            has_siblings: The model is meant to have other replicas.
            now_ns: Monotonic.
            clock_s: Unix.
        """
        self._model = model
        self._own = own
        self._deaths = deaths
        self._wait_s = WAIT_S if has_siblings else 0.0
        self._now_ns = now_ns
        self._clock_s = clock_s
        self._known: dict[bytes, list[Death]] = {}
        self._siblings: dict[Path, Flight] = {}

    def refresh(self) -> None:
        """Open the files of new siblings, learn what is entered, let go of files that are gone.

        In this order: a recorder removes a dead one's file only after it has entered the death.
        """
        paths = set(list_flights(self._own.path.parent)) - {self._own.path}
        siblings = {}
        for path in paths:
            if model_of(path.stem) != self._model:
                continue
            try:
                siblings[path] = self._siblings.get(path) or Flight.read(path)
            except (FileNotFoundError, ForeignFileError):
                continue
        self._siblings = self._siblings | siblings
        try:
            self._known = self._deaths.of(self._model)
        except SQLAlchemyError as error:
            log.warning("the registry does not tell of deaths: %s", type(error).__name__)
            return  # the files stay open: nobody else tells of them now
        self._siblings = siblings

    def standing(self, fingerprint: bytes) -> Standing:
        """Judge inputs that are about to be computed; a microsecond if nobody has died."""
        holders = [one for one in self._siblings.values() if one.holds(fingerprint)]
        known = self._known.get(fingerprint, [])
        if not holders and not known:
            return Standing.CLEAR
        dead = [one for one in holders if one.is_dead()]
        writers = {death.writer for death in known} | {one.writer for one in dead}
        if not writers:
            return Standing.CLEAR  # somebody else computes the same at the moment
        if len(writers) >= CONVICTED:
            return Standing.QUARANTINED
        is_tried_elsewhere = len(dead) < len(holders)
        recently_s = self._clock_s() - self._wait_s
        told = [one.has_note() for one in dead]
        told += [death.told and death.at_s > recently_s for death in known]
        if is_tried_elsewhere or (self._wait_s and any(told) and self._is_last()):
            return Standing.NOT_NOW
        return Standing.ALONE

    def set_apart(self, item: Item) -> Item:
        """Let pass what is clear; mark a suspect as one that runs alone.

        Raises:
            QuarantinedError: it was being computed at two deaths.
            SuspectError: to try it now might end the last replica.
        """
        standing = self.standing(item.fingerprint)
        if standing is Standing.QUARANTINED:
            raise QuarantinedError(self._model)
        if standing is Standing.NOT_NOW:
            raise SuspectError(self._model, RETRY_AFTER_S)
        return replace(item, is_alone=True) if standing is Standing.ALONE else item

    def acquit(self, fingerprint: bytes) -> None:
        """Forget a suspect that came through alone.  Writes to the registry: not on the loop."""
        for sibling in self._siblings.values():
            if sibling.holds(fingerprint) and sibling.is_dead():
                sibling.forget(fingerprint)
        try:
            self._deaths.acquit(self._model, fingerprint)
        except SQLAlchemyError as error:
            log.warning("a suspect stays one for now: %s", type(error).__name__)
        else:
            self._known.pop(fingerprint, None)

    def _is_last(self) -> bool:
        """Whether no other replica of the model on this node is well, and asked by HAProxy."""
        fresh_ns = self._now_ns() - HEALTHY_NS
        return not any(
            sibling.heartbeat_ns > fresh_ns and sibling.has_worked and not sibling.is_dead()
            for sibling in list(self._siblings.values())
        )
