"""A program that runs under watch: output collected, limits enforced from outside, the whole tree ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Protocol

from perforch_core.sandbox import watch
from perforch_core.sandbox.interface import Ended, Limits, Outcome
from perforch_core.sandbox.spawner import End

_FIRST_POLL = 0.01
_SLOWEST_POLL = 0.1
_DEADLY = frozenset(
    {
        signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE,
        signal.SIGKILL, signal.SIGTERM, signal.SIGSYS,
    }
)  # fmt: skip


class Handle(Protocol):
    """What a backend gives for a started program."""

    stdout: int
    stderr: int
    """Non-blocking read ends; this module closes them."""

    def kill(self) -> None:
        """Kill the whole tree, now; callable at any time and more than once."""

    def pids(self) -> list[int]:
        """The living processes of the tree."""

    async def ended(self) -> End:
        """Wait until no process of the tree is left."""

    def overfull(self) -> bool:
        """Whether the tree fills a disk."""


class Live:
    """Implements the interface's Process over a backend's handle."""

    def __init__(self, handle: Handle, limits: Limits, channel: socket.socket, *, on_end: Callable[[], None]) -> None:
        self.channel = channel
        self._handle = handle
        self._limits = limits
        self._on_end = on_end
        self._started = time.monotonic()
        self._output: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._why: Ended | None = None
        self._peak = 0
        self._cpu = 0.0
        self._readers = [
            asyncio.ensure_future(self._read(fd, into))
            for fd, into in zip((handle.stdout, handle.stderr), self._output, strict=True)
        ]
        self._outcome = asyncio.ensure_future(self._live())

    async def wait(self) -> Outcome:
        return await asyncio.shield(self._outcome)

    async def close(self) -> Outcome:
        self._stop(Ended.KILLED)
        try:
            return await asyncio.shield(self._outcome)
        except asyncio.CancelledError:
            # The tree is being killed already; the caller must not go on before it is gone.
            await asyncio.wait([self._outcome])
            raise
        finally:
            self.channel.close()

    def _stop(self, why: Ended) -> None:
        if self._why is None and not self._outcome.done():
            self._why = why
        self._handle.kill()

    async def _live(self) -> Outcome:
        watcher = asyncio.ensure_future(self._watch())
        try:
            end = await self._handle.ended()
        finally:
            watcher.cancel()
        wall = time.monotonic() - self._started
        await asyncio.wait(self._readers, timeout=1.0)
        for reader in self._readers:
            reader.cancel()
        self._on_end()
        return self._report(end, wall)

    def _report(self, end: End, wall: float) -> Outcome:
        code = os.waitstatus_to_exitcode(end.status)
        # bubblewrap and shells pass a signal on as 128 + its number.
        if code - 128 in _DEADLY:
            code = 128 - code
        why = self._why
        if why is None:
            why = Ended.SIGNALLED if code < 0 else Ended.EXITED
            if code == -signal.SIGXCPU:
                why = Ended.CPU
        out, err = (bytes(part) for part in self._output)
        finished = why in (Ended.EXITED, Ended.SIGNALLED)
        return Outcome(
            ended=why, returncode=code if finished else None, stdout=out, stderr=err, wall=wall,
            cpu=max(end.cpu, self._cpu), peak_memory=max(end.peak, self._peak),
        )  # fmt: skip

    async def _read(self, descriptor: int, into: bytearray) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(descriptor, ready.set)
        try:
            while True:
                await ready.wait()
                ready.clear()
                with contextlib.suppress(BlockingIOError):
                    while chunk := os.read(descriptor, 1 << 16):
                        room = self._limits.output - sum(map(len, self._output))
                        into += chunk[: max(room, 0)]
                        if len(chunk) > room:
                            self._stop(Ended.OUTPUT)
                            return
                    return
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def _watch(self) -> None:
        pause = _FIRST_POLL
        while True:
            why = self._overdrawn()
            if why:
                self._stop(why)
                return
            left = self._limits.wall - (time.monotonic() - self._started)
            await asyncio.sleep(max(0.0, min(pause, left)))
            pause = min(pause * 1.3, _SLOWEST_POLL)

    def _overdrawn(self) -> Ended | None:
        limits = self._limits
        if time.monotonic() - self._started >= limits.wall:
            return Ended.WALL
        pids = self._handle.pids()
        used = watch.usage(pids)
        self._cpu = max(self._cpu, used.cpu)
        memory = used.memory
        if memory > limits.memory:
            memory = watch.proportional_memory(pids) or memory
        self._peak = max(self._peak, memory)
        if memory > limits.memory or self._handle.overfull():
            return Ended.MEMORY
        return Ended.CPU if used.cpu > limits.cpu else None
