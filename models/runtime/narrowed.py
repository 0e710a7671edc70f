"""A model that is not shown the inputs which are only for the gateway."""

from typing import Any

from numpy.typing import NDArray

from models.runtime.protocol import Runtime, Tensors
from models.signature import Signature


class Narrowed:
    """Hands on the model's own inputs."""

    def __init__(self, runtime: Runtime, signature: Signature) -> None:
        self._runtime = runtime
        self._names = [spec.name for spec in signature.inputs]

    def predict(
        self, inputs: Tensors, *, deadline_ns: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Answer as the model does."""
        own = {name: inputs[name] for name in self._names}
        return self._runtime.predict(own, deadline_ns=deadline_ns)
