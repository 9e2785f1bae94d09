"""The engine with a real worker process; only the orchestrator behind it is scripted (tests/lsp/scripted.py)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from perforch_core.engine import Engine, JobEvent, Request
from perforch_core.task import Objective, Stage

SCRIPTED = Path(__file__).parents[1] / "lsp" / "scripted.py"
COMMAND = [sys.executable, "-P", str(SCRIPTED)]


class Rig:
    """An engine and what it said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[JobEvent] = []
        self.engine = Engine(self._hear, command=COMMAND, answer=None)
        self._changed = asyncio.Event()

    def _hear(self, event: JobEvent) -> None:
        self.events.append(event)
        self._changed.set()

    def submit(self, script: str, **options: object) -> str:
        text = f'def f(x):\n    "script: {script}"\n    return x + 1\n'
        request = Request(stage=Stage.REFINE, path=self.root / "m.py", text=text, offset=5, **options)  # type: ignore[arg-type]
        return self.engine.submit(request)

    async def until(self, condition: Callable[[JobEvent], bool]) -> JobEvent:
        async with asyncio.timeout(30):
            while True:
                for event in self.events:
                    if condition(event):
                        return event
                self._changed.clear()
                await self._changed.wait()

    async def end(self, job: str) -> JobEvent:
        return await self.until(lambda e: e.job == job and e.final)

    async def note(self, start: str) -> str:
        event = await self.until(lambda e: e.kind == "progress" and e.data["text"].startswith(start))
        return str(event.data["text"])

    def kinds(self, job: str) -> list[str]:
        return [e.kind for e in self.events if e.job == job]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    await rig.engine.aclose()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def wait_gone(pid: int, seconds: float = 10.0) -> float:
    begin = time.monotonic()
    while not gone(pid) and time.monotonic() - begin < seconds:
        await asyncio.sleep(0.02)
    assert gone(pid), f"process {pid} still runs"
    return time.monotonic() - begin


def test_a_request_survives_the_wire() -> None:
    request = Request(
        stage=Stage.FIX,
        path=Path("/p/ü.py"),
        text="def f():\r\n\tpass",
        offset=3,
        objective=Objective.PEAK_MEMORY,
        budget={"seconds": 5, "calls": 2, "money": 0.1},
        models=("a", "b"),
        settings={"k": 1},
    )
    assert Request.from_json(request.to_json()) == request


async def test_nothing_is_started_before_the_first_job(rig: Rig) -> None:
    assert rig.engine.worker_pid is None


async def test_a_job_reports_and_ends_with_the_whole_result(rig: Rig) -> None:
    job = rig.submit("note measuring; suggest x + 1 => 1 + x")
    assert rig.events == []  # never from inside submit
    end = await rig.end(job)
    assert rig.kinds(job) == ["queued", "started", "progress", "done"]
    assert end.data["status"] == "suggested"
    assert end.data["text"].endswith("return 1 + x\n")
    assert end.data["target"]["symbol"] == "f"
    assert end.data["title"].startswith("2.3x faster")
    assert end.data["evidence"]["cases"] == 200


async def test_what_the_editor_sets_of_the_budget_goes_over_the_settings_files(rig: Rig) -> None:
    job = rig.submit("budget; unchanged no", budget={"calls": 2})
    await rig.end(job)
    assert await rig.note("budget") == "budget of 77 s, 2 calls"


async def test_prints_and_reads_of_others_do_not_touch_the_conversation(rig: Rig) -> None:
    job = rig.submit("print; read; note after; unchanged no")
    assert (await rig.end(job)).data["reason"] == "no"
    assert await rig.note("read") == "read ''"


async def test_jobs_queue_and_share_the_warm_services(rig: Rig) -> None:
    first, second = rig.submit("sleep 0.2"), rig.submit("")
    ends = [(await rig.end(job)).data["reason"] for job in (first, second)]
    assert ends[0] == ends[1]
    assert ends[0].startswith("opened at")
    order = [(e.job, e.kind) for e in rig.events]
    assert order.index((first, "done")) < order.index((second, "started"))


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("user There is no such thing.", "user", "There is no such thing."),
        ("environment Install bubblewrap.", "environment", "Install bubblewrap."),
        ("boom", "crash", "ZeroDivisionError: a fault of ours"),
        ("crash", "crash", "exit code 3"),
    ],
)
async def test_failures_are_told_apart_and_the_next_job_runs(rig: Rig, script: str, kind: str, words: str) -> None:
    job = rig.submit(script)
    end = await rig.end(job)
    assert (end.kind, end.data["kind"]) == ("failed", kind)
    assert words in end.data["message"]
    assert "Traceback" not in end.data["message"]
    assert (await rig.end(rig.submit("unchanged fine"))).data["reason"] == "fine"


async def test_the_cursor_outside_a_function_is_said_plainly(rig: Rig) -> None:
    request = Request(stage=Stage.REFINE, path=rig.root / "m.py", text="x = 1\n", offset=0)
    end = await rig.end(rig.engine.submit(request))
    assert end.data["kind"] == "user"
    assert "not in a function" in end.data["message"]


async def test_a_queued_job_is_cancelled_without_being_started(rig: Rig) -> None:
    first, second = rig.submit("sleep 0.2"), rig.submit("")
    assert rig.engine.cancel(second)
    await rig.end(first)
    assert rig.kinds(second)[-1] == "cancelled"
    assert "started" not in rig.kinds(second)
    assert not rig.engine.cancel(second)


async def test_cancel_ends_a_running_job_and_the_worker_lives_on(rig: Rig) -> None:
    job = rig.submit("note ready; sleep 60")
    await rig.note("ready")
    pid = rig.engine.worker_pid
    assert rig.engine.cancel(job)
    assert (await rig.end(job)).kind == "cancelled"
    assert (await rig.end(rig.submit("unchanged fine"))).kind == "done"
    assert rig.engine.worker_pid == pid


async def test_cancel_takes_a_job_that_holds_the_loop_with_all_it_started(rig: Rig) -> None:
    job = rig.submit("child; busy 60")
    child = int((await rig.note("child")).split()[1])
    worker = rig.engine.worker_pid
    assert worker is not None
    assert not gone(child)
    rig.engine.cancel(job)
    assert (await rig.end(job)).kind == "cancelled"
    await wait_gone(child)
    await wait_gone(worker)
    assert (await rig.end(rig.submit("unchanged fine"))).kind == "done"


async def test_a_worker_killed_between_jobs_is_replaced(rig: Rig) -> None:
    await rig.end(rig.submit("unchanged one"))
    pid = rig.engine.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await wait_gone(pid)
    assert (await rig.end(rig.submit("unchanged two"))).data["reason"] == "two"


async def test_closing_cancels_everything_and_leaves_no_process(rig: Rig) -> None:
    running, queued = rig.submit("child; sleep 60"), rig.submit("")
    child = int((await rig.note("child")).split()[1])
    worker = rig.engine.worker_pid
    assert worker is not None
    await rig.engine.aclose()
    assert rig.kinds(running)[-1] == "cancelled"
    assert rig.kinds(queued)[-1] == "cancelled"
    await wait_gone(child)
    await wait_gone(worker)
    with pytest.raises(RuntimeError):
        rig.submit("")


OWNER = """
import asyncio, sys
from pathlib import Path
from perforch_core.engine import Engine, Request
from perforch_core.task import Stage

async def main():
    def hear(event):
        if event.kind == "progress":
            print(event.data["text"], engine.worker_pid, flush=True)
    engine = Engine(hear, command=[sys.executable, "-P", sys.argv[1]])
    text = 'def f(x):\\n    "script: child; %s 60"\\n    return x\\n' % sys.argv[2]
    engine.submit(Request(stage=Stage.REFINE, path=Path("m.py").absolute(), text=text, offset=1))
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("holding", ["sleep", "busy"])
async def test_the_owner_killed_takes_the_worker_and_its_children_along(tmp_path: Path, holding: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(SCRIPTED), holding], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        assert owner.stdout is not None
        words = (await asyncio.to_thread(owner.stdout.readline)).split()
        child, worker = int(words[1]), int(words[2])
    finally:
        owner.kill()
        owner.wait()
    await wait_gone(child)
    await wait_gone(worker)
