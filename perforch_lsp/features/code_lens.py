"""textDocument/codeLens: a ready suggestion above its function, applied by a click."""

from __future__ import annotations

from lsprotocol import types

from perforch_core.task import UserError
from perforch_lsp import edits, report
from perforch_lsp.session import Session

OPTIONS = types.CodeLensOptions(resolve_provider=False)


def handle(ls: Session, params: types.CodeLensParams) -> list[types.CodeLens]:
    """One lens for each suggestion that fits the text as it is now."""
    lenses = []
    for suggestion in ls.suggestions.open(params.text_document.uri):
        try:
            document = ls.documents.document(suggestion.uri)
            ls.place(suggestion, document)
        except (edits.Stale, UserError):
            continue
        for function in ls.functions(document):
            if function.symbol == suggestion.symbol:
                title = f"{report.short_title(suggestion)}: apply"
                lenses.append(
                    types.CodeLens(
                        range=document.range(function.header, function.header),
                        command=types.Command(title=title, command="perforch.apply", arguments=[suggestion.id]),
                    )
                )
                break
    return lenses
