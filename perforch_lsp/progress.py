"""Work-done progress of one job, in whichever way the client can show it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcException

if TYPE_CHECKING:
    from perforch_lsp.session import Session


class Progress:
    """A progress bar with a Cancel button. Values wait until the client has agreed to the token."""

    def __init__(self, session: Session, title: str, client_token: types.ProgressToken | None) -> None:
        """Begin. A client that creates bars for servers gets one, because a token that came with a request is only
        good until its answer; another's own token is used as better than nothing."""
        self._session = session
        self._waiting: list[types.WorkDoneProgressBegin | types.WorkDoneProgressReport | types.WorkDoneProgressEnd] = []
        self._ready = False
        self.token: types.ProgressToken | None = client_token
        window = session.client_capabilities.window
        begin = types.WorkDoneProgressBegin(title=title, cancellable=True, message="waiting")
        self._put(begin)
        if window is not None and window.work_done_progress:
            self.token = f"perforch-{uuid.uuid4().hex[:12]}"
            session.spawn(self._create(self.token))
        elif client_token is not None:
            self._open()

    async def _create(self, token: types.ProgressToken) -> None:
        try:
            await self._session.wire.ask(
                types.WINDOW_WORK_DONE_PROGRESS_CREATE, types.WorkDoneProgressCreateParams(token=token)
            )
        except JsonRpcException:
            self._waiting.clear()
            self.token = None
            raise
        self._open()

    def report(self, message: str) -> None:
        """Say what is being done now."""
        self._put(types.WorkDoneProgressReport(message=message, cancellable=True))

    def end(self, message: str) -> None:
        """The bar goes away."""
        self._put(types.WorkDoneProgressEnd(message=message))

    def _put(
        self, value: types.WorkDoneProgressBegin | types.WorkDoneProgressReport | types.WorkDoneProgressEnd
    ) -> None:
        self._waiting.append(value)
        if self._ready:
            self._flush()

    def _open(self) -> None:
        self._ready = True
        self._flush()

    def _flush(self) -> None:
        for value in self._waiting:
            if self.token is not None:
                self._session.wire.notify(types.PROGRESS, types.ProgressParams(token=self.token, value=value))
        self._waiting.clear()
