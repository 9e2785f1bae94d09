"""Temporary folders of sandboxed programs: where they are, and that those of killed owners go at the next start."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import tempfile
from pathlib import Path


class Scratch:
    """A folder of this process for its programs' folders. It is locked as long as the process lives."""

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent or Path(tempfile.gettempdir()) / f"perforch-{os.geteuid()}"
        self._numbers = itertools.count()
        self._folder: Path | None = None
        self._lock = -1

    def new(self) -> Path:
        """A fresh empty folder. Raises OSError."""
        if self._folder is None:
            self._folder = self._open()
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    def close(self) -> None:
        """Remove everything made here."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._folder = None

    def _open(self) -> Path:
        self._parent.mkdir(parents=True, exist_ok=True)
        info = self._parent.lstat()
        if not self._parent.is_dir() or self._parent.is_symlink() or info.st_uid != os.geteuid():
            raise PermissionError(f"{self._parent} belongs to somebody else; set TMPDIR to a folder of your own.")
        self._parent.chmod(0o711)
        sweep(self._parent)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self._parent))
        folder.chmod(0o711)
        self._lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return folder


def sweep(parent: Path) -> None:
    """Remove the folders in `parent` whose owner is gone: those that nobody holds a lock on."""
    for folder in parent.glob("run-*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
