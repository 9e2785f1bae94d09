"""The server with the real orchestrator: a proven suggestion, and a cancelled job that leaves nothing running."""

from __future__ import annotations

import asyncio
import sys
import time

import psutil
import pytest
from lsp_editor import Editor, Start

pytestmark = pytest.mark.slow

SERVER = [sys.executable, "-P", "-m", "perforch_lsp.server", "--stdio"]

SHOP = '''\
"""A shop. 😋"""


def common(a: list[int], b: list[int]) -> list[int]:
    out = []
    for item in a:
        if item in b:
            out.append(item)
    return out


def first(a: list[int]) -> int:
    return a[0]
'''

TESTS = "from shop import common\n\n\ndef test_common():\n    assert common([1, 2, 3], [2, 3, 4]) == [2, 3]\n"


async def shop(start: Start) -> tuple[Editor, str]:
    editor: Editor = await start("vscode", command=SERVER)
    (editor.root / "pyproject.toml").write_text("")
    (editor.root / "test_shop.py").write_text(TESTS)
    return editor, editor.open("shop.py", SHOP)


async def ended(editor: Editor, job: str) -> dict[str, object]:
    async with asyncio.timeout(240):
        while (found := await editor.job(job))["state"] in ("queued", "running"):
            await asyncio.sleep(0.2)
    return found


def processes(editor: Editor) -> list[psutil.Process]:
    return psutil.Process(editor.client._server.pid).children(recursive=True)


async def test_a_faster_version_is_proven_and_applied(start: Start) -> None:
    editor, uri = await shop(start)
    editor.change(uri, "return a[0]", "return a[-1]")  # never saved
    job = await ended(editor, await editor.optimize(uri, "item in b", apply=True))
    assert job["state"] == "done", job
    await editor.until(lambda: editor.edits, "the edit")
    assert "if item in b:" not in editor.texts[uri]
    assert "return a[-1]" in editor.texts[uri]
    assert (editor.root / "shop.py").read_text(encoding="utf-8") == SHOP
    (suggestion,) = await editor.suggestions()
    evidence = suggestion["evidence"]
    assert suggestion["proven"]
    assert evidence["verdict"] == "faster"
    assert evidence["speedup"]["low"] > 1.0
    assert evidence["tests"]["passed"] == 1
    assert evidence["equivalent"]


async def test_what_is_missing_is_said(start: Start) -> None:
    editor, uri = await shop(start)
    job = await ended(editor, await editor.optimize(uri, '"""A shop'))
    assert "not in a function" in str(job["text"])
    answer = await editor.command("perforch.fix", {"uri": uri, "symbol": "first"})
    job = await ended(editor, answer["job"])
    assert "nothing says what is wrong with first" in str(job["text"])
    editor.change(uri, "return out", "return out)")
    job = await ended(editor, await editor.optimize(uri, "item in b"))
    assert "does not parse" in str(job["text"])
    editor.change(uri, "return out)", "return out")
    answer = await editor.command("perforch.optimize", {"uri": uri, "symbol": "first", "models": ["nobody"]})
    job = await ended(editor, answer["job"])
    assert job["state"] == "failed"
    assert "nobody" in str(job["text"])


@pytest.mark.parametrize("words", ["running the tests", "generated inputs", "confirming the fastest"])
async def test_a_cancelled_job_leaves_only_what_is_kept_warm(start: Start, words: str) -> None:
    editor, uri = await shop(start)
    job = await editor.optimize(uri, "item in b")
    async with asyncio.timeout(120):
        while words not in (await editor.job(job))["text"]:
            await asyncio.sleep(0.05)
    at_work = processes(editor)
    begin = time.monotonic()
    await editor.command("perforch.cancel", job)
    assert (await ended(editor, job))["state"] == "cancelled"
    async with asyncio.timeout(20):
        while len(left := processes(editor)) > 2:  # the worker, and the sandbox's supervisor while it is warm
            assert time.monotonic() - begin < 15, [p.cmdline() for p in left]
            await asyncio.sleep(0.05)
    # And the next job runs, in whichever worker there is now.
    answer = await editor.command("perforch.optimize", {"uri": uri, "symbol": "nobody"})
    assert "no function 'nobody'" in str((await ended(editor, answer["job"]))["text"])
    await asyncio.wait_for(editor.client.shutdown_session(), 20)
    async with asyncio.timeout(20):
        while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in [*at_work, *left]):
            await asyncio.sleep(0.05)
