"""textDocument/publishDiagnostics: slow patterns as hints, when a document is opened or saved.

They are found in a thread of their own, so that a large file holds no message. Where the user wants it, functions
with a hint are also verified in the background: a proven faster version then shows as a lens.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from lsprotocol import types

from perforch_core.engine import Request
from perforch_core.task import Stage, UserError
from perforch_lsp.documents import Document
from perforch_lsp.session import Session

SOURCE = "perforch"


def opened(ls: Session, params: types.DidOpenTextDocumentParams) -> None:
    """Show hints in a document that was just opened."""
    show(ls, params.text_document.uri)


def saved(ls: Session, params: types.DidSaveTextDocumentParams) -> None:
    """Show the hints of what was just saved."""
    ls.spawn(_publish(ls, params.text_document.uri, verify=ls.settings.verify_on_save))


def show(ls: Session, uri: str) -> None:
    """Show the hints of a document as it is now."""
    ls.spawn(_publish(ls, uri))


def closed(ls: Session, params: types.DidCloseTextDocumentParams) -> None:
    """Take the hints away with the document."""
    ls.forget(params.text_document.uri)
    ls.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri=params.text_document.uri, diagnostics=[]))


def refresh(ls: Session) -> None:
    """Show or take away the hints of all open documents, after a change of the settings."""
    for uri in list(ls.documents.text_documents):
        show(ls, uri)


async def _publish(ls: Session, uri: str, *, verify: bool = False) -> None:
    document = ls.documents.open_document(uri)
    if document is None:
        return
    text, version = document.source, document.version
    findings = await asyncio.to_thread(_find, Path(document.path), text) if ls.settings.hints else []
    if ls.documents.open_document(uri) is not document or document.version != version:
        return  # a newer text is open; its own turn comes when it is saved
    ls.text_document_publish_diagnostics(
        types.PublishDiagnosticsParams(
            uri=uri, version=version, diagnostics=[_diagnostic(document, finding) for finding in findings]
        )
    )
    if verify:
        _verify(ls, document, findings)


def _find(path: Path, text: str) -> list[Any]:
    from perforch_core import languages
    from perforch_core.models import rules

    try:
        language = languages.language_of(path)
    except UserError:
        return []
    return list(rules.hints(text, language))


def _diagnostic(document: Document, finding: Any) -> types.Diagnostic:
    return types.Diagnostic(
        range=document.range(finding.start, finding.end),
        severity=types.DiagnosticSeverity.Hint,
        code=finding.rule,
        source=SOURCE,
        message=f"{finding.title}. {finding.message}",
    )


def _verify(ls: Session, document: Document, findings: list[Any]) -> None:
    known = {s.symbol for s in ls.suggestions.all(document.uri) if s.base == document.source}
    for finding in findings:
        function = ls.function_at(document, finding.start, finding.end)
        if function is None or function.symbol in known:
            continue
        known.add(function.symbol)
        request = Request(
            stage=Stage.REFINE,
            path=ls.documents.path(document.uri),
            text=document.source,
            offset=function.header,
            budget=ls.settings.budget,
            models=("rules",),
            settings=ls.request_settings,
        )
        ls.jobs.start(uri=document.uri, request=request, symbol=function.symbol, background=True)
