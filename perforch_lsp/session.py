"""What one connection knows: documents, settings, jobs, suggestions, and what the client can do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.protocol.language_server import LanguageServerProtocol

from perforch_core.suggestion import Edit
from perforch_lsp import edits
from perforch_lsp.documents import Document, Documents
from perforch_lsp.protocol import Protocol, converter_factory
from perforch_lsp.settings import EditorSettings
from perforch_lsp.suggestions import Suggestion, Suggestions

if TYPE_CHECKING:
    from perforch_core.languages.interface import Function
    from perforch_lsp.jobs import Jobs

log = logging.getLogger("perforch")


class Session(LanguageServer):
    """The language server with the state that its features share."""

    protocol: LanguageServerProtocol
    jobs: Jobs

    def __init__(self) -> None:
        super().__init__(
            "perforch",
            metadata.version("perforch"),
            text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
            protocol_cls=Protocol,
            converter_factory=converter_factory,
        )
        self.settings = EditorSettings()
        self.suggestions = Suggestions()
        self.client_name = ""
        self.problems_told: set[str] = set()
        self._functions: dict[str, tuple[str, Sequence[Function]]] = {}
        self._rebased: dict[str, tuple[str, tuple[Edit, ...] | edits.Stale]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def wire(self) -> Protocol:
        """The connection."""
        assert isinstance(self.protocol, Protocol)
        return self.protocol

    @property
    def documents(self) -> Documents:
        """The client's documents."""
        assert isinstance(self.workspace, Documents)
        return self.workspace

    @property
    def previews_itself(self) -> bool:
        """The client knows our own messages and shows suggestions and the ends of jobs itself."""
        experimental = self.client_capabilities.experimental
        return bool(isinstance(experimental, dict) and experimental.get("perforch"))

    @property
    def request_settings(self) -> dict[str, Any]:
        """What the editor's settings add to a request, as `open_services` takes it."""
        return {"python": self.settings.python} if self.settings.python else {}

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that nobody waits for. A client that refuses a request of ours is not an error."""

        async def guarded() -> None:
            try:
                await work
            except JsonRpcException as error:
                log.info("the client refused a request: %s", error.message)
            except Exception:
                log.exception("background work failed")

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def functions(self, document: Document) -> Sequence[Function]:
        """The functions of a document in a language that we know; none while it does not parse."""
        from perforch_core import languages

        text = document.source
        cached = self._functions.get(document.uri)
        if cached is not None and cached[0] == text:
            return cached[1]
        try:
            found: Sequence[Function] = languages.find_functions(text, languages.language_of(Path(document.path)))
        except Exception:
            log.debug("no functions in %s", document.uri, exc_info=True)
            found = ()
        self._functions[document.uri] = (text, found)
        return found

    def function_at(self, document: Document, start: int, end: int | None = None) -> Function | None:
        """The innermost function around a span of code points."""
        end = start if end is None else end
        around = [f for f in self.functions(document) if f.start <= start and end <= f.end]
        return max(around, key=lambda f: f.start, default=None)

    def place(self, suggestion: Suggestion, document: Document) -> tuple[Edit, ...]:
        """The suggestion's edits in the document as it is now. Raises `edits.Stale`."""
        text = document.source
        cached = self._rebased.get(suggestion.id)
        if cached is None or cached[0] != text:
            try:
                answer: tuple[Edit, ...] | edits.Stale = edits.rebase(suggestion, text, self.functions(document))
            except edits.Stale as error:
                answer = error
            cached = self._rebased[suggestion.id] = (text, answer)
        if isinstance(cached[1], edits.Stale):
            raise cached[1]
        return cached[1]

    def forget(self, uri: str) -> None:
        """Drop what is remembered of a document that was closed."""
        self._functions.pop(uri, None)

    def message(self, text: str, kind: types.MessageType = types.MessageType.Info) -> None:
        """Show a line to the user."""
        self.window_show_message(types.ShowMessageParams(type=kind, message=text))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Into the log, never to the client: telling a client that is gone would fail again, without end."""
        log.error("%s: %s", getattr(source, "__name__", source), error)
