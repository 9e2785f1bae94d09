"""Starts Python drivers in the sandbox and speaks with them. All clocks and verdicts are on this side.

One *zygote* per hash seed waits in the sandbox; each version of the target gets a fresh fork of it, which loads the
version's text and then answers over its own socket. See drivers/perforch_driver.py for the other side.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perforch_core.languages.interface import (
    Block,
    BuildFailed,
    Case,
    CaseType,
    Driver,
    DriverDied,
    Observation,
    Parameter,
    Project,
    Signature,
    Version,
)
from perforch_core.languages.python_project import module_name, readable_paths, variables
from perforch_core.sandbox import clock
from perforch_core.sandbox.interface import Command, Limits, Policy, Process, Sandbox
from perforch_core.task import EnvironmentProblem, Target
from perforch_core.values import Wire, canonical_digest

DRIVERS = Path(__file__).parent / "drivers"
MAX_FRAME = 1 << 28
MAX_ZYGOTES = 9
LOAD_SECONDS = 30.0
MOST_KEPT = 1 << 25
"""Bytes of encoded inputs that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverLimits:
    """What one version may use: `memory` in bytes (data segment), `cpu` in seconds over its whole life, `load` in
    seconds until its module is loaded.
    """

    memory: int = 2 << 30
    cpu: int = 300
    load: float = LOAD_SECONDS


class PythonHarness:
    """A Harness (see languages/interface.py) for one Python target."""

    def __init__(
        self, project: Project, target: Target, sandbox: Sandbox, *, limits: DriverLimits | None = None
    ) -> None:
        self.project = project
        self.target = target
        self.sandbox = sandbox
        self.limits = limits or DriverLimits()
        self._zygotes: dict[int, _Zygote] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._drivers: set[PythonDriver] = set()
        self._warming: list[asyncio.Task[None]] = []
        self._encoded = _Encoded()
        self._variables = variables(target.text)

    async def signature(self) -> Signature:
        driver = await self.start(Version(label="original", text=self.target.text))
        try:
            return signature_from(await driver.ask({"op": "describe"}, timeout=LOAD_SECONDS))
        finally:
            await driver.close()

    async def start(self, version: Version, *, seed: int = 0) -> PythonDriver:
        zygote = await self._zygote(seed)
        ours, theirs = socket.socketpair()
        try:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            zygote.hand_over(theirs)
        except OSError as error:
            ours.close()
            raise DriverDied(f"the sandboxed interpreter is gone: {error}") from error
        finally:
            theirs.close()
        driver = PythonDriver(ours, forget=self._drivers.discard, encoded=self._encoded.of)
        self._drivers.add(driver)
        try:
            await driver.begin(self._first_message(version), seconds=self.limits.load)
        except BaseException:
            await driver.close()
            raise
        return driver

    def _first_message(self, version: Version) -> dict[str, Any]:
        project = self.project
        return {
            "path": str(self.target.path),
            "module": module_name(project, self.target.path),
            "symbol": self.target.symbol,
            "text": base64.b64encode(version.text.encode("utf-8", "surrogatepass")).decode(),
            "state": self._variables,
            "cwd": str(project.root),
            "sys_path": [str(p) for p in project.path_entries],
            "drivers": str(DRIVERS),
            "limits": {"memory": self.limits.memory, "cpu": self.limits.cpu},
            "filter": base64.b64encode(self.sandbox.no_fork_filter()).decode(),
        }

    def warm_up(self, seeds: Sequence[int]) -> None:
        """Start parents for these hash seeds in the background, while there is other work."""

        async def start_all() -> None:
            for seed in seeds:
                with contextlib.suppress(EnvironmentProblem, OSError):  # it is told when the parent is really needed
                    await self._zygote(seed)

        self._warming.append(asyncio.create_task(start_all()))

    async def _zygote(self, seed: int) -> _Zygote:
        async with self._locks.setdefault(seed, asyncio.Lock()):
            zygote = self._zygotes.get(seed)
            if zygote is not None and zygote.alive:
                return zygote
            if zygote is not None:
                await zygote.process.close()
            if len(self._zygotes) >= MAX_ZYGOTES:
                oldest = next(iter(self._zygotes))
                await self._zygotes.pop(oldest).process.close()
            zygote = await self._start_zygote(seed)
            self._zygotes[seed] = zygote
            return zygote

    async def _start_zygote(self, seed: int) -> _Zygote:
        project = self.project
        command = Command(
            argv=(str(project.interpreter), "-s", "-B", str(DRIVERS / "perforch_driver.py")),
            policy=Policy.RUN,
            cwd=project.root,
            limits=Limits(wall=3600.0, cpu=3600.0, memory=self.limits.memory * 2, output=1 << 20),
            env={**project.env, "PYTHONHASHSEED": str(seed), "PYTHONUNBUFFERED": "1"},
            readable=(*readable_paths(project), DRIVERS),
            may_fork=True,
        )
        process = await self.sandbox.open(command)
        process.channel.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            ready = await asyncio.wait_for(loop.sock_recv(process.channel, 1), LOAD_SECONDS)
        except (TimeoutError, OSError):
            ready = b""
        except asyncio.CancelledError:
            await process.close()  # nobody else knows of it yet
            raise
        if ready != b"R":
            outcome = await process.close()
            said = outcome.stderr.decode(errors="replace").strip()[-600:]
            raise EnvironmentProblem(
                f"{project.interpreter} did not start in the sandbox ({outcome.ended.value}): {said}"
            )
        return _Zygote(process)

    async def aclose(self) -> None:
        for task in self._warming:
            task.cancel()
        await asyncio.gather(*self._warming, return_exceptions=True)
        for driver in list(self._drivers):
            await driver.close()
        for zygote in self._zygotes.values():
            await zygote.process.close()
        self._zygotes.clear()


class _Encoded:
    """Inputs for timing as JSON, kept: both versions get the same ones, and get them again in later rounds."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Case, bytes]] = {}
        self._size = 0

    def of(self, case: Case) -> bytes:
        kept = self._kept.get(id(case))
        if kept is None:
            kept = (case, json.dumps({"args": case.arguments, "keywords": case.keywords}).encode())
            self._kept[id(case)] = kept  # holding the case keeps its id from being used again
            self._size += len(kept[1])
            while self._size > MOST_KEPT:
                self._size -= len(self._kept.pop(next(iter(self._kept)))[1])
        return kept[1]


@dataclass(slots=True)
class _Zygote:
    process: Process
    alive: bool = True

    def hand_over(self, descriptor: socket.socket) -> None:
        try:
            socket.send_fds(self.process.channel, [b"F"], [descriptor.fileno()])
        except OSError:
            self.alive = False
            raise


@dataclass(eq=False, slots=True)
class PythonDriver:
    """A Driver (see languages/interface.py): one forked child with one version loaded."""

    sock: socket.socket
    forget: Any
    encoded: Callable[[Case], bytes]
    pid: int = 0
    pidfd: int = -1
    closed: bool = False
    held: list[Case] = field(default_factory=list)
    _position: int = 0
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def begin(self, first: Mapping[str, Any], *, seconds: float) -> None:
        """Learn the child's process id from the kernel and have it load its version. Raises BuildFailed."""
        self.sock.setblocking(False)
        self.pid = await asyncio.wait_for(self._credentials(), LOAD_SECONDS)
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self.pidfd = os.pidfd_open(self.pid)
        answer = await self.ask(first, timeout=seconds, loading=True)
        if "error" in answer:
            raise BuildFailed(_text(answer["error"][2]))

    async def _credentials(self) -> int:
        size = struct.calcsize("3i")
        while True:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(1, socket.CMSG_SPACE(size))
            except BlockingIOError:
                await _readable(self.sock)
                continue
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    return struct.unpack("3i", payload[:size])[0]
            raise DriverDied(
                "the sandboxed interpreter ended before it loaded anything" if not data else "no credentials"
            )

    async def ask(self, message: Mapping[str, Any] | bytes, *, timeout: float, loading: bool = False) -> dict[str, Any]:
        """Send one message, or one already encoded, and wait for its answer. Raises DriverDied (BuildFailed while
        loading).
        """
        try:
            async with asyncio.timeout(timeout):
                await self._send(message)
                return await self._receive()
        except TimeoutError:
            how = f"no answer within {timeout:g} s"
        except (OSError, EOFError, ValueError) as error:
            how = await self._how_it_ended(error)
        await self.close()
        raise BuildFailed(f"loading the module: {how}") if loading else DriverDied(how)

    async def _how_it_ended(self, error: Exception) -> str:
        if isinstance(error, ValueError):
            return f"its answer makes no sense ({error})"
        return "the process ended (it exited, crashed, or went over its memory limit)"

    async def _send(self, message: Mapping[str, Any] | bytes) -> None:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        await asyncio.get_running_loop().sock_sendall(self.sock, struct.pack(">I", len(data)) + data)

    async def _receive(self) -> dict[str, Any]:
        length = struct.unpack(">I", await self._exactly(4))[0]
        if length > MAX_FRAME:
            raise ValueError(f"an answer of {length} bytes")
        try:
            answer = json.loads(await self._exactly(length))
        except RecursionError:
            raise ValueError("an answer nested without end") from None
        if not isinstance(answer, dict):
            raise ValueError("not an object")
        return answer

    async def _exactly(self, count: int) -> bytes:
        loop = asyncio.get_running_loop()
        pieces = []
        while count:
            piece = await loop.sock_recv(self.sock, min(count, 1 << 20))
            if not piece:
                raise EOFError
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    async def call(self, case: Case, *, timeout: float, trace: bool = False, twice: bool = False) -> Observation:
        """See Driver.call. With `twice` the graph's roots are both results of two calls on separate arguments first."""
        number = next(self._numbers)
        message = {
            "op": "call",
            "id": number,
            "args": case.arguments,
            "keywords": case.keywords,
            "trace": trace,
            "twice": twice,
        }
        started = asyncio.get_running_loop().time()
        try:
            answer = await self.ask(message, timeout=timeout)
        except DriverDied as error:
            return Observation(dead=str(error))
        seconds = asyncio.get_running_loop().time() - started
        if "undecodable" in answer or "too_large" in answer:
            kind = "undecodable" if "undecodable" in answer else "too large"
            return Observation(dead=f"{kind}: {_text(answer.get('undecodable') or answer.get('too_large'))}")
        if answer.get("id") != number:
            await self.close()
            return Observation(dead="its answer belongs to another call")
        return _observation(answer, seconds)

    async def load(self, cases: Sequence[Case]) -> int:
        self.held, self._position = list(cases), 0
        more = False
        for chunk in _chunks(cases):
            pieces = b",".join(self.encoded(case) for case in chunk)
            data = b'{"op":"load","more":%s,"inputs":[%s]}' % (b"true" if more else b"false", pieces)
            answer = await self.ask(data, timeout=60.0)
            if "held" not in answer:
                raise DriverDied(f"an input could not be built: {_text(answer.get('undecodable', ''))}")
            more = True
        return len(self.held)

    async def block(self, calls: int, *, timeout: float, empty: bool = False) -> Block:
        message = {"op": "prepare", "calls": calls, "start": self._position, "empty": empty}
        answer = await self.ask(message, timeout=max(timeout, 30.0))
        if answer.get("ready") != calls:
            raise DriverDied("the inputs of a block could not be copied")
        if not empty:
            self._position = (self._position + calls) % max(1, len(self.held))
        loop = asyncio.get_running_loop()
        try:
            queued = clock.queued_seconds(self.pid)
            cpu, wall = clock.cpu_seconds(self.pid), loop.time()
            answer = await self.ask({"op": "go"}, timeout=timeout)
            wall, cpu = loop.time() - wall, clock.cpu_seconds(self.pid) - cpu
            # Waiting for a processor is the machine's doing, not the program's.
            wall = max(cpu, wall - (clock.queued_seconds(self.pid) - queued)) if wall > cpu else wall
        except ProcessLookupError:
            raise DriverDied("the process ended") from None
        if answer.get("done") is not True:
            raise DriverDied("the block did not finish")
        return Block(calls=calls, cpu=cpu, wall=wall)

    async def digest(self, *, timeout: float) -> tuple[str, ...]:
        digests = []
        for index in range(len(self.held)):
            answer = await self.ask({"op": "outcome", "index": index}, timeout=timeout)
            raised, graph = answer.get("raised"), answer.get("graph")
            if graph is not None:
                digests.append(canonical_digest(graph))
            else:
                name = raised[0] if isinstance(raised, list) and raised else answer.get("too_large", "?")
                digests.append("raised:" + hashlib.sha256(_text(name).encode()).hexdigest())
        return tuple(digests)

    async def peak(self, index: int, *, timeout: float) -> int:
        message = {"op": "prepare", "calls": 1, "start": index, "empty": False, "trim": True}
        answer = await self.ask(message, timeout=timeout)
        if answer.get("ready") != 1:
            raise DriverDied("the input could not be copied")
        try:
            clock.reset_peak(self.pid)
            idle, _ = clock.memory_bytes(self.pid)
            await self.ask({"op": "go"}, timeout=timeout)
            _, peak = clock.memory_bytes(self.pid)
        except ProcessLookupError:
            raise DriverDied("the process ended") from None
        return max(0, peak - idle)

    async def profile(self, *, timeout: float) -> dict[int, float]:
        answer = await self.ask({"op": "profile"}, timeout=timeout)
        return {int(line): float(share) for line, share in answer.get("lines", ())}

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.forget(self)
        if self.pidfd >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            os.close(self.pidfd)
        self.sock.close()


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _chunks(cases: Sequence[Case], *, nodes: int = 100_000) -> list[list[Case]]:
    """Cases in groups of about `nodes` encoded values, so that no frame grows beyond bounds."""
    chunks: list[list[Case]] = [[]]
    room = nodes
    for case in cases:
        size = len(case.arguments["nodes"])
        if chunks[-1] and size > room:
            chunks.append([])
            room = nodes
        chunks[-1].append(case)
        room -= size
    return chunks


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)[:2000]


def _observation(answer: Mapping[str, Any], seconds: float) -> Observation:
    raised = answer.get("raised")
    graph: Wire | None = answer.get("graph")
    lines = answer.get("lines") or ()
    state = answer.get("state")
    return Observation(
        graph=graph,
        raised=(_text(raised[0]), _text(raised[1])) if isinstance(raised, list) and len(raised) == 3 else None,
        traceback=_text(raised[2]) if isinstance(raised, list) and len(raised) == 3 else "",
        stdout=_text(answer.get("out") or ""),
        seconds=seconds,
        lines=frozenset(n for n in lines if isinstance(n, int)) if isinstance(lines, list) else frozenset(),
        state=state if isinstance(state, dict) else {},
    )


def signature_from(data: Mapping[str, Any]) -> Signature:
    """A Signature from what perforch_signature.py says."""
    return Signature(
        parameters=tuple(
            Parameter(name=p["name"], type=case_type_from(p["type"]), kind=p["kind"], has_default=p["has_default"])
            for p in data["parameters"]
        ),
        receiver=case_type_from(data["receiver"]) if data.get("receiver") else None,
        is_async=data["is_async"],
        is_generator=data["is_generator"],
        problem=data["problem"],
    )


def case_type_from(data: Mapping[str, Any]) -> CaseType:
    """A CaseType from plain data."""
    return CaseType(
        kind=data["kind"],
        args=tuple(case_type_from(a) for a in data["args"]),
        name=data["name"],
        fields=tuple((name, case_type_from(kind)) for name, kind in data["fields"]),
        members=tuple(data["members"]),
        values=tuple(data["values"]),
        variadic=data["variadic"],
    )


def _is_driver(driver: PythonDriver) -> Driver:
    return driver  # the type checker's proof that the protocol is met
