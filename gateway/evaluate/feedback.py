"""What a replica calls when a client posts feedback."""

import asyncio
from typing import Any

import msgspec

from gateway.evaluate.labels import LabelStore, parse_feedback


class FeedbackSink:
    """Reads a body and keeps its labels, off the event loop: a commit waits for the disk."""

    def __init__(self, database_url: str, model: str) -> None:
        self._store = LabelStore(database_url)
        self._model = model

    async def __call__(self, body: bytes, content_type: str) -> dict[str, Any]:
        """Keep the feedback; it is on disk when this returns.

        Raises:
            GatewayError: the body is not feedback.
        """
        receipt = await asyncio.to_thread(self._keep, body, content_type)
        return msgspec.structs.asdict(receipt)

    def _keep(self, body: bytes, content_type: str) -> Any:
        return self._store.add(self._model, parse_feedback(body, content_type))
