"""A shadow in a Ray worker of its own, which ends with the evaluator at the latest."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from gateway.evaluate.shadow import ShadowModel
from gateway.evaluate.shadows import ShadowLostError
from models.errors import ModelError

SHADOW_CPUS = 0.1  # scheduling share: it works on what is left over
LOAD_S = 120.0  # importing torch and starting CUDA on a busy machine took up to 30 s
PREDICT_S = 60.0


class _ShadowActor:
    """A `ShadowModel` that loads when asked, so that a failure to is an error and not a death."""

    def load(self, bundle_dir: Path, digest: str) -> int:
        self._model = ShadowModel(bundle_dir, digest)
        return os.getpid()

    def predict(self, payloads: list[bytes]) -> list[list[float] | None]:
        return self._model.predict(payloads)


class RayShadow:
    """Starts the worker when made."""

    def __init__(self, bundle_dir: Path, digest: str) -> None:
        self._bundle = (bundle_dir, digest)
        self._actor: Any = ray.remote(_ShadowActor).options(num_cpus=SHADOW_CPUS).remote()

    async def load(self) -> int:
        """Load the model; return the process id.

        Raises:
            ModelError: it does not load, or does not reproduce its golden rows.
            ShadowLostError: the process died, or took too long.
        """
        pid: int = await _ask(self._actor.load.remote(*self._bundle), LOAD_S)
        return pid

    async def predict(self, payloads: Sequence[bytes]) -> list[list[float] | None]:
        """Answer payloads.

        Raises:
            ShadowLostError: the process died, or took too long.
        """
        answers: list[list[float] | None] = await _ask(
            self._actor.predict.remote(list(payloads)), PREDICT_S
        )
        return answers

    def stop(self) -> None:
        """Kill the worker."""
        ray.kill(self._actor)


async def _ask(reference: Any, timeout_s: float) -> Any:
    try:
        return await asyncio.wait_for(reference, timeout_s)
    except TimeoutError as error:
        raise ShadowLostError(f"it did not answer within {timeout_s:g} s") from error
    except RayError as error:
        if isinstance(error, ModelError):  # what the call raised, as Ray carries it over
            raise
        raise ShadowLostError(f"its process failed ({type(error).__name__})") from error
