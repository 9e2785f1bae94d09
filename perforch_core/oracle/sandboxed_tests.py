"""One run of a project's tests in the sandbox, and what its driver reported. Nothing it says is trusted to be sane."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import perforch_core.languages.drivers as drivers
from perforch_core.languages.interface import Project
from perforch_core.languages.python_project import readable_paths
from perforch_core.oracle import find_tests
from perforch_core.sandbox.interface import Command, Ended, Limits, Outcome, Policy, Process, Sandbox
from perforch_core.task import Target
from perforch_core.values import Wire

_DRIVERS = Path(next(iter(drivers.__path__))).resolve()
_MAX_REPORT = 64 << 20
_MAX_LINE = 4 << 20
_TREE_CPUS = 4  # tests may use several processes; their CPU time together stays within this many times the wall time
_FILE_SIZE = 64 << 20
_OUTCOMES = frozenset({"passed", "failed", "error", "skipped", "xfailed", "xpassed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """What to run: files, a selection of test names (None: all), names to leave out, and within what limits."""

    __test__ = False

    files: tuple[str, ...]
    text: str
    seconds: float
    test_seconds: float
    late_allowed: int
    select: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    calls: int = 0
    lines: bool = False
    first_failure: bool = False
    modules: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One test. `last` is the index of the last captured call of the target in it."""

    outcome: str
    seconds: float = 0.0
    message: str = ""
    text: str = ""
    last: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One captured call of the target: receiver and arguments before the call, as data. `broken`: it made no sense."""

    wire: Wire
    keywords: tuple[str, ...]
    size: int
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run reported. `complete` only when the driver said that it was done.

    `started` is the last test that began, `running` the one that was never reported.
    `unusable` says why no test could be run at all (pytest missing). `late` counts tests over their time.
    """

    runner: str = ""
    names: tuple[str, ...] = ()
    results: Mapping[str, Result] = field(default_factory=dict)
    reached: frozenset[str] = frozenset()
    lines: Mapping[str, frozenset[int]] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    uncollected: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    stopped: str = ""
    started: str = ""
    running: str = ""
    complete: bool = False
    unusable: str | None = None
    late: int = 0
    ended: Ended = Ended.EXITED
    returncode: int | None = 0
    seconds: float = 0.0
    wall: float = 0.0

    def merged(self, other: Run) -> Run:
        """This run and a later one of other files."""
        shifted = {
            name: result if result.last is None else replace(result, last=result.last + len(self.calls))
            for name, result in other.results.items()
        }
        return replace(
            other,
            names=self.names + other.names,
            results={**self.results, **shifted},
            reached=self.reached | other.reached,
            lines={**self.lines, **other.lines},
            calls=self.calls + other.calls,
            uncollected={**self.uncollected, **other.uncollected},
            unusable=self.unusable or other.unusable,
            wall=self.wall + other.wall,
            late=self.late + other.late,
        )


async def run_tests(project: Project, target: Target, settings: TestRun, sandbox: Sandbox) -> Run:
    """Run tests under pytest, or under unittest where the interpreter has no pytest and they allow it.

    Raises EnvironmentProblem when the sandbox cannot start the interpreter.
    """
    run = await _run_under("pytest", project, target, settings, sandbox)
    if run.runner or not _NO_PYTEST.search(run.unusable or ""):
        return run
    python = project.interpreter
    missing = f"pytest is not installed in {python}: install it with `{python} -m pip install pytest`."
    files = tuple(name for name in settings.files if _is_unittest(project.root / name))
    if not files:
        return replace(run, unusable=missing)
    run = await _run_under("unittest", project, target, replace(settings, files=files), sandbox)
    left_out = len(files) < len(settings.files)
    return replace(run, unusable=run.unusable or missing) if left_out and not run.reached else run


_NO_PYTEST = re.compile(r"No module named '?pytest")
_UNITTEST = re.compile(rb"\bunittest\b|TestCase\b")


def _is_unittest(path: Path) -> bool:
    try:
        return bool(_UNITTEST.search(path.read_bytes()))
    except OSError:
        return False


async def _run_under(runner: str, project: Project, target: Target, settings: TestRun, sandbox: Sandbox) -> Run:
    path = target.path.resolve()
    nonce = secrets.token_hex(16)
    configuration = {"nonce": nonce, **_configuration(project, target, settings)}
    process = await sandbox.open(_command(runner, project, path, settings))
    began = time.monotonic()
    inbox = _Inbox(nonce)
    try:
        await _talk(process, configuration, inbox)
    finally:
        # Ends it if it has not ended by itself; for an ended one this only asks how it went.
        outcome = await process.close()
    run = _understood(inbox.messages)
    output = (outcome.stderr + outcome.stdout).decode("utf-8", "replace")
    return replace(
        run,
        # One that went over a limit may still have said that it was done before it was stopped.
        complete=run.complete and outcome.ended in (Ended.EXITED, Ended.SIGNALLED, Ended.KILLED),
        unusable=None if run.runner else _why_unusable(runner, output, outcome),
        ended=outcome.ended,
        returncode=outcome.returncode,
        seconds=settings.seconds,
        wall=time.monotonic() - began,
    )


def _configuration(project: Project, target: Target, settings: TestRun) -> dict[str, Any]:
    return {
        "root": str(project.root),
        "path": str(target.path.resolve()),
        "symbol": target.symbol,
        "ordinal": find_tests.ordinal(target),
        "files": list(settings.files),
        "select": None if settings.select is None else list(settings.select),
        "skip": list(settings.skip),
        "test_seconds": settings.test_seconds,
        "late_allowed": settings.late_allowed,
        "calls": settings.calls,
        "lines": settings.lines,
        "first_failure": settings.first_failure,
        "modules": settings.modules,
    }


def _command(runner: str, project: Project, path: Path, settings: TestRun) -> Command:
    entries = [str(entry) for entry in project.path_entries]
    return Command(
        argv=(str(project.interpreter), str(_DRIVERS / f"perforch_{runner}.py")),
        policy=Policy.TEST,
        cwd=project.root,
        # One hash seed for all runs: a test that depends on it fails on both versions or on none.
        env={
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join(entries),
            "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
            **project.env,
        },
        readable=(*readable_paths(project), _DRIVERS),
        shadow={path: find_tests.source_bytes(settings.text)},
        limits=Limits(wall=settings.seconds, cpu=_TREE_CPUS * settings.seconds, file_size=_FILE_SIZE),
    )


def _why_unusable(runner: str, output: str, outcome: Outcome) -> str:
    if _NO_PYTEST.search(output):
        return "No module named pytest"
    if outcome.ended is not Ended.EXITED:
        return f"{runner} did not start within {outcome.wall:.0f} s ({outcome.ended.value})."
    lines = [line for line in output.splitlines() if line.strip()]
    return f"{runner} could not be started: {lines[-1].strip() if lines else f'exit code {outcome.returncode}'}"


# --- the conversation ---------------------------------------------------------------------------------------------


class _Inbox:
    """What came over the channel: whole messages that carry the nonce, up to a cap."""

    def __init__(self, nonce: str, *, last: str = "done") -> None:
        self._last = last
        self.messages: list[dict[str, Any]] = []
        self._nonce = nonce
        self._partial = b""
        self._size = 0

    def add(self, data: bytes) -> bool:
        """Take in bytes; False when nothing more is wanted (all said, or too much said)."""
        self._size += len(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict) and message.get("nonce") == self._nonce:
                    self.messages.append(message)
                    if message.get("kind") == self._last:
                        return False
        return self._size < _MAX_REPORT and len(self._partial) < _MAX_LINE


async def _talk(process: Process, configuration: Mapping[str, Any], inbox: _Inbox) -> None:
    """Send the configuration and read until the driver is done or no more."""
    process.channel.setblocking(False)
    reading = asyncio.ensure_future(_read(process, configuration, inbox))
    waiting = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            # What it had sent is in the socket; a child that holds the other end open must not hold us.
            await asyncio.wait({reading}, timeout=2.0)
        elif not reading.result():
            await waiting  # the channel is closed without a word: how it ends says why
    finally:
        for task in (reading, waiting):
            task.cancel()
        await asyncio.gather(reading, waiting, return_exceptions=True)


async def _read(process: Process, configuration: Mapping[str, Any], inbox: _Inbox) -> bool:
    """True when the driver said that it was done (or said too much), False at the end of the stream."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(process.channel, json.dumps(configuration).encode() + b"\n")
        while data := await loop.sock_recv(process.channel, 1 << 18):
            if not inbox.add(data):
                return True
    except OSError:
        pass
    return False


# --- many runs in a row -------------------------------------------------------------------------------------------


WARM = "warm"
"""The `Run.runner` of a run that stops at the first failure in a forked process."""


class WarmRunner:
    """One sandboxed process that has the test runner loaded and forks for every run.

    For screening many candidates: about the import of pytest and its plugins is saved each time. The candidate's text
    is handed to the loader, so a test that starts another process on the file sees the original there.
    """

    def __init__(self, project: Project, target: Target, process: Process) -> None:
        self._project = project
        self._target = target
        self._process = process
        self._turn = asyncio.Lock()
        self.alive = True

    @classmethod
    async def start(
        cls,
        project: Project,
        target: Target,
        sandbox: Sandbox,
        *,
        runner: str,
        seconds: float,
        preload: Sequence[str] = (),
    ) -> WarmRunner:
        """Start one that lives for at most `seconds`, with the modules of `preload` loaded. Raises EnvironmentProblem.

        Where those start threads or load parts of the project, forking is not safe or not honest: then without them.
        """
        settings = TestRun(files=(), text=target.text, seconds=seconds, test_seconds=1, late_allowed=1)
        process = await sandbox.open(_command(runner, project, target.path.resolve(), settings))
        warm = cls(project, target, process)
        clean = False
        try:
            process.channel.setblocking(False)
            question = {"warm": True, "preload": list(preload), "root": str(project.root)}
            answer = await warm._ask(question, last="hello", seconds=60.0)
            clean = bool(answer and answer[-1].get("clean") is True)
        finally:
            if not clean:
                await warm.close()
        if not clean and preload:
            return await cls.start(project, target, sandbox, runner=runner, seconds=seconds)
        return warm

    async def run(self, settings: TestRun) -> Run | None:
        """One run; None when the process is no longer of use, and the caller must run the tests afresh."""
        async with self._turn:
            began = time.monotonic()
            configuration = _configuration(self._project, self._target, settings)
            configuration |= {"text": settings.text, "seconds": settings.seconds}
            messages = await self._ask(configuration, last="ended", seconds=settings.seconds + 5.0)
            if not messages or messages[-1].get("kind") != "ended":
                self.alive = False
                return None
            wall = time.monotonic() - began
            run = _understood(messages)
            ended = Ended.WALL if wall >= settings.seconds else Ended.EXITED
            return replace(run, runner=WARM, ended=ended, seconds=settings.seconds, wall=wall)

    async def _ask(self, configuration: dict[str, Any], *, last: str, seconds: float) -> list[dict[str, Any]]:
        if not self.alive:
            return []
        nonce = secrets.token_hex(16)
        inbox = _Inbox(nonce, last=last)
        self.alive = False  # until this conversation is over; a cancelled one leaves the process in the middle of it
        try:
            async with asyncio.timeout(seconds):
                self.alive = await _read(self._process, {"nonce": nonce, **configuration}, inbox)
        except TimeoutError:
            return []
        return inbox.messages

    async def close(self) -> None:
        """End the process. Safe to call twice."""
        self.alive = False
        await self._process.close()


# --- from messages to a run ---------------------------------------------------------------------------------------


def _understood(messages: list[dict[str, Any]]) -> Run:
    names: dict[str, None] = {}
    results: dict[str, Result] = {}
    lines: dict[str, frozenset[int]] = {}
    reached: set[str] = set()
    calls: list[Call] = []
    uncollected: dict[str, str] = {}
    runner, stopped, started, running, complete, late = "", "", "", "", False, 0
    modules: tuple[str, ...] = ()
    for message in messages:
        match message.get("kind"):
            case "hello":
                runner = _text(message, "runner")
            case "collected":
                names.update(dict.fromkeys(_names(message, "names")))
            case "uncollected":
                uncollected[_text(message, "name")] = _text(message, "text")
            case "start":
                started = running = _text(message, "name")
            case "call":
                # One that makes no sense is kept as an empty place: later messages count by position.
                calls.append(_call(message) or _NO_CALL)
            case "result":
                name = _text(message, "name")
                results[name] = _result(message)
                lines[name] = frozenset(n for n in _list(message, "lines") if type(n) is int)
                running = "" if running == name else running
                late += "TestTimeout" in results[name].message + results[name].text
                if message.get("reached") is True:
                    reached.add(name)
            case "stopped":
                stopped = _text(message, "text")
            case "done":
                complete = True
                reached.update(_names(message, "shared"))
                modules = tuple(_names(message, "modules"))
    return Run(
        runner=runner,
        names=tuple(names),
        results=results,
        reached=frozenset(reached & results.keys()),
        lines=lines,
        calls=tuple(calls),
        uncollected=uncollected,
        modules=modules,
        stopped=stopped,
        started=started,
        running=running,
        complete=complete,
        late=late,
    )


def _text(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key)
    return value[:20_000] if isinstance(value, str) else ""


def _list(message: Mapping[str, Any], key: str) -> list[Any]:
    value = message.get(key)
    return value if isinstance(value, list) else []


def _names(message: Mapping[str, Any], key: str) -> list[str]:
    return [name for name in _list(message, key) if isinstance(name, str)]


def _result(message: Mapping[str, Any]) -> Result:
    outcome, seconds, last = message.get("outcome"), message.get("seconds"), message.get("last")
    return Result(
        outcome=outcome if isinstance(outcome, str) and outcome in _OUTCOMES else "error",
        seconds=float(seconds) if isinstance(seconds, (int, float)) else 0.0,
        message=_text(message, "message"),
        text=_text(message, "text"),
        last=last if type(last) is int and last >= 0 else None,
    )


def _call(message: Mapping[str, Any]) -> Call | None:
    """A captured call, if it is a well-formed graph."""
    wire, keywords, size = message.get("wire"), _names(message, "keywords"), message.get("size")
    if not isinstance(wire, dict) or set(wire) != {"nodes", "roots"}:
        return None
    nodes, roots = wire["nodes"], wire["roots"]
    if not isinstance(nodes, list) or not isinstance(roots, list) or len(keywords) > len(roots):
        return None
    if not all(isinstance(node, list) and node and isinstance(node[0], str) for node in nodes):
        return None
    if not all(type(i) is int and 0 <= i < len(nodes) for i in (*roots, *_children(nodes))):
        return None
    return Call(wire=cast(Wire, wire), keywords=tuple(keywords), size=size if type(size) is int else 0)


_NO_CALL = Call(wire={"nodes": [], "roots": []}, keywords=(), size=0, broken=True)


def _children(nodes: list[list[Any]]) -> Iterator[Any]:
    """Every reference to another node; something that is no index where the shape is wrong."""
    for node in nodes:
        part = node[2] if node[0] == "record" and len(node) > 2 else node[1] if len(node) > 1 else None
        if node[0] in ("dict", "record"):
            for pair in part if isinstance(part, list) else (None,):
                if not isinstance(pair, list) or len(pair) != 2:
                    yield None
                else:
                    yield from pair if node[0] == "dict" else pair[1:]
        elif node[0] in ("list", "tuple", "set", "frozenset", "iterator"):
            yield from part if isinstance(part, list) else (None,)
