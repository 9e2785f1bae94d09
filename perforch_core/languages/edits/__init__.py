"""Small edits of one function, for mutants (is the oracle able to notice?) and for the rule-based repairer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmallEdit:
    """Replace code points `start` to `end` of a file's text by `new`.

    `operator` names the kind of edit ("compare-boundary"), `line` is the 1-based line of the file where it acts.
    """

    start: int
    end: int
    new: str
    operator: str
    line: int


def apply(text: str, edits: SmallEdit | Sequence[SmallEdit]) -> str:
    """`text` with the edits in place. Raises ValueError when two of them overlap."""
    several = [edits] if isinstance(edits, SmallEdit) else sorted(edits, key=lambda e: (e.start, e.end))
    pieces: list[str] = []
    position = 0
    for edit in several:
        if edit.start < position:
            raise ValueError("These edits overlap: apply them one after the other.")
        pieces += [text[position : edit.start], edit.new]
        position = edit.end
    return "".join([*pieces, text[position:]])


def describe(text: str, edit: SmallEdit) -> str:
    """The edit in a few words: "line 12: `<` became `<=`"."""
    old, new = _short(text[edit.start : edit.end]), _short(edit.new)
    if not old:
        return f"line {edit.line}: added `{new}`"
    if not new or new == "pass":
        return f"line {edit.line}: removed `{old}`"
    if old == new:
        return f"line {edit.line}: `{old}` moved to another block"
    return f"line {edit.line}: `{old}` became `{new}`"


def _short(code: str, *, limit: int = 48) -> str:
    flat = " ".join(code.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
