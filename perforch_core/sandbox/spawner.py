"""The owner's side of the supervisor: starts it when first needed, asks it for programs, hears how they ended."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perforch_core.sandbox import supervisor
from perforch_core.task import EnvironmentProblem

_PACKAGE_ROOT = Path(__file__).resolve().parent.parent.parent
_REMEMBERED_ORPHANS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What the supervisor needs to start a program; `fds` are the numbers its descriptors get, in order.

    `limits` by the names of setrlimit ("DATA"). `user` is the uid to become, None to stay. `landlock` are the
    arguments of landlock.prepare. `trash` are folders to delete when the program has ended.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    fds: Sequence[int]
    limits: Mapping[str, int]
    filters: Sequence[str] = ()
    landlock: Mapping[str, Any] | None = None
    user: int | None = None
    keep_read: bool = False
    kill_session: bool = False
    trash: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class End:
    """The end of a program: its wait status, CPU seconds and largest resident size in bytes (waited children in)."""

    status: int
    cpu: float
    peak: int


class Streams:
    """The descriptors of one program: numbers 0 to 3 are stdin, stdout, stderr and its end of the channel."""

    CHANNEL = 3
    FIXED = (0, 1, 2, CHANNEL)

    def __init__(self, stdin: bytes) -> None:
        self._stack = contextlib.ExitStack()
        self.channel, inner = socket.socketpair()
        self._stack.callback(inner.close)
        self.stdout, stdout = self.pipe()
        self.stderr, stderr = self.pipe()
        self.inner: list[int] = [self.file(stdin), stdout, stderr, inner.fileno()]
        self._ours = [self.stdout, self.stderr]

    def file(self, content: bytes) -> int:
        """A sealed file with this content, for the program to inherit."""
        descriptor = memory_file(content)
        self._stack.callback(os.close, descriptor)
        return descriptor

    def pipe(self) -> tuple[int, int]:
        """Our non-blocking read end and the program's write end."""
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        self._stack.callback(os.close, theirs)
        return ours, theirs

    def give(self, descriptor: int) -> int:
        """Let the program inherit `descriptor`; the number it will have there."""
        self.inner.append(descriptor)
        return len(self.inner) - 1

    def started(self) -> None:
        """Close the program's ends on our side."""
        self._stack.close()

    def failed(self) -> None:
        """Close everything."""
        self._stack.close()
        self.channel.close()
        for descriptor in self._ours:
            os.close(descriptor)


class Started:
    """A program the supervisor has started."""

    def __init__(self, spawner: Spawner, key: int, pid: int, end: asyncio.Future[End]) -> None:
        self.pid = pid
        self.end = end
        self._spawner, self._key = spawner, key

    def kill(self) -> None:
        self._spawner.send({"kill": self._key})


class Spawner:
    """One supervisor process, for one event loop."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keys = itertools.count(1)
        self._starting: dict[int, asyncio.Future[int]] = {}
        self._ends: dict[int, asyncio.Future[End]] = {}
        self._sessions: dict[int, int] = {}
        self._orphans: OrderedDict[int, End] = OrderedDict()
        self._orphan_news = asyncio.Event()

    async def start(self, spec: Spec, fds: Sequence[int]) -> Started:
        """Start a program. The caller keeps and closes its own `fds`. Raises EnvironmentProblem."""
        self._ensure()
        loop = asyncio.get_running_loop()
        key = next(self._keys)
        begun, end = loop.create_future(), loop.create_future()
        self._starting[key], self._ends[key] = begun, end
        text = memory_file(json.dumps(asdict(spec)).encode())
        try:
            self.send({"start": key}, [text, *fds])
        finally:
            os.close(text)
        try:
            pid = await asyncio.shield(begun)
        except asyncio.CancelledError:
            self.send({"kill": key})
            await asyncio.wait([begun, end], return_when=asyncio.FIRST_EXCEPTION, timeout=5)
            raise
        except EnvironmentProblem:
            self._ends.pop(key, None)
            raise
        if spec.kill_session and not end.done():
            self._sessions[key] = pid
        return Started(self, key, pid, end)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        if self._socket is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._socket, [json.dumps(message).encode()], list(fds))

    async def orphan(self, pid: int, *, timeout: float) -> End | None:
        """What a process used that was handed to the supervisor when its parent ended; waits for its end."""
        deadline = asyncio.get_running_loop().time() + timeout
        while pid not in self._orphans:
            self._orphan_news.clear()
            try:
                await asyncio.wait_for(self._orphan_news.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                return None
        return self._orphans.pop(pid)

    async def aclose(self) -> None:
        """Let the supervisor kill what still runs, and wait for it."""
        if self._socket is None or self._process is None:
            return
        process = self._process
        self._disconnect()
        await asyncio.to_thread(process.wait, 10)

    def _ensure(self) -> None:
        loop = asyncio.get_running_loop()
        if self._socket is not None and self._loop is loop:
            return
        if self._socket is not None:
            self._disconnect()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = f"import sys; sys.path.insert(0, {str(_PACKAGE_ROOT)!r})\n"
        code += f"from perforch_core.sandbox.supervisor import main; main({theirs.fileno()})"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", code],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),), env={}, cwd="/", start_new_session=True,
        )  # fmt: skip
        theirs.close()
        ours.setblocking(False)
        self._socket, self._loop = ours, loop
        self._orphan_news = asyncio.Event()
        loop.add_reader(ours, self._hear)

    def _disconnect(self) -> None:
        if self._socket is None:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        starting, ends = list(self._starting.values()), list(self._ends.values())
        self._starting.clear()
        self._ends.clear()
        self._sessions.clear()
        if self._loop is None or self._loop.is_closed():
            return
        for begun in starting:
            if not begun.done():
                begun.set_exception(EnvironmentProblem("The sandbox's supervisor ended unexpectedly; try again."))
        for end in ends:
            if not end.done():
                end.set_result(End(9, 0.0, 0))

    def _hear(self) -> None:
        if self._socket is None:
            return
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self._lost()
                return
            self._note(json.loads(data))

    def _lost(self) -> None:
        """The supervisor was killed. The first process of each program went with it; end those that they started."""
        sessions = list(self._sessions.values())
        self._disconnect()
        for session in sessions:
            for pid in supervisor.session_members(session):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def _note(self, message: dict[str, Any]) -> None:
        if "orphan" in message:
            self._orphans[message["orphan"]] = End(0, message["cpu"], message["peak"])
            while len(self._orphans) > _REMEMBERED_ORPHANS:
                self._orphans.popitem(last=False)
            self._orphan_news.set()
            return
        key = message["id"]
        begun = self._starting.pop(key, None)
        if "started" in message and begun is not None and not begun.done():
            begun.set_result(message["started"])
        elif "failed" in message and begun is not None and not begun.done():
            begun.set_exception(EnvironmentProblem(f"The program could not be started: {message['failed']}"))
        elif "ended" in message:
            self._sessions.pop(key, None)
            end = self._ends.pop(key, None)
            if end is not None and not end.done():
                end.set_result(End(message["ended"], message["cpu"], message["peak"]))


def memory_file(content: bytes) -> int:
    """A read-only descriptor of exactly this content, sealed so that it cannot serve as writable memory."""
    writable = os.memfd_create("data", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(writable, view) :]
        seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(writable, fcntl.F_ADD_SEALS, seals)
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writable)
