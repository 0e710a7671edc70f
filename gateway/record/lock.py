"""A file lock that dies with its holder: who is alive is asked of the kernel, not of a clock."""

import fcntl
import os
from pathlib import Path
from typing import Self


class FileLock:
    """An exclusive ``flock`` on a file of its own.

    Never on a SQLite file: SQLite's own POSIX locks on it vanish as soon as the process
    closes any descriptor of that file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Take the lock now; None while another holds it."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may have removed the file between our open and our lock;
                # then we hold the lock of a file nobody else will ever see.
                if os.fstat(descriptor).st_ino == path.stat().st_ino:
                    return cls(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except FileNotFoundError:
                pass
            os.close(descriptor)

    def release(self, *, remove: bool = False) -> None:
        """Give the lock up, and remove its file while it is still ours."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; a missing file is held by nobody."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
