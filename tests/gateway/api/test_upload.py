import gzip
import io
import struct
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.api.upload import MAX_ENTRIES, TarReader
from gateway.errors import BadRequestError, BundleRefusedError
from tests.gateway.api.archives import archive, entry

LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}


def receive(body: bytes, target: Path, *, piece_bytes: int = 1 << 16) -> dict[str, bytes]:
    with TarReader(target) as reader:
        for start in range(0, len(body), piece_bytes):
            reader.feed(body[start : start + piece_bytes])
        reader.finish()
    return {path.name: path.read_bytes() for path in target.iterdir()}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A directory beside a canary that must survive."""
    (tmp_path / "canary").write_bytes(b"alive")
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


def patched(body: bytes, at: int, field: bytes) -> bytes:
    """Write over a field of the first header, and correct the checksum."""
    block = bytearray(body[:512])
    block[at : at + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + body[512:]


FILES = {"model.yaml": b"name: toy\n", "empty": b"", "block": b"b" * 512, "long": b"l" * 70_000}
GOOD = archive(*(entry(name, content) for name, content in FILES.items()))


@pytest.mark.parametrize("piece_bytes", [1, 7, 511, 512, 513, 1 << 20])
def test_files_arrive_whole_in_pieces_of_any_size(target: Path, piece_bytes: int) -> None:
    assert receive(GOOD, target, piece_bytes=piece_bytes) == FILES


@pytest.mark.parametrize("format", ["ustar", "gnu", "v7"])
def test_what_tar_writes_is_read(target: Path, tmp_path: Path, format: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, content in FILES.items():
        (source / name).write_bytes(content)
    command = ["tar", f"--format={format}", "-C", str(source), "-cf", "-", "."]

    assert receive(subprocess.run(command, capture_output=True, check=True).stdout, target) == FILES


HOSTILE = {
    "traversal": archive(entry("../canary")),
    "deep traversal": archive(entry("a/../../canary")),
    "absolute": archive(entry("/tmp/canary")),
    "backslash": archive(entry("..\\canary")),
    "folder in it": archive(entry("folder/file")),
    "dotted": archive(entry(".hidden")),
    "dot": archive(entry(".")),
    "double dot": archive(entry("..")),
    "nothing but a dot slash": archive(entry("./")),
    "dot slash twice": archive(entry("././file")),
    "space": archive(entry("a b")),
    "new line": archive(entry("a\nb")),
    "not ASCII": archive(entry("módel.yaml"), format=tarfile.GNU_FORMAT),
    "very long name": archive(entry("a" * 129), format=tarfile.GNU_FORMAT),
    "prefix": patched(archive(entry("file")), 345, b"../outside"),
    "the same name twice": archive(entry("file"), entry("file")),
    "the same name in capitals": archive(entry("file"), entry("FILE")),
    "the same name with a dot slash": archive(entry("file"), entry("./file")),
    "symbolic link": archive(entry("link", b"", **LINK)),
    "link, then a file through it": archive(entry("link", b"", **LINK), entry("link")),
    "hard link": archive(entry("link", b"", type=tarfile.LNKTYPE, linkname="../canary")),
    "character device": archive(entry("null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "block device": archive(entry("disk", b"", type=tarfile.BLKTYPE)),
    "pipe": archive(entry("pipe", b"", type=tarfile.FIFOTYPE)),
    "folder": archive(entry("folder", b"", type=tarfile.DIRTYPE)),
    "contiguous file": archive(entry("file", type=tarfile.CONTTYPE)),
    "sparse file": archive(entry("file", type=tarfile.GNUTYPE_SPARSE)),
    "extended header": archive(
        entry("file", pax_headers={"path": "../canary"}), format=tarfile.PAX_FORMAT
    ),
    "global extended header": archive(entry("x", b"", type=tarfile.XGLTYPE), entry("file")),
    "sparse map in an extended header": archive(
        entry("file", pax_headers={"GNU.sparse.size": "99999999999"}), format=tarfile.PAX_FORMAT
    ),
    "long name entry": archive(entry("././@LongLink", type=tarfile.GNUTYPE_LONGNAME)),
    "unknown type": archive(entry("file", type=b"Z")),
    "negative size": patched(archive(entry("file")), 124, struct.pack(">Bxxxq", 0xFF, -512)),
    "too many entries": archive(*(entry(f"f{i}", b"") for i in range(MAX_ENTRIES + 1))),
}

BROKEN = {
    "empty": b"",
    "text": b"name: toy\n" * 100,
    "zeros and more": bytes(512) + b"x" * 512,
    "compressed": gzip.compress(GOOD),
    "cut in a header": GOOD[:300],
    "cut in a file": GOOD[:520],
    "cut in the padding": archive(entry("file"))[:600],
    "without its end": GOOD[: -(-len(GOOD) // 512) * 512 - 10240],
    "wrong checksum": b"x" + GOOD[1:],
    "a size that lies": patched(archive(entry("file")), 124, b"77777777777\0"),
    "a size of 2 to the 62": patched(
        archive(entry("file")), 124, struct.pack(">Bxxxq", 0x80, 1 << 62)
    ),
    "a size that is no number": patched(archive(entry("file")), 124, b"huge       \0"),
    "another archive behind it": archive(entry("file")) + archive(entry("other")),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("piece_bytes", [100, 1 << 20])
def test_more_than_plain_files_is_refused(target: Path, body: bytes, piece_bytes: int) -> None:
    with pytest.raises((BundleRefusedError, BadRequestError)):
        receive(body, target, piece_bytes=piece_bytes)
    check_nothing_escaped(target)


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_not_a_whole_archive_is_refused(target: Path, body: bytes) -> None:
    with pytest.raises(BadRequestError):
        receive(body, target)
    check_nothing_escaped(target)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_a_damaged_archive_is_read_or_refused_but_never_fails(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    target = tmp_path_factory.mktemp("target") / "inside"
    target.mkdir()
    (target.parent / "canary").write_bytes(b"alive")
    body = bytearray(archive(entry("model.yaml", b"y" * 600), entry("other", b"z")))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        body = bytearray(patched(bytes(body), 0, b""))
    cut = data.draw(st.integers(0, len(body)))

    with suppress(BadRequestError, BundleRefusedError):
        receive(bytes(body[:cut]), target)
    check_nothing_escaped(target)


def test_a_bomb_in_the_archive_stays_as_small_as_it_came(target: Path) -> None:
    bomb = gzip.compress(bytes(10 << 20))
    assert receive(archive(entry("model.gz", bomb)), target) == {"model.gz": bomb}


def check_nothing_escaped(target: Path) -> None:
    assert sorted(path.name for path in target.parent.iterdir()) == ["canary", "inside"]
    assert (target.parent / "canary").read_bytes() == b"alive"
    assert all(path.is_file() and not path.is_symlink() for path in target.iterdir())


def test_the_corpus_is_hostile_to_those_who_unpack_blindly(target: Path) -> None:
    """The archives say what they should: the general reader sees the names."""
    with tarfile.open(fileobj=io.BytesIO(HOSTILE["traversal"])) as tar:
        assert tar.getnames() == ["../canary"]
    with tarfile.open(fileobj=io.BytesIO(HOSTILE["extended header"])) as tar:
        assert tar.getnames() == ["../canary"]
