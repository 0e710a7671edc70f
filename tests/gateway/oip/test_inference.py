"""The generated messages are those of `inference.proto`, and on the wire those of the protocol."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor
from tritonclient.grpc import model_config_pb2, service_pb2

from gateway.oip import inference_pb2 as pb

ROOT = Path(__file__).parents[3]
PROTOC = (sys.executable, "-m", "grpc_tools.protoc")
PROTO = "gateway/oip/inference.proto"

IMPORT_OURS_BESIDE = (
    "import {}; from gateway.oip import inference_pb2 as pb; pb.ModelInferRequest()"
)


def test_what_is_committed_is_what_the_proto_says(tmp_path: Path) -> None:
    out = tmp_path / "set"
    subprocess.run(
        [*PROTOC, "--proto_path=.", f"--descriptor_set_out={out}", PROTO],
        cwd=ROOT,
        check=True,
    )
    [wanted] = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    found = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(found)

    assert _without_json_names(found) == _without_json_names(wanted)


def _without_json_names(
    file: descriptor_pb2.FileDescriptorProto,
) -> descriptor_pb2.FileDescriptorProto:
    """Drop what protoc derives from the names and keeps out of the generated file."""
    messages = list(file.message_type)
    while messages:
        message = messages.pop()
        messages += message.nested_type
        for field in message.field:
            field.ClearField("json_name")
    return file


@pytest.mark.parametrize(
    "theirs", ["tritonclient.grpc.service_pb2", "kserve.protocol.grpc.grpc_predict_v2_pb2"]
)
def test_it_can_be_imported_beside_the_clients_own_messages(theirs: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_OURS_BESIDE.format(theirs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def _messages(of: Iterable[Descriptor]) -> dict[str, Descriptor]:
    """Find messages, and those inside them, by their name without the package."""
    found = {}
    for message in of:
        found[message.full_name.removeprefix(f"{message.file.package}.")] = message
        found |= _messages(message.nested_types)
    return found


def _of_file(module: Any) -> dict[str, Descriptor]:
    return _messages(module.DESCRIPTOR.message_types_by_name.values())


TRITON = _of_file(service_pb2) | _of_file(model_config_pb2)
OURS = _of_file(pb)
# KServe answers with two fields where Triton's message is empty.
KSERVE_ONLY = {"RepositoryModelLoadResponse", "RepositoryModelUnloadResponse"}


@pytest.mark.parametrize("name", sorted(OURS.keys() - KSERVE_ONLY))
def test_every_field_has_tritons_number_and_type(name: str) -> None:
    theirs = TRITON[name].fields_by_name

    for field in OURS[name].fields:
        other = theirs[field.name]
        assert (field.number, field.type, field.is_repeated) == (
            other.number,
            other.type,
            other.is_repeated,
        )


def test_every_datatype_has_tritons_number() -> None:
    assert dict(pb.DataType.items()) == dict(model_config_pb2.DataType.items())
