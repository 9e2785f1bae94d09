"""The edges: malformed and untimely messages, exit, and what is left behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from lsp_editor import SCRIPTED, Editor, Start
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from test_lsp_jobs import SUGGEST, program


class Raw:
    """A client that can say anything."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._number = 0

    def send(self, message: Any) -> None:
        body = (message if isinstance(message, str) else json.dumps(message)).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def notify(self, method: str, params: Any) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    async def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            length = 0
            while (line := await self.process.stdout.readline()).strip():
                if line.lower().startswith(b"content-length"):
                    length = int(line.split(b":")[1])
            return dict(json.loads(await self.process.stdout.readexactly(length)))

    async def call(self, method: str, params: Any) -> dict[str, Any]:
        self._number += 1
        self.send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        while (answer := await self.read()).get("id") != self._number or "method" in answer:
            pass
        return answer

    async def initialize(self) -> dict[str, Any]:
        answer = await self.call("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        self.notify("initialized", {})
        return answer


@pytest.fixture
async def raw(tmp_path: Path) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(SCRIPTED),
        "--stdio",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        limit=1 << 24,
    )
    yield Raw(process)
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_the_protocol_version_and_the_commands_are_announced(editor: Editor) -> None:
    assert editor.result is not None
    capabilities = editor.result.capabilities
    assert capabilities.experimental == {"perforch": {"protocol": 1}}
    assert capabilities.execute_command_provider is not None
    assert set(capabilities.execute_command_provider.commands) == {
        f"perforch.{name}"
        for name in ("generate", "fix", "optimize", "apply", "preview", "reject", "retry", "cancel", "showReport")
    }


async def test_requests_before_initialize_are_refused(raw: Raw) -> None:
    answer = await raw.call("textDocument/codeLens", {"textDocument": {"uri": "file:///x.py"}})
    assert answer["error"]["code"] == -32002
    assert (await raw.initialize())["result"]["capabilities"]["experimental"] == {"perforch": {"protocol": 1}}
    assert (await raw.call("initialize", {"processId": None, "rootUri": None, "capabilities": {}}))["error"]


async def test_malformed_parameters_are_answered_and_survived(raw: Raw) -> None:
    await raw.initialize()
    for params in [
        None,
        [],
        7,
        "x",
        {},
        {"textDocument": 3},
        {"textDocument": {"uri": "file:///x.py"}, "range": "all"},
    ]:
        answer = await raw.call("textDocument/codeAction", params)
        assert answer["error"]["code"] == -32602, params
        assert "data" not in answer["error"]
    assert (await raw.call("workspace/executeCommand", {"command": "perforch.unknown"}))["error"]["code"] == -32602
    assert (await raw.call("no/such", {}))["error"]["code"] == -32601
    raw.notify("textDocument/didChange", {"textDocument": None})
    raw.notify(
        "textDocument/didChange", {"textDocument": {"uri": "file:///never", "version": 1}, "contentChanges": [{}]}
    )
    raw.send("this is not JSON")
    raw.send([1, 2])
    raw.send({"jsonrpc": "2.0", "id": "never-asked", "result": {"a": 1}})
    assert (await raw.call("perforch/jobs", {}))["result"] == {"jobs": []}
    assert (await raw.call("perforch/jobs", None))["result"] == {"jobs": []}
    assert (await raw.call("perforch/suggestions", {"uri": 4}))["result"] == {"suggestions": []}


@pytest.mark.parametrize(
    "arguments",
    [
        None,
        [],
        [None],
        ["file:///x.py"],
        [{}],
        [{"uri": 4}],
        [{"uri": "URI"}],
        [{"uri": "URI", "position": {"line": "0", "character": 0}}],
        [{"uri": "URI", "position": {"line": -1, "character": 0}}],
        [{"uri": "URI", "position": {"line": 0, "character": 0}, "objective": "luck"}],
        [{"uri": "URI", "position": {"line": 0, "character": 0}, "apply": "yes"}],
        [{"uri": "URI", "position": {"line": 0, "character": 0}}, 2],
    ],
)
async def test_bad_command_arguments_say_what_was_expected(raw: Raw, tmp_path: Path, arguments: Any) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    pass\n")
    await raw.initialize()
    text = json.dumps({"command": "perforch.optimize", "arguments": arguments}).replace("URI", path.as_uri())
    answer = await raw.call("workspace/executeCommand", json.loads(text))
    assert answer["error"]["code"] == -32602
    assert "argument" in answer["error"]["message"] or "objective must be one of time" in answer["error"]["message"]
    assert "data" not in answer["error"]


@pytest.mark.parametrize(
    ("uri", "words"), [("untitled:Untitled-1", "Save this document"), ("file:///no/such/file.py", "cannot be read")]
)
async def test_what_is_not_a_file_is_refused_with_a_way_out(raw: Raw, uri: str, words: str) -> None:
    await raw.initialize()
    place = {"uri": uri, "position": {"line": 0, "character": 0}}
    answer = await raw.call("workspace/executeCommand", {"command": "perforch.fix", "arguments": [place]})
    assert answer["error"]["code"] == -32803
    assert words in answer["error"]["message"]


async def test_cancelling_a_command_does_not_break_it(start: Start) -> None:
    editor = await start("vscode")
    uri = editor.open("m.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    release = asyncio.Event()

    async def slow(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
        await release.wait()
        return editor.take(params)

    editor.client.protocol.fm.features[types.WORKSPACE_APPLY_EDIT] = slow
    params = types.ExecuteCommandParams(command="perforch.apply", arguments=[suggestion["id"]])
    request = asyncio.ensure_future(
        editor.client.protocol.send_request_async(types.WORKSPACE_EXECUTE_COMMAND, params, msg_id="mine")
    )
    await asyncio.sleep(0.2)
    editor.client.protocol.notify(types.CANCEL_REQUEST, types.CancelParams(id="mine"))
    await asyncio.sleep(0.2)
    release.set()
    assert (await request)["applied"] is True  # and not "cancelled" with the edit made all the same
    assert "return 1 + x" in editor.texts[uri]


async def test_an_editor_that_refuses_the_edit_is_reported(start: Start) -> None:
    editor = await start("vscode")
    uri = editor.open("m.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    editor.versions[uri] += 1  # the editor is ahead of what the server has seen
    with pytest.raises(JsonRpcException) as caught:
        await editor.command("perforch.apply", suggestion["id"])
    assert "did not apply the change to f (wrong version)" in caught.value.message
    assert [s["state"] for s in await editor.suggestions()] == ["ready"]


async def test_form_feeds_and_odd_separators_do_not_shift_lines(editor: Editor) -> None:
    odd = "a = 1\n\x0c\nb = '\u2028 \x85 \x1c'\n"
    uri = editor.open("m.py", odd + program(SUGGEST))
    editor.change(uri, "return f(x)", "return f(x) + 2")
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    preview = await editor.command("perforch.preview", suggestion["id"])
    assert preview["before"] == editor.texts[uri]
    await editor.command("perforch.apply", suggestion["id"])
    assert editor.texts[uri] == preview["after"]


def tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


async def all_gone(processes: list[psutil.Process]) -> None:
    async with asyncio.timeout(15):
        while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
            await asyncio.sleep(0.05)


async def busy_server(start: Start, script: str) -> tuple[Editor, list[psutil.Process]]:
    editor = await start("vscode")
    uri = editor.open("m.py", program(script))
    await editor.optimize(uri, "x + 1")
    await editor.optimize(uri, "x + 1")
    await editor.until(lambda: [p for p in editor.progress() if p and p[-1].kind == "report"])
    processes = tree(editor.client._server.pid)
    assert len(processes) == 3  # server, worker, the child that ignores SIGTERM
    return editor, processes


@pytest.mark.parametrize("holding", ["sleep", "busy"])
async def test_an_orderly_exit_during_a_job_leaves_no_process(start: Start, holding: str) -> None:
    editor, processes = await busy_server(start, f"child; {holding} 60")
    await asyncio.wait_for(editor.client.shutdown_session(), 20)
    assert editor.client._server.returncode == 0
    await all_gone(processes)


async def test_a_killed_server_leaves_no_process(start: Start) -> None:
    editor, processes = await busy_server(start, "child; sleep 60")
    editor.client._server.kill()
    await editor.client._server.wait()
    await all_gone(processes)


async def test_exit_without_shutdown_is_an_error_and_a_vanished_client_is_an_end(raw: Raw) -> None:
    await raw.initialize()
    raw.notify("exit", None)
    assert await asyncio.wait_for(raw.process.wait(), 15) == 1


async def test_a_client_that_vanishes_ends_the_server(raw: Raw) -> None:
    await raw.initialize()
    assert raw.process.stdin is not None
    raw.process.stdin.close()
    await asyncio.wait_for(raw.process.wait(), 15)


async def test_nothing_is_written_after_exit(raw: Raw, tmp_path: Path) -> None:
    await raw.initialize()
    path = tmp_path / "m.py"
    path.write_text(program("note a; sleep 60"))
    place = {"uri": path.as_uri(), "symbol": "f"}
    await raw.call("workspace/executeCommand", {"command": "perforch.optimize", "arguments": [place]})
    assert "error" not in await raw.call("shutdown", None)
    assert (await raw.call("perforch/jobs", {}))["error"]["code"] == -32600
    raw.notify("exit", None)
    assert await asyncio.wait_for(raw.process.wait(), 15) == 0
    assert raw.process.stderr is not None
    assert (await raw.process.stderr.read()).decode() == ""


def test_start_up_imports_nothing_heavy() -> None:
    code = "import sys, perforch_lsp.server; print(*sys.modules)"
    modules = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    assert "lsprotocol.types" in modules
    heavy = {"ast_grep_py", "httpx", "hypothesis", "yaml", "rich", "typer", "psutil", "sqlite3", "keyring"}
    assert not modules & heavy
    assert not {m for m in modules if m.startswith("perforch_core.") and m.count(".") > 1}
