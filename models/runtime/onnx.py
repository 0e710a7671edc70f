"""ONNX models on onnxruntime, on one thread."""

from collections.abc import Sequence
from typing import Any, Self

import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from models.bundle import Bundle
from models.bytes_tensor import to_elements, to_text
from models.errors import RuntimeFailedError
from models.manifest import Manifest, TensorSpec
from models.runtime.cuda import has_cuda_device
from models.runtime.output import OutputContract
from models.runtime.protocol import Tensors

ERRORS_ONLY = 3  # onnxruntime's severity; its warnings are about graphs we cannot change
EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"

# onnxruntime's errors share no base but Exception.
FAILURES = (
    ort.EPFail, ort.EngineError, ort.Fail, ort.InvalidArgument, ort.InvalidGraph,
    ort.InvalidProtobuf, ort.NoModel, ort.NoSuchFile, ort.NotFound, ort.NotImplemented,
    ort.RuntimeException, RuntimeError, ValueError,
)  # fmt: skip


class OnnxRuntime:
    """An onnxruntime session that answers by the signature."""

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest) -> None:
        self._session = session
        self._model = manifest.name
        self._names = [spec.name for spec in manifest.signature.outputs]
        self._first = manifest.signature.inputs[0].name
        self._text_inputs = _texts(manifest.signature.inputs)
        self._text_outputs = frozenset(_texts(manifest.signature.outputs))
        self._contract = OutputContract(manifest.name, manifest.signature)

    @classmethod
    def load(cls, bundle: Bundle) -> Self:
        """Start a session on the bundle's artifact.

        Raises:
            RuntimeFailedError: onnxruntime cannot run it, or not on the device asked for.
        """
        manifest = bundle.manifest
        providers = _providers(manifest)
        artifact = bundle.read(str(manifest.runtime.file))
        try:
            session = onnxruntime.InferenceSession(artifact, _options(bundle), providers=providers)
        except FAILURES as error:
            problem = f"onnxruntime cannot load it ({type(error).__name__})"
            raise RuntimeFailedError(manifest.name, problem) from error
        if manifest.runtime.device == "cuda" and providers[0] not in session.get_providers():
            raise RuntimeFailedError(manifest.name, "onnxruntime could not start on CUDA")
        session.disable_fallback()  # it would print and retry elsewhere; the ladder decides
        return cls(session, manifest)

    def predict(
        self, inputs: Tensors, *, deadline_ns: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Answer ``n`` rows.

        `run` on plain arrays is the quickest way in: an MLP of 30-64-64-2 takes 6 us, against
        9 us through an IO binding and 41 us through OrtValues.

        Raises:
            NotTextError: an element of BYTES is not UTF-8; ONNX strings are text.
        """
        if self._text_inputs:
            texts = {name: to_text(inputs[name], name) for name in self._text_inputs}
            inputs = {**inputs, **texts}
        try:
            arrays = self._session.run(self._names, inputs)
        except FAILURES as error:  # its text may quote the rows
            problem = f"onnxruntime refused the rows ({type(error).__name__})"
            raise RuntimeFailedError(self._model, problem) from error
        if self._text_outputs:
            named = zip(self._names, arrays, strict=True)
            arrays = [to_elements(a) if name in self._text_outputs else a for name, a in named]
        return self._contract.finish(arrays, len(inputs[self._first]))


def _texts(specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs if spec.datatype == "BYTES")


def _options(bundle: Bundle) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # One core per model: replicas are what scales, and threads that spin starve the event loop.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The artifact is read as verified bytes; this is where its external data lies, if it has any.
    options.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(bundle.path))
    options.log_severity_level = ERRORS_ONLY
    return options


def _providers(manifest: Manifest) -> list[str]:
    """Ask for CUDA only where it can work: a provider listed is not yet a device present."""
    device = manifest.runtime.device
    cuda = "CUDAExecutionProvider"
    usable = device != "cpu" and cuda in onnxruntime.get_available_providers() and has_cuda_device()
    if device == "cuda" and not usable:
        raise RuntimeFailedError(manifest.name, "it asks for CUDA and there is no CUDA device")
    return [cuda, "CPUExecutionProvider"] if usable else ["CPUExecutionProvider"]
