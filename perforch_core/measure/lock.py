"""One measurement at a time per machine and user: two at once would measure each other."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import platformdirs

from perforch_core.task import Event, Reporter, silent

POLL = 0.05
"""Seconds between two tries."""

PATIENCE = 20.0
"""Seconds to wait for another measurement: a user's budget is of that order."""


def lock_path() -> Path:
    """The lock file, in the user's cache folder."""
    return Path(platformdirs.user_cache_dir("perforch", appauthor=False)) / "measuring.lock"


@asynccontextmanager
async def measuring(
    report: Reporter = silent, *, path: Path | None = None, patience: float = PATIENCE
) -> AsyncIterator[bool]:
    """Hold the machine's measuring lock. Yields False where it cannot be had within `patience` seconds, or at all.

    Then nothing is held, and others may disturb the measurement: it takes longer, but claims nothing that is not so.

    Waiting leaves the event loop free, can be cancelled, and is told once to `report`. The system lets go of the lock
    when its process dies, however that happens, so a stale file never blocks anybody. Not reentrant.
    """
    descriptor = _open(path or lock_path())
    if descriptor is None:
        report(Event(kind="note", text="cannot create the measuring lock: other measurements may disturb this one"))
        yield False
        return
    try:
        loop = asyncio.get_running_loop()
        began = 0.0
        while not (held := _try(descriptor)):
            if not began:
                began = loop.time()
                report(Event(kind="note", text="waiting for another measurement on this machine to end"))
            elif loop.time() - began > patience:
                report(Event(kind="note", text="measuring beside another measurement: both are disturbed"))
                break
            await asyncio.sleep(POLL)
        yield held
    finally:
        os.close(descriptor)


def _open(path: Path) -> int | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError:
        return None


if sys.platform == "win32":  # not exercised
    import msvcrt

    def _try(descriptor: int) -> bool:
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
