"""An editor for the tests: a client with the capabilities of a real one, and its documents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pytest_lsp import LanguageClient, client_capabilities

EDITORS = {"vscode": "visual-studio-code", "neovim": "neovim@v0.11.0", "emacs": "emacs"}
SCRIPTED = Path(__file__).with_name("scripted_server.py")


def position_units(text: str, encoding: str) -> int:
    """Counted independently of the server's own code."""
    width = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    name = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    return len(text.encode(name)) // width


class Editor:
    """One client with one server, and a tiny text editor that takes edits as a strict client does."""

    def __init__(self, client: LanguageClient, root: Path) -> None:
        self.client = client
        self.root = root
        self.encoding = "utf-16"
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.edits: list[types.ApplyWorkspaceEditParams] = []
        self.questions: list[types.ShowMessageRequestParams] = []
        self.answer: str | None = None
        self.events: list[dict[str, Any]] = []
        self.result: types.InitializeResult | None = None

        @client.feature(types.WORKSPACE_APPLY_EDIT)
        def apply_edit(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            return self.take(params)

        @client.feature(types.WINDOW_SHOW_MESSAGE_REQUEST)
        async def ask(params: types.ShowMessageRequestParams) -> types.MessageActionItem | None:
            self.questions.append(params)
            return types.MessageActionItem(title=self.answer) if self.answer else None

        @client.feature(types.WORKSPACE_CODE_LENS_REFRESH)
        def refresh(params: Any) -> None:
            return None

        @client.feature("perforch/event")
        def event(params: Any) -> None:
            self.events.append(plain(params))

        # The library takes any action for a command, whose `command` it makes a string of.
        client.protocol._converter.register_structure_hook(
            types.Command | types.CodeAction,
            lambda data, _: client.protocol._converter.structure(
                data, types.Command if isinstance(data.get("command"), str) else types.CodeAction
            ),
        )

    async def start(self, editor: str, **options: Any) -> None:
        capabilities = client_capabilities(EDITORS[editor])
        if options.pop("experimental", False):
            capabilities.experimental = {"perforch": True}
        for change in options.pop("changes", ()):
            change(capabilities)
        self.result = await self.client.initialize_session(
            types.InitializeParams(
                capabilities=capabilities,
                root_uri=self.root.as_uri(),
                client_info=types.ClientInfo(name={"neovim": "Neovim"}.get(editor, editor)),
                **options,
            )
        )
        encoding = self.result.capabilities.position_encoding
        self.encoding = encoding.value if encoding is not None and hasattr(encoding, "value") else str(encoding)

    # -- documents

    def open(self, name: str, text: str) -> str:
        path = self.root / name
        path.write_bytes(text.encode())
        uri = path.as_uri()
        self.texts[uri], self.versions[uri] = text, 1
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(
                text_document=types.TextDocumentItem(uri=uri, language_id="python", version=1, text=text)
            )
        )
        return uri

    def change(self, uri: str, old: str, new: str) -> None:
        """Type: replace the first `old` by `new`, sent incrementally."""
        start = self.texts[uri].index(old)
        change = types.TextDocumentContentChangePartial(
            range=types.Range(start=self.position(uri, start), end=self.position(uri, start + len(old))), text=new
        )
        self.texts[uri] = self.texts[uri].replace(old, new, 1)
        self._send(uri, change)

    def _send(self, uri: str, change: Any) -> None:
        self.versions[uri] += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                text_document=types.VersionedTextDocumentIdentifier(uri=uri, version=self.versions[uri]),
                content_changes=[change],
            )
        )

    def save(self, uri: str) -> None:
        self.client.text_document_did_save(
            types.DidSaveTextDocumentParams(text_document=types.TextDocumentIdentifier(uri=uri))
        )

    def position(self, uri: str, offset: int) -> types.Position:
        before = self.texts[uri][:offset].replace("\r\n", "\n")
        line = before.rpartition("\n")[2]
        return types.Position(line=before.count("\n"), character=position_units(line, self.encoding))

    def at(self, uri: str, words: str) -> dict[str, int]:
        position = self.position(uri, self.texts[uri].index(words))
        return {"line": position.line, "character": position.character}

    def take(self, params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
        self.edits.append(params)
        return self.apply_workspace_edit(params.edit)

    def apply_workspace_edit(self, edit: types.WorkspaceEdit) -> types.ApplyWorkspaceEditResult:
        if edit.document_changes:
            (document,) = edit.document_changes
            assert isinstance(document, types.TextDocumentEdit)
            uri, changes = document.text_document.uri, document.edits
            if document.text_document.version not in (None, self.versions[uri]):
                return types.ApplyWorkspaceEditResult(applied=False, failure_reason="wrong version")
        else:
            assert edit.changes is not None
            ((uri, changes),) = edit.changes.items()
        text = self.texts[uri]
        for change in reversed(list(changes)):
            assert isinstance(change, types.TextEdit | types.AnnotatedTextEdit)
            start, end = (self._offset(text, p) for p in (change.range.start, change.range.end))
            text = text[:start] + change.new_text + text[end:]
        self.texts[uri] = text
        self._send(uri, types.TextDocumentContentChangeWholeDocument(text=text))
        return types.ApplyWorkspaceEditResult(applied=True)

    def _offset(self, text: str, position: types.Position) -> int:
        lines = (
            text.replace("\r\n", "\r\0").replace("\n", "\n").split("\n") if "\r\n" not in text else text.split("\r\n")
        )
        gap = 2 if "\r\n" in text else 1
        start = sum(len(line) + gap for line in lines[: position.line])
        for column in range(len(lines[position.line]) + 1):
            if position_units(lines[position.line][:column], self.encoding) == position.character:
                return start + column
        raise AssertionError(f"{position} is inside a character or beyond its line")

    # -- requests

    async def command(self, name: str, *arguments: Any, token: str | None = None) -> Any:
        answer = await self.client.workspace_execute_command_async(
            types.ExecuteCommandParams(command=name, arguments=list(arguments), work_done_token=token)
        )
        return plain(answer)

    async def error(self, name: str, *arguments: Any) -> tuple[int, str]:
        with pytest.raises(JsonRpcException) as caught:
            await self.command(name, *arguments)
        assert caught.value.data is None
        return caught.value.code, caught.value.message

    async def optimize(self, uri: str, words: str, **options: Any) -> str:
        answer = await self.command("perforch.optimize", {"uri": uri, "position": self.at(uri, words), **options})
        assert set(answer) == {"job"}
        return str(answer["job"])

    async def actions(self, uri: str, words: str, *, kind: int = 1, only: Any = None) -> list[types.CodeAction]:
        position = self.position(uri, self.texts[uri].index(words))
        found = await self.client.text_document_code_action_async(
            types.CodeActionParams(
                text_document=types.TextDocumentIdentifier(uri=uri),
                range=types.Range(start=position, end=position),
                context=types.CodeActionContext(
                    diagnostics=[
                        d for d in self.client.diagnostics.get(uri, ()) if d.range.start.line == position.line
                    ],
                    trigger_kind=types.CodeActionTriggerKind(kind),
                    only=only,
                ),
            )
        )
        return [a for a in found or () if isinstance(a, types.CodeAction)]

    async def request(self, method: str, params: Any) -> Any:
        return plain(await self.client.protocol.send_request_async(method, params))

    async def job(self, number: str) -> dict[str, Any]:
        jobs = (await self.request("perforch/jobs", {}))["jobs"]
        return next(job for job in jobs if job["id"] == number)

    async def ended(self, number: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while (job := await self.job(number))["state"] in ("queued", "running"):
                await asyncio.sleep(0.02)
        return job

    async def suggestions(self) -> list[dict[str, Any]]:
        return list((await self.request("perforch/suggestions", {}))["suggestions"])

    async def until(self, condition: Callable[[], Any], what: str = "it") -> Any:
        deadline = time.monotonic() + 30
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{what} did not come; messages: {self.messages}"
            await asyncio.sleep(0.02)
        return value

    @property
    def messages(self) -> list[str]:
        return [m.message for m in self.client.messages]

    def progress(self) -> list[list[Any]]:
        return list(self.client.progress_reports.values())


def plain(value: Any) -> Any:
    """JSON data out of the named tuples that the test client makes of it."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if hasattr(value, "__attrs_attrs__"):
        value = {a.name: getattr(value, a.name) for a in value.__attrs_attrs__}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


Start = Callable[..., Any]
