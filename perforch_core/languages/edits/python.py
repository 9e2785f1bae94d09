"""Every small edit inside one Python function."""

from __future__ import annotations

import ast
import warnings

from perforch_core.languages.edits import SmallEdit, apply
from perforch_core.languages.edits.python_expressions import FAMILIES, FAULTS, context, expression_edits
from perforch_core.languages.edits.python_source import read
from perforch_core.languages.edits.python_statements import statement_edits, statement_faults
from perforch_core.languages.interface import Function


def edits(text: str, function: Function, *, lines: frozenset[int] | None = None) -> list[SmallEdit]:
    """Small edits of `function` in `text`, in the order of the text, each different from the others.

    The families are those of mutation testing and of generate-and-validate repair (comparison, boundary, operator,
    constant, name, call, condition, statement; cf. the fault classes of HumanEvalPack and the operators of PAR and
    GenProg). Formatting outside an edit is untouched. An edit need not make sense, and may even fail to parse:
    `meaning_after` tells. `lines` limits the edits to these 1-based lines of the file (give it for long functions).
    Empty when the file does not parse or has no such function.
    """
    source = read(text, function)
    if source is None:
        return []
    ctx = context(source, lines=lines)
    return _distinct(text, [*expression_edits(ctx, FAMILIES), *statement_edits(ctx)], lines)


def faults(text: str, function: Function, *, lines: frozenset[int] | None = None) -> list[SmallEdit]:
    """The edits that mutation testing makes: operators, boundaries, constants, conditions, calls, statements.

    Left out of `edits` are those that exchange names and expressions or wrap values: most of them raise at once, which
    any oracle notices, or mean the same. Otherwise as `edits`.
    """
    source = read(text, function)
    if source is None:
        return []
    ctx = context(source, lines=lines)
    return _distinct(text, [*expression_edits(ctx, FAULTS), *statement_faults(ctx)], lines)


def meaning(text: str, start: int, end: int) -> str | None:
    """A fingerprint of the function between two offsets, the same for the same syntax tree; None: it does not parse."""
    line = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1
    code = text[line:end].lstrip("\ufeff")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(f"if True:\n{code}\n" if code[:1] in " \t" else code)
    except (SyntaxError, ValueError, RecursionError):
        return None
    if any(_misplaced(node) for node in ast.walk(tree)):
        return None
    return ast.dump(tree)


def meaning_after(text: str, function: Function, edit: SmallEdit) -> str | None:
    """`meaning` of the function with the edit in place."""
    return meaning(apply(text, edit), function.start, function.end + len(edit.new) - (edit.end - edit.start))


def _distinct(text: str, found: list[SmallEdit], lines: frozenset[int] | None) -> list[SmallEdit]:
    kept: dict[tuple[int, int, str], SmallEdit] = {}
    for edit in found:
        if text[edit.start : edit.end] != edit.new and (lines is None or edit.line in lines):
            kept.setdefault((edit.start, edit.end, edit.new), edit)
    return list(kept.values())


def _misplaced(node: ast.AST) -> bool:
    """Things that parse and would still not compile: an assignment to nothing, a starred return value."""
    return isinstance(node, ast.Starred) and not isinstance(node.ctx, (ast.Load, ast.Store))
