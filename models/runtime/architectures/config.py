"""What every architecture says about itself before anything is built."""

from guards.settings import Settings
from models.manifest import Signature


class ArchitectureConfig(Settings):
    """Sizes and the like of one model, with bounds.  Pure data: no framework is needed for it."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name every tensor of weights, with its shape."""
        raise NotImplementedError

    def check_signature(self, signature: Signature) -> None:
        """See that a model of this kind can answer by the signature.

        Raises:
            ArtifactError: it cannot.
        """
        raise NotImplementedError
