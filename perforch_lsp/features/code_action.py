"""textDocument/codeAction and codeAction/resolve: the three stages at the cursor, quick fixes, ready suggestions.

A lightbulb that the user did not ask for shows quick fixes and ready suggestions only, or it would burn at every
move of the cursor. A suggestion whose document has moved on is given back as it is, with a warning.
"""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from perforch_core.task import UserError
from perforch_lsp import edits, report
from perforch_lsp.documents import Document
from perforch_lsp.session import Session
from perforch_lsp.suggestions import Suggestion

OPTIONS = types.CodeActionOptions(
    code_action_kinds=[types.CodeActionKind.QuickFix, types.CodeActionKind.RefactorRewrite], resolve_provider=True
)

Action = types.CodeAction | types.Command


def handle(ls: Session, params: types.CodeActionParams) -> list[Action]:
    """All actions for a range, most useful first."""
    try:
        document = ls.documents.document(params.text_document.uri)
        start, end = document.offset(params.range.start), document.offset(params.range.end)
    except UserError:
        return []
    function = ls.function_at(document, start, max(start, end)) or ls.function_at(document, start)
    if function is None:
        return []
    actions = [
        _ready(ls, document, s)
        for s in ls.suggestions.open(document.uri)
        if s.symbol == function.symbol and _fits(ls, s, document)
    ]
    actions += [_quick_fix(document, hint) for hint in params.context.diagnostics if hint.source == "perforch"]
    if params.context.trigger_kind != types.CodeActionTriggerKind.Automatic:
        place = {"uri": document.uri, "position": _json(params.range.start)}
        stages = [
            (f"PerfOrch: Optimize {function.symbol} for speed", "perforch.optimize"),
            (f"PerfOrch: Fix {function.symbol}", "perforch.fix"),
            (f"PerfOrch: Generate {function.symbol}", "perforch.generate"),
        ]
        actions += [
            types.CodeAction(
                title=title,
                kind=types.CodeActionKind.RefactorRewrite,
                command=types.Command(title=title, command=command, arguments=[place]),
            )
            for title, command in stages
        ]
    actions = [a for a in actions if _wanted(a, params.context.only)]
    return list(actions) if _literals(ls) else [a.command for a in actions if a.command is not None]


def resolve(ls: Session, action: types.CodeAction) -> types.CodeAction:
    """Add the edit to a ready suggestion's action."""
    number = action.data.get("suggestion") if isinstance(action.data, dict) else None
    suggestion = ls.suggestions.get(number) if isinstance(number, str) else None
    if suggestion is None:
        return action
    try:
        document = ls.documents.document(suggestion.uri)
        action.edit = edits.workspace_edit(
            document,
            ls.place(suggestion, document),
            capabilities=ls.client_capabilities,
            client=ls.client_name,
            label=f"PerfOrch: {suggestion.title}",
            description=suggestion.symbol,
        )
    except (edits.Stale, UserError) as error:
        ls.message(str(error), types.MessageType.Warning)
    return action


def _fits(ls: Session, suggestion: Suggestion, document: Document) -> bool:
    try:
        ls.place(suggestion, document)
    except edits.Stale:
        return False
    return True


def _ready(ls: Session, document: Document, suggestion: Suggestion) -> types.CodeAction:
    title = f"PerfOrch: apply {report.headline(suggestion)}"
    kind = types.CodeActionKind.QuickFix if suggestion.stage == "fix" else types.CodeActionKind.RefactorRewrite
    action = types.CodeAction(title=title, kind=kind, is_preferred=suggestion.proven or None)
    if _resolves_edits(ls):
        action.data = {"suggestion": suggestion.id}
    else:
        action.command = types.Command(title=title, command="perforch.apply", arguments=[suggestion.id])
    return action


def _quick_fix(document: Document, hint: types.Diagnostic) -> types.CodeAction:
    title = f"PerfOrch: prove a faster version ({hint.code})"
    place = {"uri": document.uri, "position": _json(hint.range.start)}
    return types.CodeAction(
        title=title,
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[hint],
        command=types.Command(title=title, command="perforch.optimize", arguments=[place]),
    )


def _wanted(action: types.CodeAction, only: Any) -> bool:
    kind = str(getattr(action.kind, "value", action.kind))
    return not only or any(
        wanted == "" or kind == wanted or kind.startswith(wanted + ".")
        for wanted in (str(getattr(o, "value", o)) for o in only)
    )


def _json(position: types.Position) -> dict[str, int]:
    return {"line": position.line, "character": position.character}


def _ability(ls: Session) -> types.CodeActionClientCapabilities | None:
    text = ls.client_capabilities.text_document
    return text.code_action if text is not None else None


def _literals(ls: Session) -> bool:
    ability = _ability(ls)
    return ability is not None and ability.code_action_literal_support is not None


def _resolves_edits(ls: Session) -> bool:
    ability = _ability(ls)
    support = ability.resolve_support if ability is not None else None
    return bool(ability and ability.data_support and support and "edit" in support.properties)
