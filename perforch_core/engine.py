"""The engine: orchestrations in a worker process of their own, so that heavy work never holds an editor's messages.

`Engine` is the handle that the language server keeps. It starts `python -m perforch_core.engine` at the first job and
talks to it in JSON lines over the worker's stdin and stdout; jobs run one at a time, because measuring is exclusive.

    to the worker    {"do": "run", "job": id, "request": {...}} | {"do": "cancel", "job": id} | {"do": "answer", ...}
    from the worker  {"job": id, "kind": "progress" | "done" | "failed" | "cancelled", "data": {...}} |
                     {"ask": n, "method": name, "params": {...}}

The worker ends when its stdin does (its owner closed it or died), and takes with it everything it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import json
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from perforch_core.suggestion import Result, result_json
from perforch_core.task import Budget, EnvironmentProblem, Event, Objective, Stage, Task, UserError

GRACE = 0.7
"""Seconds a cancelled job, or a worker whose owner has gone, gets to end by itself before its processes are killed."""

LINE_LIMIT = 64 << 20
"""Bytes of one message at most: a request carries a whole file, a result carries it twice."""

IDLE_SECONDS = 120.0
"""How long the sandbox and the models of the last project are kept warm after its last job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One job as plain data. `text` is the file as the editor shows it, saved or not.

    The target is `symbol`, or the function around `offset` (code points). `settings` are the editor's own, laid over
    the user's and the project's: "python", the path of the project's interpreter. `budget` likewise holds only what
    the editor sets of "seconds", "calls" and "money".
    """

    stage: Stage
    path: Path
    text: str
    symbol: str | None = None
    offset: int | None = None
    objective: Objective = Objective.TIME
    budget: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    specification: str = ""
    workload: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "stage": self.stage.value,
            "path": str(self.path),
            "text": self.text,
            "symbol": self.symbol,
            "offset": self.offset,
            "objective": self.objective.value,
            "budget": dict(self.budget),
            "models": list(self.models),
            "specification": self.specification,
            "workload": self.workload,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """The inverse of `to_json`."""
        plain = dict(data)
        plain.update(
            stage=Stage(plain["stage"]),
            path=Path(plain["path"]),
            objective=Objective(plain["objective"]),
            models=tuple(plain["models"]),
        )
        return cls(**plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """What happened to a job.

    `kind` and `data`: "queued" and "started" (nothing), "progress" (kind, text, data: an orchestrator's Event),
    "done" (the keys of `result_json`, plus "text" and "target"), "failed" (kind "user", "environment" or "crash",
    message, choices), "cancelled" (nothing). The last three are final, and exactly one of them comes.
    """

    job: str
    kind: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Nothing more will come of this job."""
        return self.kind in FINAL


FINAL = frozenset({"done", "failed", "cancelled"})

Answerer = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Answers what the worker asks of the editor: (method, params) -> JSON data."""


def worker_command() -> list[str]:
    """How the worker is started. `-P` keeps the user's folder, which may hold any module name, off `sys.path`."""
    return [sys.executable, "-P", "-m", "perforch_core.engine"]


class Engine:
    """Runs jobs, one at a time, in a worker process. All methods belong to the event loop's thread.

    `on_event` hears of every change of every job. `answer` serves what the worker asks of the editor.
    """

    def __init__(
        self,
        on_event: Callable[[JobEvent], None],
        *,
        command: Sequence[str] | None = None,
        answer: Answerer | None = None,
    ) -> None:
        self._on_event = on_event
        self._command = list(command or worker_command())
        self._answer = answer
        self._queue: deque[tuple[str, Request]] = deque()
        self._running: str | None = None
        self._cancelled: set[str] = set()
        self._worker: asyncio.subprocess.Process | None = None
        self._runner: asyncio.Task[None] | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._closed = False

    def submit(self, request: Request) -> str:
        """Queue a job and return its id at once. Its events come later, never from inside this call."""
        if self._closed:
            raise RuntimeError("the engine is closed")
        job = uuid.uuid4().hex[:12]
        self._queue.append((job, request))
        loop = asyncio.get_running_loop()
        loop.call_soon(self._emit, job, "queued")
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._run_queue())
        return job

    def cancel(self, job: str) -> bool:
        """Cancel a job; False when it is unknown or over. All its processes are gone within a second."""
        for item in self._queue:
            if item[0] == job:
                self._queue.remove(item)
                asyncio.get_running_loop().call_soon(self._emit, job, "cancelled")
                return True
        if self._running != job:
            return False
        if job not in self._cancelled:
            self._cancelled.add(job)
            self._send({"do": "cancel", "job": job})
            asyncio.get_running_loop().call_later(GRACE, self._kill_if_running, job)
        return True

    async def aclose(self) -> None:
        """Cancel everything and end the worker with all that it started. Safe to call twice."""
        self._closed = True
        for job, _ in list(self._queue):
            self.cancel(job)
        if self._running is not None:
            self.cancel(self._running)
        if self._runner is not None:
            await asyncio.wait({self._runner}, timeout=2 * GRACE)
            self._runner.cancel()
        await self._end_worker()

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id while it lives."""
        return self._worker.pid if self._worker is not None and self._worker.returncode is None else None

    def _emit(self, job: str, kind: str, data: dict[str, Any] | None = None) -> None:
        self._on_event(JobEvent(job=job, kind=kind, data=data or {}))

    async def _run_queue(self) -> None:
        while self._queue:
            job, request = self._queue.popleft()
            self._running = job
            try:
                kind, data = await self._run(job, request)
            finally:
                self._running = None
                was_cancelled = job in self._cancelled
                self._cancelled.discard(job)
            # A job that failed because it was being taken apart was cancelled, whatever it says.
            if was_cancelled and kind == "failed":
                kind, data = "cancelled", {}
            self._emit(job, kind, data)

    async def _run(self, job: str, request: Request) -> tuple[str, dict[str, Any]]:
        self._emit(job, "started")
        while True:
            old = self._worker
            try:
                worker = await self._live_worker()
            except OSError as error:
                return _crash(f"PerfOrch's worker process cannot be started ({error}). Reinstall PerfOrch.")
            if job in self._cancelled:
                return "cancelled", {}
            self._send({"do": "run", "job": job, "request": request.to_json()})
            heard, end = await self._listen(worker, job)
            if end is not None:
                return end
            await self._end_worker()
            # A worker of an earlier job that says nothing at all was dead already: that is not this job's fault.
            if heard or worker is not old or job in self._cancelled:
                code = worker.returncode
                how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
                return _crash(f"PerfOrch's worker process ended unexpectedly ({how}); your files are unchanged.")

    async def _listen(
        self, worker: asyncio.subprocess.Process, job: str
    ) -> tuple[bool, tuple[str, dict[str, Any]] | None]:
        """Pass on what the worker says of the job: whether it said anything, and its end (None: the worker ended)."""
        assert worker.stdout is not None
        heard = False
        while line := await _next_line(worker.stdout):
            message = json.loads(line)
            if "ask" in message:
                self._serve_ask(message)
            elif message["job"] == job:
                heard = True
                if message["kind"] in FINAL:
                    return heard, (message["kind"], message["data"])
                if job not in self._cancelled:
                    self._emit(job, message["kind"], message["data"])
        return heard, None

    async def _live_worker(self) -> asyncio.subprocess.Process:
        if self._worker is not None and self._worker.returncode is not None:
            await self._end_worker()
        if self._worker is None:
            # A session of its own: what the terminal or editor sends to the server's group must not reach it halfway.
            self._worker = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=LINE_LIMIT,
            )
        return self._worker

    def _send(self, message: dict[str, Any]) -> None:
        worker = self._worker
        if worker is None or worker.stdin is None or worker.stdin.is_closing():
            return
        # A worker that died meanwhile shows as the end of its stdout, which is where it is handled.
        with contextlib.suppress(ConnectionError):
            worker.stdin.write(json.dumps(message).encode() + b"\n")

    def _serve_ask(self, message: dict[str, Any]) -> None:
        async def serve() -> None:
            reply: dict[str, Any] = {"do": "answer", "ask": message["ask"]}
            try:
                if self._answer is None:
                    raise LookupError("this editor lends nothing")
                reply["result"] = await self._answer(message["method"], message["params"])
            except Exception as error:
                reply["error"] = str(error)
            self._send(reply)

        task = asyncio.get_running_loop().create_task(serve())
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def _kill_if_running(self, job: str) -> None:
        if self._running == job and self._worker is not None and self._worker.returncode is None:
            kill_tree(self._worker.pid)

    async def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.stdin is not None:
            worker.stdin.close()
        try:
            await asyncio.wait_for(worker.wait(), 2 * GRACE)
        except TimeoutError:
            kill_tree(worker.pid)
            await worker.wait()
        transport = getattr(worker, "_transport", None)
        if transport is not None:
            transport.close()


def _crash(message: str) -> tuple[str, dict[str, Any]]:
    return "failed", {
        "kind": "crash",
        "message": f"{message} Try again; the server's log may tell more.",
        "choices": [],
    }


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except (ValueError, ConnectionError):
        return b""


def kill_tree(pid: int) -> None:
    """Kill a process that we started and everything under it."""
    import psutil

    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        # Stopped first, so that nothing new is started while the tree is being read.
        with contextlib.suppress(psutil.Error):
            root.suspend()
        for process in [*root.children(recursive=True), root]:
            with contextlib.suppress(psutil.Error):
                process.kill()


# --------------------------------------------------------------------------------------------- inside the worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """The functions that the worker calls; `usual_budget(root)` is that of the settings files."""

    find_target: Callable[..., Any]
    open_services: Callable[..., contextlib.AbstractAsyncContextManager[Any]]
    run: Callable[..., Awaitable[Result]]
    usual_budget: Callable[[Path], Budget]


def real_workflow() -> Workflow:
    """The orchestrator. Imported by the worker alone, when its first job comes."""
    from perforch_core import languages, orchestrator, settings

    @contextlib.asynccontextmanager
    async def open_services(
        root: Path, *, models: tuple[str, ...] = (), python: str | None = None
    ) -> AsyncIterator[Any]:
        async with orchestrator.open_services(root, models=models) as services:
            if python is not None:
                services = replace(services, settings=replace(services.settings, interpreter=python))
            yield services

    def usual_budget(root: Path) -> Budget:
        return settings.load(root=root).budget

    return Workflow(
        find_target=languages.find_target,
        open_services=open_services,
        run=orchestrator.run,
        usual_budget=usual_budget,
    )


class _Warm:
    """Keeps the services of one project open between jobs. One task both opens and closes them."""

    def __init__(self, open_services: Callable[..., contextlib.AbstractAsyncContextManager[Any]]) -> None:
        self._open = open_services
        self._key: object = None
        self._keeper: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._services: Any = None
        self._timer: asyncio.TimerHandle | None = None

    async def get(self, root: Path, settings: Mapping[str, Any]) -> Any:
        key = (root, json.dumps(dict(settings), sort_keys=True))
        if self._timer is not None:
            self._timer.cancel()
        if self._keeper is not None and not self._keeper.done() and key == self._key:
            return self._services
        await self.close()
        ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        stop = self._stop = asyncio.Event()

        async def keep() -> None:
            try:
                async with self._open(root, **settings) as services:
                    ready.set_result(services)
                    await stop.wait()
            except Exception as error:
                if ready.done():
                    raise
                ready.set_exception(error)

        self._keeper, self._key = asyncio.create_task(keep()), key
        try:
            self._services = await ready
        except asyncio.CancelledError:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            raise
        return self._services

    def idle(self) -> None:
        """Close in a while, unless another job comes."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(IDLE_SECONDS, self._stop.set)

    async def close(self) -> None:
        self._stop.set()
        if self._keeper is not None:
            await asyncio.wait({self._keeper}, timeout=GRACE)
            if not self._keeper.done():
                self._keeper.cancel()
            elif not self._keeper.cancelled() and (error := self._keeper.exception()):
                print(f"perforch: closing a project's services failed: {error}", file=sys.stderr)
        self._keeper, self._services = None, None


class Worker:
    """The worker's side of the conversation."""

    def __init__(self, write: Callable[[dict[str, Any]], None], workflow: Callable[[], Workflow]) -> None:
        self._write = write
        self._load = workflow
        self._workflow: Workflow | None = None
        self._warm: _Warm | None = None
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._asks: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)

    def handle(self, message: dict[str, Any]) -> None:
        """Act on one message of the owner."""
        match message:
            case {"do": "run", "job": job, "request": request}:
                self._jobs[job] = asyncio.get_running_loop().create_task(self._run(job, request))
            case {"do": "cancel", "job": job}:
                if job in self._jobs:
                    self._jobs[job].cancel()
            case {"do": "answer", "ask": number}:
                future = self._asks.pop(number, None)
                if future is not None and not future.done():
                    if "error" in message:
                        future.set_exception(LookupError(message["error"]))
                    else:
                        future.set_result(message["result"])

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Ask the editor something (a model it lends, a secret). Raises LookupError when it cannot answer."""
        number = next(self._numbers)
        future = self._asks[number] = asyncio.get_running_loop().create_future()
        self._write({"ask": number, "method": method, "params": params})
        try:
            return await future
        finally:
            self._asks.pop(number, None)

    async def aclose(self) -> None:
        """Cancel all jobs and close what was kept warm."""
        for task in self._jobs.values():
            task.cancel()
        if self._jobs:
            await asyncio.wait(set(self._jobs.values()))
        if self._warm is not None:
            await self._warm.close()

    async def _run(self, job: str, data: dict[str, Any]) -> None:
        kind, answer = "cancelled", {}
        try:
            answer = await self._orchestrate(job, Request.from_json(data))
            kind = "done"
        except asyncio.CancelledError:
            pass
        except UserError as error:
            kind, answer = "failed", {"kind": "user", "message": str(error), "choices": list(error.choices)}
        except EnvironmentProblem as error:
            kind, answer = "failed", {"kind": "environment", "message": str(error), "choices": []}
        except Exception as error:
            traceback.print_exc()
            message = f"PerfOrch failed on this request ({type(error).__name__}: {error}). The server's log tells more."
            kind, answer = "failed", {"kind": "crash", "message": message, "choices": []}
            if self._warm is not None:
                await self._warm.close()
        finally:
            del self._jobs[job]
            if self._warm is not None:
                self._warm.idle()
        self._write({"job": job, "kind": kind, "data": answer})

    async def _orchestrate(self, job: str, request: Request) -> dict[str, Any]:
        if self._workflow is None:
            self._workflow = self._load()
            self._warm = _Warm(self._workflow.open_services)
        assert self._warm is not None
        target = self._workflow.find_target(request.path, request.text, symbol=request.symbol, offset=request.offset)
        task = Task(
            stage=request.stage,
            target=target,
            budget=replace(self._workflow.usual_budget(target.root), **request.budget),
            objective=request.objective,
            specification=request.specification,
            models=request.models,
            workload=request.workload,
        )
        services = await self._warm.get(target.root, {"models": request.models, **request.settings})

        def report(event: Event) -> None:
            data = {"kind": event.kind, "text": event.text, "data": event.data}
            self._write({"job": job, "kind": "progress", "data": data})

        result = await self._workflow.run(task, services, report)
        return _result_data(result)


def _result_data(result: Result) -> dict[str, Any]:
    target = result.target
    place = {"symbol": target.symbol, "start": target.start, "end": target.end, "root": str(target.root)}
    return {**result_json(result), "text": result.text, "target": place}


def serve(workflow: Callable[[], Workflow] = real_workflow) -> None:
    """Be the worker: take over stdin and stdout and run until stdin ends."""
    # Whatever else reads or prints in this process, or in one it starts, must not get into the conversation.
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.dup(1)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    _die_with_parent()
    lock = threading.Lock()

    def write(message: dict[str, Any]) -> None:
        line = memoryview(json.dumps(message, default=str).encode() + b"\n")
        with lock, contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(outgoing, line) :]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        worker = Worker(write, workflow)
        stop = asyncio.Event()

        def end(*_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the end is under way
                loop.call_soon_threadsafe(stop.set)

        # Not the loop's own handler: that one is taken away with the loop, before the children are dead.
        signal.signal(signal.SIGTERM, end)

        def read() -> None:
            with contextlib.suppress(RuntimeError):
                for line in incoming:
                    loop.call_soon_threadsafe(worker.handle, json.loads(line))
            end()
            # From here on this thread is the watchdog: nobody owns the worker, so it ends, blocked loop or not.
            time.sleep(GRACE)
            _kill_children()
            os._exit(0)

        threading.Thread(target=read, daemon=True, name="owner").start()
        await stop.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.aclose(), GRACE)

    asyncio.run(main())
    _kill_children()
    # Threads that still wait for something (a resolver, a model's import) must not keep the process alive.
    os._exit(0)


def _die_with_parent() -> None:
    """Where the kernel offers it: SIGTERM when the owner dies, however it dies."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _kill_children() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()


if __name__ == "__main__":
    serve()
