"""Disks are not filled by a sandboxed program: free space and file counts are watched while it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_KEEP_FREE = 512 << 20
_INODES = 200_000


class DiskGuard:
    """Watches the file systems of `folders`. One that was nearly full before is left alone."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [folder for folder in folders if _free(str(folder)) > 2 * _KEEP_FREE]

    def overfull(self) -> bool:
        """Whether less is free now than a user's machine should keep."""
        return any(0 <= _free(str(folder)) < _KEEP_FREE for folder in self._folders)


def too_many_files(scratch: str) -> bool:
    """Whether a program's own temporary file system holds more files than any honest program makes."""
    try:
        folder = os.open(scratch, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        # While a namespace is being set up, this is now the host's folder and now another: one look has to do.
        if os.fstat(folder).st_dev == Path("/tmp").stat().st_dev:
            return False
        room = os.statvfs(folder)
    except OSError:
        return False
    finally:
        os.close(folder)
    return room.f_files - room.f_ffree > _INODES


def _free(path: str) -> int:
    try:
        room = os.statvfs(path)
    except OSError:
        return -1
    return room.f_bavail * room.f_frsize
