"""Where a replica finds its routing table when nobody pushed one: registry, then last copy."""

import logging
import os
from pathlib import Path

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from gateway.config import Config
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable

log = logging.getLogger(__name__)


class TableSource:
    """The routing table of one model, as this node knows it."""

    def __init__(self, model: str, config: Config) -> None:
        self._model = model
        self._registry = Registry(
            open_database(config.database_url), ArtifactStore(config.artifacts_url)
        )
        self._copy: Path = config.bundle_cache_dir / "routing" / f"{model}.json"

    def first(self) -> RoutingTable:
        """Find a table to start with.

        Raises:
            OSError: the registry is away, and no copy was ever kept on this node.
        """
        table = self.latest()
        if table is None:
            return msgspec.json.decode(self._copy.read_bytes(), type=RoutingTable)
        self.keep(table)
        return table

    def latest(self) -> RoutingTable | None:
        """Ask the registry; None when it is away or does not know the model."""
        try:
            return self._registry.table(self._model)
        except SQLAlchemyError as error:
            log.warning("the registry does not answer: %s", type(error).__name__)
            return None

    def keep(self, table: RoutingTable) -> None:
        """Leave a copy for the next replica on this node."""
        self._copy.parent.mkdir(parents=True, exist_ok=True)
        partial = self._copy.with_suffix(f".{os.getpid()}")
        partial.write_bytes(msgspec.json.encode(table))
        partial.replace(self._copy)
