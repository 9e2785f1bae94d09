"""JSON-RPC with the edges made safe: every request is answered, no traceback leaves, nothing is written after exit."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Generator
from concurrent.futures import Future, InvalidStateError
from typing import Any

from lsprotocol import types
from lsprotocol.converters import get_converter
from pygls.exceptions import JsonRpcException
from pygls.protocol import JsonRPCNotification, JsonRPCRequestMessage, JsonRPCResponseMessage
from pygls.protocol.language_server import LanguageServerProtocol, lsp_method

from perforch_core.task import EnvironmentProblem, UserError
from perforch_lsp.documents import Documents

PROTOCOL_VERSION = 1
"""Of the messages that are our own (perforch/*). Raised when an old client would misread a new server."""

REQUEST_FAILED = -32803

log = logging.getLogger("perforch")

client_token: contextvars.ContextVar[types.ProgressToken | None] = contextvars.ContextVar("client_token", default=None)
"""The work-done token that came with the command being executed."""


class InvalidParams(JsonRpcException):
    """The parameters of a request do not make sense; the message says what was expected."""

    CODE = -32602
    MESSAGE = "Invalid parameters"


def converter_factory() -> Any:
    """pygls' converter, except that parameters of our own messages stay plain JSON data."""
    converter = get_converter()
    for message in (JsonRPCRequestMessage, JsonRPCResponseMessage, JsonRPCNotification):
        converter.register_structure_hook(message, lambda data, cls: cls(**_known(data, cls)))
    return converter


def _known(data: dict[str, Any], cls: type) -> dict[str, Any]:
    names = [a.name for a in cls.__attrs_attrs__]  # type: ignore[attr-defined]
    return {name: data.get(name) for name in names}


class Protocol(LanguageServerProtocol):
    """The language server protocol as PerfOrch speaks it."""

    exit_code = 1
    """The process' exit code: 0 after an orderly shutdown, as LSP wants it."""

    _gone = False

    def structure_message(self, data: dict[str, Any]) -> Any:
        """As pygls does, but a request with malformed parameters gets an answer instead of silence."""
        try:
            return super().structure_message(data)
        except JsonRpcException:
            method, number = data.get("method"), data.get("id")
            log.warning("malformed message %s", method or "(a response)")
            if number is not None and method is not None:
                message = f"The parameters of {method} are not what the protocol says."
                self._send_response(number, None, types.ResponseError(code=InvalidParams.CODE, message=message))
            elif number is not None:
                self._handle_response(number, None, types.ResponseError(code=-32603, message="malformed response"))
            return JsonRPCNotification(method="$/dropped", jsonrpc="2.0", params=None)

    def handle_message(self, message: Any) -> None:
        """Refuse what comes before `initialize` and after `shutdown`, with an answer."""
        method = getattr(message, "method", None)
        if method is not None and method != types.EXIT:
            initialized = self._workspace is not None
            problem = None
            if self._shutdown:
                problem = types.ResponseError(code=-32600, message="The server is shutting down.")
            elif not initialized and method != types.INITIALIZE:
                problem = types.ResponseError(code=-32002, message="The server is not initialized yet.")
            elif initialized and method == types.INITIALIZE:
                problem = types.ResponseError(code=-32600, message="The server is initialized already.")
            if problem is not None:
                if getattr(message, "id", None) is not None:
                    self._send_response(message.id, None, problem)
                return
        super().handle_message(message)

    def _send_handler_result(self, future: Future[Any], *, msg_id: Any) -> None:
        error = None if future.cancelled() else future.exception()
        if error is None or isinstance(error, asyncio.CancelledError):
            super()._send_handler_result(future, msg_id=msg_id)
            return
        self._request_futures.pop(msg_id, None)
        self._send_response(msg_id, None, _response_error(error))

    def _handle_response(self, msg_id: Any, result: Any = None, error: types.ResponseError | None = None) -> None:
        try:
            super()._handle_response(msg_id, result, error)
        except InvalidStateError:
            log.debug("the answer to %s came after its request was given up", msg_id)

    def _handle_cancel_notification(self, msg_id: Any) -> None:
        # A command returns at once, or is an edit on its way; answering "cancelled" while its coroutine runs on, as
        # cancelling its future would, is a lie.
        if msg_id not in self._commands_running:
            super()._handle_cancel_notification(msg_id)

    _commands_running: set[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._commands_running = set()
        super().__init__(*args, **kwargs)

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    def lsp_workspace__execute_command(self, params: types.ExecuteCommandParams) -> Generator[Any, Any, Any]:
        """Remember the client's token, which pygls does not hand to commands, and that a command is running."""
        number = self.msg_id
        client_token.set(params.work_done_token)
        self._commands_running.add(number)
        try:
            return (yield from super().lsp_workspace__execute_command(params))
        finally:
            self._commands_running.discard(number)

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Generator[Any, Any, types.InitializeResult]:
        """Put our documents in place and say which version of our own messages we speak."""
        inner = super().lsp_initialize(params)
        value: Any = None
        while True:
            try:
                step = inner.send(value)
            except StopIteration as end:
                result: types.InitializeResult = end.value
                break
            value = yield step
        folders = params.workspace_folders or []
        encoding = result.capabilities.position_encoding
        root = params.root_uri
        self._workspace = Documents(root, types.TextDocumentSyncKind.Incremental, list(folders), encoding)
        result.capabilities.experimental = {"perforch": {"protocol": PROTOCOL_VERSION}}
        return result

    @lsp_method(types.EXIT)
    def lsp_exit(self, *args: Any) -> Generator[Any, Any, None]:
        """Nothing is written any more: the other side may be gone."""
        self._gone = True
        self.exit_code = 0 if self._shutdown else 1
        yield from super().lsp_exit(*args)

    def _send_data(self, data: Any) -> None:
        if not self._gone:
            super()._send_data(data)

    async def ask(self, method: str, params: Any) -> Any:
        """Send the client a request and wait for its answer. Raises JsonRpcException when it refuses."""
        return await self.send_request_async(method, params)


def _response_error(error: BaseException) -> types.ResponseError:
    if isinstance(error, (UserError, EnvironmentProblem)):
        return types.ResponseError(code=REQUEST_FAILED, message=str(error))
    if isinstance(error, JsonRpcException):
        return types.ResponseError(code=error.code, message=error.message)
    log.error("a request failed", exc_info=error)
    message = f"PerfOrch failed on this request ({type(error).__name__}). The server's log tells more."
    return types.ResponseError(code=-32603, message=message)
