"""ONNX models on onnxruntime, on one thread."""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any, Self

import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from models.bundle import Bundle
from models.bytes_tensor import to_elements, to_text
from models.errors import RuntimeFailedError
from models.manifest import Manifest, RuntimeSpec, TensorSpec
from models.runtime.cuda import device_error, has_cuda_device
from models.runtime.onnx_ways import Bound, Captured, Plain, Way
from models.runtime.output import OutputContract
from models.runtime.protocol import Tensors

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
FATAL_ONLY = 4  # onnxruntime's severity: its errors come as exceptions, and printed quote rows
Provider = str | tuple[str, dict[str, str]]
EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"
log = logging.getLogger(__name__)

# onnxruntime's errors share no base but Exception.
FAILURES = (
    ort.EPFail, ort.EngineError, ort.Fail, ort.InvalidArgument, ort.InvalidGraph,
    ort.InvalidProtobuf, ort.NoModel, ort.NoSuchFile, ort.NotFound, ort.NotImplemented,
    ort.RuntimeException, RuntimeError, ValueError, MemoryError,
)  # fmt: skip


class OnnxRuntime:
    """An onnxruntime session that answers by the signature."""

    def __init__(self, way: Way, manifest: Manifest, *, is_on_cuda: bool) -> None:
        self._way = way
        self._is_on_cuda = is_on_cuda
        self._model = manifest.name
        self._first = manifest.signature.inputs[0].name
        self._text_inputs = _texts(manifest.signature.inputs)
        self._text_outputs = [
            at for at, spec in enumerate(manifest.signature.outputs) if spec.datatype == "BYTES"
        ]
        self._contract = OutputContract(manifest.name, manifest.signature)

    @classmethod
    def load(cls, bundle: Bundle) -> Self:
        """Start a session on the bundle's artifact.

        Raises:
            RuntimeFailedError: onnxruntime cannot run it, or not on the device asked for.
            OutOfMemoryError: it does not fit into the device.
        """
        manifest = bundle.manifest
        providers = _providers(manifest)
        artifact = bundle.read(str(manifest.runtime.file))
        try:
            session = onnxruntime.InferenceSession(artifact, _options(bundle), providers=providers)
        except FAILURES as error:
            problem = f"onnxruntime cannot load it ({type(error).__name__})"
            told = device_error(manifest.name, error, is_on_gpu=len(providers) > 1)
            raise (told or RuntimeFailedError(manifest.name, problem)) from error
        is_on_cuda = CUDA in session.get_providers()
        if manifest.runtime.device == "cuda" and not is_on_cuda:
            raise RuntimeFailedError(manifest.name, "onnxruntime could not start on CUDA")
        if len(providers) > 1 and not is_on_cuda:
            log.warning("%s is on the CPU: onnxruntime could not start on CUDA", manifest.name)
        session.disable_fallback()  # it would print and retry elsewhere; the ladder decides
        way = _way(session, manifest, is_on_cuda=is_on_cuda)
        return cls(way, manifest, is_on_cuda=is_on_cuda)

    def predict(
        self, inputs: Tensors, *, deadline_ns: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Answer ``n`` rows.

        Raises:
            NotTextError: an element of BYTES is not UTF-8; ONNX strings are text.
        """
        if self._text_inputs:
            texts = {name: to_text(inputs[name], name) for name in self._text_inputs}
            inputs = {**inputs, **texts}
        try:
            arrays = self._way(inputs)
        except FAILURES as error:  # its text may quote the rows
            problem = f"onnxruntime refused the rows ({type(error).__name__})"
            told = device_error(self._model, error, is_on_gpu=self._is_on_cuda)
            raise (told or RuntimeFailedError(self._model, problem)) from error
        for at in self._text_outputs:
            arrays[at] = to_elements(arrays[at])
        return self._contract.finish(arrays, len(inputs[self._first]))


def _texts(specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs if spec.datatype == "BYTES")


def _way(session: onnxruntime.InferenceSession, manifest: Manifest, *, is_on_cuda: bool) -> Way:
    """Choose the quickest way that knows the datatypes: strings cannot be bound, BF16 must be."""
    signature, graph_rows = manifest.signature, manifest.runtime.cuda_graph_rows
    datatypes = {spec.datatype for spec in (*signature.inputs, *signature.outputs)}
    if {"BYTES", "BF16"} <= datatypes:
        raise RuntimeFailedError(manifest.name, "onnxruntime takes no BYTES beside BF16")
    if is_on_cuda and graph_rows is not None:
        return Captured(session, signature, most_rows=graph_rows, device="cuda")
    if "BF16" in datatypes or (is_on_cuda and "BYTES" not in datatypes):
        return Bound(session, signature)
    return Plain(session, signature)


def _options(bundle: Bundle) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # One core per model: replicas are what scales, and threads that spin starve the event loop.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The artifact is read as verified bytes; this is where its external data lies, if it has any.
    options.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(bundle.path))
    options.log_severity_level = FATAL_ONLY
    return options


def _providers(manifest: Manifest) -> list[Provider]:
    """Ask for CUDA only where it can work: a provider listed is not yet a device present."""
    device = manifest.runtime.device
    usable = device != "cpu" and CUDA in onnxruntime.get_available_providers() and has_cuda_device()
    if device == "cuda" and not usable:
        raise RuntimeFailedError(manifest.name, "it asks for CUDA and there is no CUDA device")
    if not usable:
        return [CPU]
    load_cuda_libraries()
    return [(CUDA, cuda_options(manifest.runtime)), CPU]


@cache
def load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from where pip puts them; the system's loader does not look there.

    Without them onnxruntime starts on the CPU and says nothing.  It prints what it does not find.
    """
    onnxruntime.preload_dlls()


def cuda_options(runtime: RuntimeSpec) -> dict[str, str]:
    """Say how the CUDA provider uses the device."""
    options = {
        # Twice as much at every step, the default, takes what other versions on the device need.
        "arena_extend_strategy": "kSameAsRequested",
        # The default tries every algorithm anew for every batch size it has not seen: seconds.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    if runtime.gpu_memory_bytes is not None:
        options["gpu_mem_limit"] = str(runtime.gpu_memory_bytes)
    if runtime.cuda_graph_rows is not None:
        options["enable_cuda_graph"] = "1"
    return options
