"""Tar archives, good and bad."""

import io
import tarfile
from pathlib import Path

from gateway.client import write_archive


def archive_of(bundle: Path) -> bytes:
    archive = io.BytesIO()
    write_archive(bundle, archive)
    return archive.getvalue()


def entry(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(*entries: tuple[tarfile.TarInfo, bytes], format: int = tarfile.USTAR_FORMAT) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=format) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return body.getvalue()
