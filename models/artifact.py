"""Look into an ONNX file without running it: is it what the signature says, and nothing more?"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from models.errors import ArtifactError
from models.manifest import DTYPES, Signature, TensorSpec

# The standard, and what every build of onnxruntime carries; anything else needs foreign code.
KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


def load_onnx(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file, without its external data."""
    try:
        # The format is named: onnx would choose a text parser by the file's extension.
        return onnx.load(path, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise ArtifactError(f"{path.name} is not ONNX") from error


def inspect_onnx(path: Path, signature: Signature, *, listed: Iterable[str]) -> None:
    """Refuse an ONNX file that is malformed, reaches outside the bundle, or answers otherwise.

    Args:
        path: The artifact; only its structure is read, not its external data.
        signature: What the manifest promises.
        listed: Names of the files in the bundle's digests.

    Raises:
        ArtifactError: with the first thing that is wrong.
    """
    model = load_onnx(path)
    unlisted = external_files(model) - set(listed)
    if unlisted:
        raise ArtifactError(f"{path.name} reads external data that the digests do not list")
    _check_domains(model, path.name)
    try:
        onnx.checker.check_model(path)  # by path: it also finds the external data
    except onnx.checker.ValidationError as error:
        raise ArtifactError(f"{path.name} is not valid ONNX") from error
    _check_signature(model.graph, signature)


def external_files(model: onnx.ModelProto) -> set[str]:
    """Names of the files that hold tensors of ``model``."""
    return {
        ExternalDataInfo(tensor).location
        for graph in _graphs(model)
        for tensor in _tensors(graph)
        if uses_external_data(tensor)
    }


def _check_domains(model: onnx.ModelProto, name: str) -> None:
    local = {(function.domain, function.name) for function in model.functions}
    for graph in _graphs(model):
        for node in graph.node:
            if node.domain not in KNOWN_DOMAINS and (node.domain, node.op_type) not in local:
                raise ArtifactError(f"{name} uses custom operators, which are not supported")


def _check_signature(graph: onnx.GraphProto, signature: Signature) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in constants}
    wanted = {spec.name for spec in signature.model_inputs}
    if set(inputs) != wanted:
        raise ArtifactError(f"the model takes {sorted(inputs)}, the signature {sorted(wanted)}")
    outputs = {value.name: value for value in graph.output}
    absent = {spec.name for spec in signature.outputs} - set(outputs)
    if absent:
        raise ArtifactError(f"the model gives {sorted(outputs)}, not {sorted(absent)}")
    for spec in signature.model_inputs:
        _check_tensor(inputs[spec.name], spec)
    for spec in signature.outputs:
        _check_tensor(outputs[spec.name], spec)


def _check_tensor(value: onnx.ValueInfoProto, spec: TensorSpec) -> None:
    if not value.type.HasField("tensor_type"):
        raise ArtifactError(f"{spec.name} is not a tensor in the model (zipmap must be off)")
    tensor = value.type.tensor_type
    datatype = _datatype(tensor.elem_type)
    if datatype != spec.datatype:
        raise ArtifactError(f"{spec.name} is {datatype} in the model, {spec.datatype} declared")
    if not tensor.HasField("shape"):
        return  # the model leaves it open; the runtime checks what comes out
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
    if len(dims) != len(spec.shape) or any(
        dim not in (-1, declared) for dim, declared in zip(dims, spec.shape, strict=True)
    ):
        raise ArtifactError(f"{spec.name} is {dims} in the model, {list(spec.shape)} declared")


def _datatype(element: int) -> str:
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))
    except KeyError:
        return "of an unknown datatype"
    return next((name for name, known in DTYPES.items() if known == dtype), str(dtype))


Graph = onnx.GraphProto | onnx.FunctionProto


def _graphs(model: onnx.ModelProto) -> Iterator[Graph]:
    """Every graph: the main one, local functions, training steps, and the branches inside them."""
    waiting: list[Graph] = [model.graph, *model.functions]
    for step in model.training_info:
        waiting += [step.initialization, step.algorithm]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g, *attribute.graphs]  # empty where there is none


def _tensors(graph: Graph) -> Iterator[onnx.TensorProto]:
    if isinstance(graph, onnx.GraphProto):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
