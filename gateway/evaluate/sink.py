"""What a replica calls when a client posts feedback."""

import asyncio
from functools import cached_property
from typing import Any

import msgspec

from gateway.evaluate.feedback import check_labels, parse_feedback
from gateway.evaluate.feedback_store import FeedbackStore
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.registry import Registry


class FeedbackSink:
    """Reads a body and keeps what it says, off the event loop: a commit waits for the disk.

    Goes to replicas, which connect by themselves.
    """

    def __init__(self, model: str, *, database_url: str, artifacts_url: str) -> None:
        self._model = model
        self._database_url = database_url
        self._artifacts_url = artifacts_url
        self._store = FeedbackStore(database_url)

    async def __call__(self, body: bytes, content_type: str) -> dict[str, Any]:
        """Keep the feedback; it is on disk when this returns.

        Raises:
            GatewayError: the body is not feedback.
        """
        receipt = await asyncio.to_thread(self._keep, body, content_type)
        return msgspec.structs.asdict(receipt)

    def _keep(self, body: bytes, content_type: str) -> Any:
        items = parse_feedback(body, content_type)
        check_labels(items, are_texts=self._are_texts)
        return self._store.add(self._model, items)

    @cached_property
    def _are_texts(self) -> bool:
        """Whether the model answers texts; all its versions have one signature."""
        artifacts = ArtifactStore(self._artifacts_url)
        registry = Registry(open_database(self._database_url), artifacts)
        newest = registry.versions(self._model)[-1].manifest
        return newest.signature.answer.datatype == "BYTES"
