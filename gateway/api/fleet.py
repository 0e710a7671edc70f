"""What the management API asks of the serving layer at run time."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from gateway.registry.routing import RoutingTable
from gateway.registry.switches import Switch

Movement = Literal["LOADING", "UNLOADING"]  # as Triton's repository index says it


class Fleet(Protocol):
    """Every replica of every model, wherever they run."""

    async def deploy(self, model: str) -> None:
        """Make sure that the Serve application of this model runs and answers.

        Raises:
            NotReadyError: it does not answer in time.
        """
        ...

    async def remove(self, model: str) -> None:
        """Take a model that nobody may ask any more off the data plane."""
        ...

    async def push(self, table: RoutingTable) -> int:
        """Send a routing table to every replica of its model; return how many acknowledged it.

        Raises:
            NotReadyError: a replica cannot answer with it.
        """
        ...

    async def explore(self, model: str, switch: Switch) -> int:
        """Tell every replica of a model whether it may explore; return how many heard it.

        Raises:
            NotReadyError: the model has no application.
        """
        ...

    async def statistics(self, model: str) -> list[dict[str, Any]]:
        """Statistics of every version of this model that answers; empty if none does."""
        ...

    async def answering(self, model: str) -> list[str]:
        """Versions of this model that answer now, by name or as the live one."""
        ...

    async def moving(self) -> Mapping[str, Movement]:
        """Models that are coming up or going away."""
        ...

    async def ready(self, model: str) -> bool:
        """Whether at least one replica of this model answers now."""
        ...

    async def shadow_changed(self) -> None:
        """Tell the evaluator to look again which versions are shadows."""
        ...

    async def processes(self) -> dict[str, Any]:
        """Tell how recorder and evaluator are, by name; None for one that does not answer."""
        ...
