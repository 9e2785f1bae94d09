"""Writing files so that nothing is lost: all or nothing, and only over what we read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from perforch_core.task import UserError


def replace_text(path: Path, *, before: str, after: str) -> None:
    """Replace a file's text in one step, keeping its mode; links are followed, not replaced.

    Raises UserError when the file no longer holds `before`, or cannot be written.
    """
    path = path.resolve()
    try:
        if path.read_bytes() != before.encode("utf-8", "surrogatepass"):
            raise UserError(f"{path.name} was changed meanwhile; nothing was written. Run the command again")
        write_atomically(path, after.encode("utf-8", "surrogatepass"), mode=path.stat().st_mode)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}; nothing was changed") from error


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write through a temporary file beside `path`: a crash leaves the old file or the new one. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode & 0o7777)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
