"""initialized, shutdown, and the cancel button of a progress bar."""

from __future__ import annotations

from lsprotocol import types

from perforch_lsp.features import configuration, diagnostics
from perforch_lsp.session import Session


def initialize(ls: Session, params: types.InitializeParams) -> None:
    """Take the settings that came along. Nothing slow may be imported yet."""
    ls.client_name = params.client_info.name if params.client_info is not None else ""
    configuration.take(ls, params.initialization_options)


def initialized(ls: Session, params: types.InitializedParams) -> None:
    """The client is ready for our requests: ask for its settings, and show hints in what is open already."""
    ls.spawn(configuration.pull(ls))
    diagnostics.refresh(ls)


async def shutdown(ls: Session, params: None) -> None:
    """End all jobs before answering: after `exit` nobody would hear of them."""
    await ls.jobs.aclose()


def cancel_progress(ls: Session, params: types.WorkDoneProgressCancelParams) -> None:
    """The user pressed Cancel on a progress bar."""
    ls.jobs.cancel_by_token(params.token)
