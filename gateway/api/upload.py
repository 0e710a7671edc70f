"""Receive a bundle as a tar stream: a flat directory of regular files, and nothing else.

Our own reader, because the general one follows what an archive asks for: links, sparse maps,
extended headers, negative sizes (CVE-2025-4517, CVE-2025-8194).  Here, every header is one
block that the standard library decodes and we judge; bytes go straight to disk.
"""

import os
import re
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool

from gateway.errors import BadRequestError, BundleRefusedError
from models.seal import MAX_FILES

BLOCK_BYTES = tarfile.BLOCKSIZE
MAX_ENTRIES = MAX_FILES + 2  # the digests and their signature are not among the digests

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # as `models.manifest.FileName`
_END = bytes(BLOCK_BYTES)


async def receive_bundle(chunks: AsyncIterator[bytes], target: Path) -> None:
    """Write the files of a tar stream into ``target``, an empty directory.

    Raises:
        BadRequestError: it is not a tar archive, or it ends too early.
        BundleRefusedError: it holds more than plain files with plain names.
    """
    with TarReader(target) as reader:
        async for chunk in chunks:
            await run_in_threadpool(reader.feed, chunk)
        reader.finish()


class TarReader:
    """Takes an archive piece by piece, in pieces of any size."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._pending = b""  # less than a block, while a header is awaited
        self._file: BinaryIO | None = None
        self._content_left = 0  # bytes of the open file
        self._padding_left = 0  # bytes up to the next block
        self._names: set[str] = set()
        self._entries = 0
        self._ended = False

    def __enter__(self) -> "TarReader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def feed(self, chunk: bytes) -> None:
        """Take the next piece and write what it completes."""
        rest = memoryview(chunk)
        while rest:
            if self._file is not None:
                rest = self._take_content(rest)
            elif self._padding_left:
                skipped = min(self._padding_left, len(rest))
                self._padding_left -= skipped
                rest = rest[skipped:]
            else:
                rest = self._take_header(rest)

    def finish(self) -> None:
        """Say that there is no more.

        Raises:
            BadRequestError: something was missing.
        """
        if not self._ended or self._pending:
            raise BadRequestError("the archive ends too early")

    def _take_content(self, rest: memoryview) -> memoryview:
        assert self._file is not None
        part = rest[: self._content_left]
        self._file.write(part)
        self._content_left -= len(part)
        if not self._content_left:
            self._file.close()
            self._file = None
        return rest[len(part) :]

    def _take_header(self, rest: memoryview) -> memoryview:
        wanted = BLOCK_BYTES - len(self._pending)
        self._pending += bytes(rest[:wanted])
        if len(self._pending) == BLOCK_BYTES:
            block, self._pending = self._pending, b""
            self._open_entry(block)
        return rest[wanted:]

    def _open_entry(self, block: bytes) -> None:
        if block == _END:
            self._ended = True
            return
        if self._ended:
            raise BadRequestError("something follows the end of the archive")
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise BundleRefusedError(f"the archive holds more than {MAX_ENTRIES} entries")
        entry = _parse_header(block)
        if entry.isdir() and entry.name in (".", "./") and not entry.size:
            return  # `tar -C bundle -c .` names the directory itself first
        name = self._judge(entry)
        self._content_left, self._padding_left = entry.size, -entry.size % BLOCK_BYTES
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.fdopen(os.open(self._target / name, flags, 0o600), "wb")
        if entry.size:
            self._file = file
        else:
            file.close()

    def _judge(self, entry: tarfile.TarInfo) -> str:
        """Return the name of a file that may be written."""
        name = entry.name.removeprefix("./")
        which = f"entry {self._entries} of the archive"
        if not _NAME.fullmatch(name):
            raise BundleRefusedError(f"{which} has a name that is not a plain file name")
        if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise BundleRefusedError(
                f"{which} is not a plain file; write the archive with --format=ustar"
            )
        if entry.size < 0:
            raise BadRequestError(f"{which} has a negative size")
        if name.casefold() in self._names:
            raise BundleRefusedError(f"{which} repeats a name")
        self._names.add(name.casefold())
        return name


def _parse_header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise BadRequestError("the body is not a tar archive") from error
