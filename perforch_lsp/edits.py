"""From a suggestion to an edit of the document as it is now: rebased, or refused, never partial."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lsprotocol import types

from perforch_core.suggestion import Edit
from perforch_lsp.documents import Document
from perforch_lsp.suggestions import Suggestion

if TYPE_CHECKING:  # the languages are slow to import, and the server starts without them
    from perforch_core.languages.interface import Function

DIFF_LINES = 4000
"""Changed regions of more lines than this are not looked into: the suggestion counts as stale."""

CHECKS_VERSIONS = frozenset({"Neovim"})
"""Clients that check the version of an edit without announcing it. What is typed while an edit is on its way would
otherwise be overwritten."""

IDENTIFIER = re.compile(r"[^\W\d]\w*")


class Stale(Exception):
    """The suggestion cannot be applied to the text as it is now; the message says why and what to do."""


def rebase(suggestion: Suggestion, text: str, functions: Sequence[Function] | None = None) -> tuple[Edit, ...]:
    """The suggestion's edits in terms of `text`. Raises Stale.

    The target must be in `text` unchanged, and so must the lines that the edits touch outside it. `functions` are
    those of `text`; with them, a change in something that the target uses makes the suggestion stale too, because
    its evidence was for another program.
    """
    if text == suggestion.base:
        return suggestion.edits
    blocks = _matching(suggestion.base, text)
    span = _move(suggestion.start, suggestion.end, blocks)
    if span is None:
        raise Stale(f"{suggestion.symbol} has changed since this was proven. Run PerfOrch on it again.")
    moved = []
    for edit in suggestion.edits:
        place = _move(edit.start, edit.end, blocks)
        if place is None:
            raise Stale("The lines that this suggestion touches have changed since. Run PerfOrch again.")
        moved.append(replace(edit, start=place[0], end=place[1]))
    if functions is not None:
        changed = _changed_names(suggestion.base, text, blocks, functions) & _used_names(suggestion, text, functions)
        if changed:
            names = ", ".join(sorted(changed)[:3])
            raise Stale(f"{suggestion.symbol} uses {names}, which changed since this was proven. Run PerfOrch again.")
    return tuple(moved)


Block = tuple[int, int, int]
"""A stretch that both texts share: its start in the old text, in the new one, and its length."""


def _matching(old: str, new: str) -> list[Block]:
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    middle_before, middle_after = before[head : len(before) - tail], after[head : len(after) - tail]
    head_size = sum(map(len, before[:head]))
    tail_size = sum(map(len, before[len(before) - tail :]))
    blocks = [(0, 0, head_size)]
    if max(len(middle_before), len(middle_after)) <= DIFF_LINES:
        starts_before, starts_after = _offsets(middle_before, head_size), _offsets(middle_after, head_size)
        matcher = difflib.SequenceMatcher(a=middle_before, b=middle_after, autojunk=False)
        for i, j, size in matcher.get_matching_blocks():
            if size:
                length = starts_before[i + size] - starts_before[i]
                blocks.append((starts_before[i], starts_after[j], length))
    blocks.append((len(old) - tail_size, len(new) - tail_size, tail_size))
    return _joined(blocks)


def _offsets(lines: list[str], start: int) -> list[int]:
    offsets = [start]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    return offsets


def _joined(blocks: list[Block]) -> list[Block]:
    out: list[Block] = []
    for a, b, length in blocks:
        if out and out[-1][0] + out[-1][2] == a and out[-1][1] + out[-1][2] == b:
            out[-1] = (out[-1][0], out[-1][1], out[-1][2] + length)
        elif length:
            out.append((a, b, length))
    return out


def _move(start: int, end: int, blocks: Iterable[Block]) -> tuple[int, int] | None:
    for a, b, length in blocks:
        if a <= start and end <= a + length:
            return start - a + b, end - a + b
    return None


def _changed_names(old: str, new: str, blocks: list[Block], functions: Sequence[Function]) -> set[str]:
    """The names of what lies in the changed lines: of functions around them, else every name outside functions."""
    names: set[str] = set()
    a = b = 0
    for next_a, next_b, length in [*blocks, (len(old), len(new), 0)]:
        names |= set(_names(old[a:next_a]))
        names |= set(_names(new[b:next_b]))
        for function in functions:
            touched = function.start < next_b and b < function.end
            removed_inside = next_b == b and next_a > a and function.start < b < function.end
            if touched or removed_inside:
                names |= set(function.symbol.split("."))
        a, b = next_a + length, next_b + length
    return names


def _names(text: str) -> list[str]:
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    # Only what a changed line may define: names before a ":" or "=", after def, class, import, as, for, global.
    found = re.findall(r"(?:def|class|import|as|for|global|nonlocal|del)\s+([^\W\d]\w*(?:\s*,\s*[^\W\d]\w*)*)", code)
    found += re.findall(r"^([^\W\d][\w, ]*)(?::[^=\n]*)?(?:[-+*/@%&|^]|//|\*\*|<<|>>)?=[^=]", code, re.M)
    found += re.findall(r"^([^\W\d]\w*)\s*[.\[(]", code, re.M)
    found += re.findall(r"^from\s+\S+\s+import\s+(.+)$", code, re.M)
    return [name for group in found for name in IDENTIFIER.findall(group)]


def _used_names(suggestion: Suggestion, text: str, functions: Sequence[Function]) -> set[str]:
    """The names in the target, before and after, and in the functions of the file that it can reach by name."""
    used = set(IDENTIFIER.findall(suggestion.code))
    for edit in suggestion.edits:
        used |= set(IDENTIFIER.findall(edit.new))
    by_name: dict[str, list[Function]] = {}
    for function in functions:
        by_name.setdefault(function.symbol.rsplit(".", 1)[-1], []).append(function)
    pending, seen = list(used), set(used)
    while pending:
        for function in by_name.get(pending.pop(), ()):
            for name in set(IDENTIFIER.findall(text[function.start : function.end])) - seen:
                seen.add(name)
                pending.append(name)
    return seen - {suggestion.symbol.rsplit(".", 1)[-1]}


def workspace_edit(
    document: Document,
    edits: Sequence[Edit],
    *,
    capabilities: types.ClientCapabilities,
    client: str,
    label: str,
    description: str = "",
) -> types.WorkspaceEdit:
    """One edit of one document: with its version where the client checks it, with a label where it shows one.

    `client` is the name that the client gave itself.
    """
    changes = [types.TextEdit(range=document.range(e.start, e.end), new_text=e.new) for e in edits]
    ability = capabilities.workspace.workspace_edit if capabilities.workspace else None
    if client not in CHECKS_VERSIONS and (ability is None or not ability.document_changes):
        return types.WorkspaceEdit(changes={document.uri: changes})
    version = document.version if document.is_open else None
    identifier = types.OptionalVersionedTextDocumentIdentifier(uri=document.uri, version=version)
    if ability is None or not ability.change_annotation_support:
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(text_document=identifier, edits=changes)])
    annotated = [types.AnnotatedTextEdit(annotation_id="perforch", range=c.range, new_text=c.new_text) for c in changes]
    note = types.ChangeAnnotation(label=label, needs_confirmation=False, description=description or None)
    return types.WorkspaceEdit(
        document_changes=[types.TextDocumentEdit(text_document=identifier, edits=annotated)],
        change_annotations={"perforch": note},
    )
