"""Why a bundle is refused or a model cannot answer."""


class ModelError(Exception):
    """Base of every error that models raise."""


class BundleError(ModelError):
    """The bundle is not what its manifest, digests or signature say; nothing of it was loaded."""

    def __init__(self, bundle: str, problem: str) -> None:
        super().__init__(bundle, problem)
        self.bundle = bundle
        self.problem = problem

    def __str__(self) -> str:
        """Say which bundle, and what is wrong with it."""
        return f"bundle {self.bundle}: {self.problem}"


class ManifestError(ModelError):
    """A text is not a manifest."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        """Say what is wrong; whose manifest it is, the caller knows."""
        return self.problem


class ArtifactError(ModelError):
    """A model file is malformed, or not what the manifest says."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        """Say what is wrong; whose file it is, the caller knows."""
        return self.problem


class RuntimeFailedError(ModelError):
    """The model itself failed on rows that had passed its signature."""

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(model, problem)
        self.model = model
        self.problem = problem

    def __str__(self) -> str:
        """Say which model failed, and how."""
        return f"model {self.model} failed: {self.problem}"


class OutOfMemoryError(RuntimeFailedError):
    """So many rows do not fit into the memory of the device; fewer may."""

    def __init__(self, model: str, problem: str = "the memory of its device is full") -> None:
        super().__init__(model, problem)


class StickyDeviceError(ModelError):
    """The device failed in a way that every later call of this process repeats.

    Only a new process can use the device again.  Not a `RuntimeFailedError`: nobody may take it
    for a matter of some rows and go on.
    """

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(model, problem)
        self.model = model
        self.problem = problem

    def __str__(self) -> str:
        """Say which model met it, and what the driver calls it."""
        return f"model {self.model}: the device is lost to this process: {self.problem}"


class NotTextError(ModelError):
    """The model takes text, and a row holds bytes that are none; the model never saw them."""

    def __init__(self, tensor: str, row: int) -> None:
        super().__init__(tensor, row)
        self.tensor = tensor
        self.row = row  # of the rows given to the model, which may be those of several requests

    def __str__(self) -> str:
        """Say where, but not what."""
        return f"{self.tensor}: row {self.row} is not UTF-8 text"


class OutOfTimeError(ModelError):
    """The model stopped at the deadline it was given, before it had an answer."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        """Say which model."""
        return f"model {self.model} stopped at the deadline"


class KeyFileError(ModelError):
    """A key file does not hold the key it should."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(file, problem)
        self.file = file
        self.problem = problem

    def __str__(self) -> str:
        """Say which file, and what is wrong with it."""
        return f"key {self.file}: {self.problem}"
