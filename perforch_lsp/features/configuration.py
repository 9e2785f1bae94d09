"""workspace/didChangeConfiguration and workspace/configuration: the settings, pushed or pulled."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from perforch_lsp.features import diagnostics
from perforch_lsp.session import Session
from perforch_lsp.settings import parse

SECTION = "perforch"


def changed(ls: Session, params: types.DidChangeConfigurationParams) -> None:
    """Take what was pushed; a client that pushes nothing wants to be asked."""
    if params.settings:
        take(ls, params.settings)
        diagnostics.refresh(ls)
    else:
        ls.spawn(pull(ls))


async def pull(ls: Session) -> None:
    """Ask a client that can be asked."""
    workspace = ls.client_capabilities.workspace
    if workspace is None or not workspace.configuration:
        return
    items = [types.ConfigurationItem(section=SECTION)]
    answer = await ls.workspace_configuration_async(types.ConfigurationParams(items=items))
    if answer and answer[0]:
        before = ls.settings
        take(ls, answer[0])
        if ls.settings != before:
            diagnostics.refresh(ls)


def take(ls: Session, data: Any) -> None:
    """Use settings; what is wrong in them is told once and left at its default."""
    if data is None:
        return
    settings, problems = parse(data)
    new = [problem for problem in problems if problem not in ls.problems_told]
    ls.problems_told.update(new)
    ls.settings = settings
    if new:
        ls.message("; ".join(new), types.MessageType.Warning)
