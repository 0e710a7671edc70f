"""Answers for a model of which no replica is up, with what of its ladder needs no process.

The other rungs are models, or the memory of a replica that is gone; the constant is in the
manifest.  What is asked meanwhile is recorded as any other request is, answered or not.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gateway.errors import NotReadyError
from gateway.registry.routing import VersionRef
from gateway.serving.assembling import assemble
from gateway.serving.chain import GuardChain
from gateway.serving.chooser import Chooser
from gateway.serving.cost import BatchCost
from gateway.serving.decoding import decode
from gateway.serving.fingerprint import Fingerprints
from gateway.serving.ladder import constant
from gateway.serving.progress import Answer, Progress, Request
from gateway.serving.versions import LoadedVersion, Versions
from models.bundle import load_guards
from models.opening import open_verified
from models.runtime.fitting import RowLimit
from models.runtime.protocol import Tensors

REASON = "no_replica"


class StandIn:
    """Takes the place of a `Pipeline` whose model is not there."""

    def __init__(
        self,
        versions: Versions,
        *,
        fingerprints: Fingerprints,
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._versions = versions
        self._fingerprints = fingerprints
        self._now_ns = now_ns

    async def infer(self, request: Request, progress: Progress) -> Answer:
        """Answer with the constant of the ladder.

        Args:
            request: As it came in.
            progress: Filled in on the way; also when this raises.

        Raises:
            NotReadyError: the ladder has no constant.
            GatewayError: the request is one that no replica would answer either.
        """
        view = progress.view = self._versions.view
        version = progress.version = view.version(request.version)
        item, deadline_ns = decode(
            request, version, progress, fingerprints=self._fingerprints, now_ns=self._now_ns
        )
        rung = version.manifest.constant_rung
        if rung is None:
            raise NotReadyError("no replica answers")
        progress.fallback_reason = REASON
        progress.fallback = constant(version, rung, item.rows)
        return assemble(progress, left_ns=deadline_ns - self._now_ns())


def load_stand_in(ref: VersionRef, path: Path, *, salt: bytes, replicas: int = 1) -> LoadedVersion:
    """Load of a version what says how it is asked, and nothing that computes.

    Raises:
        ModelError: the bundle is not what was registered.
    """
    bundle = open_verified(path, ref.digest)
    manifest = bundle.manifest
    is_choice = manifest.explore.kind != "none"
    return LoadedVersion(
        ref,
        manifest,
        _Gone(),
        GuardChain(load_guards(bundle), manifest.guards),
        Chooser(manifest, salt, replicas=replicas) if is_choice else None,
        manifest.signature.answer,
        BatchCost(),
        RowLimit(manifest.name),
        model_ns=0.0,
        golden={},
    )


class _Gone:
    """The runtime of a model that is not there; nobody asks it."""

    def predict(
        self, inputs: Tensors, *, deadline_ns: int | None = None
    ) -> dict[str, NDArray[Any]]:
        raise NotImplementedError
