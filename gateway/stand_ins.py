"""Stand-ins of the models of which no replica is up, in the process of Serve's fallback proxy.

HAProxy asks that proxy while a model has no replica: all have died at once, or none has started
yet.  A stand-in is made when it is first needed, and follows the routing table while it is.
"""

import asyncio
import logging
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Scope

from gateway.config import Config
from gateway.evaluate.sink import FeedbackSink
from gateway.fleet import KeyNeeded
from gateway.record.journal import GroupCommitter, Journal
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.keys import exploration_salt
from gateway.registry.routing import RoutingTable
from gateway.running import left_settings
from gateway.serving.fingerprint import Fingerprints
from gateway.serving.ingress import Ingress
from gateway.serving.intake import Intake
from gateway.serving.recording import Recording
from gateway.serving.stand_in import StandIn, load_stand_in
from gateway.serving.statistics import Statistics, VersionStats
from gateway.serving.table_source import TableSource
from gateway.serving.versions import Versions
from models.manifest import MODEL_NAME

# Nothing else is answered for a model that is not there; above all not that it is ready.
_ASKED = re.compile(rf"/v2/models/({MODEL_NAME})/(?:versions/[^/]+/)?(?:infer|feedback)")

log = logging.getLogger(__name__)


class StandIns:
    """Finds who stands in for a model.  Used from one event loop."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._known: dict[str, _Standing] = {}
        self._making = asyncio.Lock()

    async def find(self, scope: Scope) -> ASGIApp | None:
        """Find who answers a request; None if nobody can."""
        asked = _ASKED.fullmatch(scope["path"])
        if scope["method"] != "POST" or asked is None:
            return None
        model = asked[1]
        try:
            standing = self._known.get(model) or await self._make(model)
            await standing.follow()
        except Exception as error:  # noqa: BLE001  whatever it is, the client hears "not ready"
            log.warning("nobody stands in for %s: %s", model, error)
            return None
        return standing.app

    async def _make(self, model: str) -> "_Standing":
        async with self._making:  # the first request makes it, the others wait
            if model not in self._known:
                config = await asyncio.to_thread(left_settings, self._state)
                self._known[model] = await _stand_in(model, config)
            return self._known[model]


@dataclass
class _Standing:
    """A stand-in, and when it last looked at the routing table."""

    app: ASGIApp
    versions: Versions
    tables: TableSource
    table_check_s: float
    looked_s: float

    async def follow(self) -> None:
        """Take up what the registry says now, every so often."""
        now_s = time.monotonic()
        if now_s - self.looked_s < self.table_check_s:
            return
        self.looked_s = now_s
        table = await asyncio.to_thread(self.tables.latest)
        if table is None:
            return
        try:
            await self.versions.apply(table)
        except Exception:
            log.exception("revision %d of %s does not load", table.revision, table.model)


async def _stand_in(model: str, config: Config) -> _Standing:
    """Wire the request path of a model that is not there.

    Raises:
        OSError: neither the registry nor a copy of it on this node knows the model.
        ModelError: what was registered cannot be read.
    """
    salt = await asyncio.to_thread(exploration_salt, config.keys_dir)
    store = ArtifactStore(config.artifacts_url)
    tables = TableSource(model, config)
    versions = Versions(
        lambda digest: store.fetch(digest, config.bundle_cache_dir),
        salt=salt,
        load=load_stand_in,
    )
    table: RoutingTable = await asyncio.to_thread(tables.first)
    await versions.apply(table)
    ingress = _ingress(model, config, versions, salt)
    app = ingress if config.server.open_inference else KeyNeeded(config)(ingress)
    return _Standing(app, versions, tables, config.serving.table_check_s, time.monotonic())


def _ingress(model: str, config: Config, versions: Versions, salt: bytes) -> Ingress:
    journal = Journal(
        config.journal_dir,
        writer=f"{model}~{uuid.uuid4().hex[:12]}",
        settings=config.record,
    )
    committer = GroupCommitter(journal, asyncio.get_running_loop(), settings=config.record)
    return Ingress(
        model,
        versions=versions,
        pipeline=StandIn(versions, fingerprints=Fingerprints(model, key=salt)),
        recording=Recording(committer, model, Statistics(model)),
        feedback=FeedbackSink(
            model, database_url=config.database_url, artifacts_url=config.artifacts_url
        ),
        statistics=_no_statistics,
        intake=Intake(model, max_bytes=config.serving.max_in_flight_bytes),
        max_body_bytes=config.server.max_body_bytes,
        max_json_bytes=config.server.max_json_bytes,
        max_batch_rows=config.serving.max_batch_rows,
    )


async def _no_statistics() -> list[VersionStats]:
    """Tell nothing: statistics are those of replicas."""
    return []
