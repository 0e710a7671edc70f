"""What the management API asks of the serving layer at run time."""

from typing import Any, Protocol

from gateway.registry.routing import RoutingTable


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

    async def ready(self, model: str) -> bool:
        """Whether at least one replica of this model answers now."""
        ...

    async def shadow_changed(self) -> None:
        """Tell the evaluator to look again which versions are shadows."""
        ...

    async def processes(self) -> dict[str, Any]:
        """Tell how recorder and evaluator are, by name; None for one that does not answer."""
        ...
