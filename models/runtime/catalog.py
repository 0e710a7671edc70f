"""Runtime kind -> loader, written out.  A framework is imported when the first model needs it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from models.bundle import Bundle
from models.runtime.narrowed import Narrowed
from models.runtime.protocol import Runtime
from models.signature import Signature


def _load_onnx(bundle: Bundle) -> Runtime:
    from models.runtime.onnx import OnnxRuntime

    return OnnxRuntime.load(bundle)


def _load_torch(bundle: Bundle) -> Runtime:
    from models.runtime.torch import TorchRuntime

    return TorchRuntime.load(bundle)


def _load_safetensors(bundle: Bundle) -> Runtime:
    from models.runtime.safetensors import load_architecture

    return load_architecture(bundle)


def _load_constant(bundle: Bundle) -> Runtime:
    from models.runtime.constant import ConstantRuntime

    return ConstantRuntime.load(bundle)


LOADERS: Mapping[str, Callable[[Bundle], Runtime]] = {
    "onnx": _load_onnx,
    "torch": _load_torch,
    "safetensors": _load_safetensors,
    "constant": _load_constant,
}


def open_runtime(bundle: Bundle) -> Runtime:
    """Load the model of a verified bundle.

    Raises:
        RuntimeFailedError: the framework cannot load it, or not on the device asked for.
    """
    load = LOADERS[bundle.manifest.runtime.kind]
    signature = bundle.manifest.signature
    if len(signature.model_inputs) == len(signature.inputs):
        return load(bundle)
    own = Signature(inputs=signature.model_inputs, outputs=signature.outputs)
    manifest = bundle.manifest.model_copy(update={"signature": own})
    return Narrowed(load(replace(bundle, manifest=manifest)), own)
