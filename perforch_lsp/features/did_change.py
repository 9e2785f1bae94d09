"""textDocument/didChange: an editor that made a suggestion's edit itself has accepted it."""

from __future__ import annotations

from lsprotocol import types

from perforch_core.task import UserError
from perforch_lsp import jobs
from perforch_lsp.features import diagnostics
from perforch_lsp.session import Session


def handle(ls: Session, params: types.DidChangeTextDocumentParams) -> None:
    """Note which of the document's ready suggestions are in it now. pygls has taken the new text already."""
    ready = [s for s in ls.suggestions.open(params.text_document.uri) if s.state == "ready"]
    if not ready:
        return
    try:
        text = ls.documents.document(params.text_document.uri).source
    except UserError:
        return
    for suggestion in ready:
        if suggestion.code not in text and suggestion.new_code in text:
            jobs.decide(ls, suggestion, accepted=True)
            diagnostics.show(ls, params.text_document.uri)
