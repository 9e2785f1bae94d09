"""Small edits of Python statements: removed, moved into or out of a loop, swapped, conditions turned round."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Iterator, Sequence

from perforch_core.languages.edits import SmallEdit
from perforch_core.languages.edits.python_expressions import Context
from perforch_core.languages.edits.python_kinds import NUMBERS, fit
from perforch_core.languages.edits.python_source import FunctionNode, Part, Source, editable_body

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_SIMPLE = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)?")


def statement_faults(ctx: Context) -> Iterator[SmallEdit]:
    """Statements removed, moved and swapped, branches and jumps: what mutation testing does with statements."""
    for statements, owner in _blocks(ctx.source.function):
        for family in BLOCK_FAMILIES:
            yield from family(statements, owner, ctx)
    for part in ctx.chosen:
        if isinstance(part.node, ast.stmt):
            yield from branches(part, ctx)
            yield from jumps(part, ctx)
    yield from returned_booleans(ctx)


def statement_edits(ctx: Context) -> Iterator[SmallEdit]:
    """Every small edit of a statement, in the order of the text; those of the whole function last."""
    for statements, owner in _blocks(ctx.source.function):
        for family in BLOCK_FAMILIES:
            yield from family(statements, owner, ctx)
    for part in ctx.chosen:
        if isinstance(part.node, ast.stmt):
            for statement_family in STATEMENT_FAMILIES:
                yield from statement_family(part, ctx)
    yield from returned_booleans(ctx)
    yield from names_exchanged(ctx)


def removed(statements: Sequence[ast.stmt], owner: ast.AST, ctx: Context) -> Iterator[SmallEdit]:
    """One statement left out (`pass` where nothing else is left)."""
    for statement in statements:
        place = ctx.source.span(statement)
        if isinstance(statement, (ast.Pass, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, FunctionNode)):
            continue
        operator = "return-removed" if isinstance(statement, ast.Return) else "statement-removed"
        if not (isinstance(statement, ast.If) and ctx.source.text.startswith("elif", place[0])):
            yield ctx.edit(*place, "pass", operator, statement)


def dedented(statements: Sequence[ast.stmt], owner: ast.AST, ctx: Context) -> Iterator[SmallEdit]:
    """The last statement of a loop or branch moved out of it."""
    if isinstance(owner, FunctionNode) or len(statements) < 2 or not isinstance(owner, ast.stmt):
        return
    last = statements[-1]
    lines = ctx.source.statement_lines(last)
    inner, outer = ctx.source.indent(last), ctx.source.indent(owner)
    ends = ctx.source.span(owner)[1] == ctx.source.span(last)[1]
    if lines is None or not ends or outer.strip() or (isinstance(owner, _LOOPS) and _leaves_loop(last)):
        return
    code = ctx.source.text[lines[0] : lines[1]]
    yield ctx.edit(*lines, _reindent(code, inner, outer), "moved-out", last)


def indented(statements: Sequence[ast.stmt], owner: ast.AST, ctx: Context) -> Iterator[SmallEdit]:
    """The statement after a loop or branch moved into it."""
    for before, after in itertools.pairwise(statements):
        if not isinstance(before, (*_LOOPS, ast.If, ast.With)) or isinstance(after, ast.FunctionDef):
            continue
        lines = ctx.source.statement_lines(after)
        body = (before.orelse or before.body) if not isinstance(before, ast.With) else before.body
        if lines is None or ctx.source.statement_lines(body[-1]) is None:
            continue
        inner, outer = ctx.source.indent(body[-1]), ctx.source.indent(after)
        if inner.strip() or outer.strip() or len(inner) <= len(outer):
            continue
        code = ctx.source.text[lines[0] : lines[1]]
        yield ctx.edit(*lines, _reindent(code, outer, inner), "moved-in", after)


def swapped(statements: Sequence[ast.stmt], owner: ast.AST, ctx: Context) -> Iterator[SmallEdit]:
    """Two neighbouring statements in the other order."""
    for first, second in itertools.pairwise(statements):
        a, b = ctx.source.statement_lines(first), ctx.source.statement_lines(second)
        if a is None or b is None or isinstance(first, (ast.Return, FunctionNode, ast.Import)):
            continue
        text = ctx.source.text
        yield ctx.edit(
            a[0], b[1], text[b[0] : b[1]] + text[a[1] : b[0]] + text[a[0] : a[1]], "statements-swapped", first
        )


def branches(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Bodies of if and else swapped; else left out; the condition turned round, always true, or run unconditionally."""
    node = part.node
    if isinstance(node, (ast.If, ast.While)) and not isinstance(node.test, (ast.Compare, ast.Constant)):
        start, end = ctx.source.span(node.test)
        yield ctx.edit(start, end, f"not ({ctx.source.text[start:end]})", "negation", node)
    if isinstance(node, ast.If):
        start, end = ctx.source.span(node.test)
        yield ctx.edit(start, end, "True", "condition-removed", node)
        yield ctx.edit(start, end, "False", "branch-removed", node)
        if node.orelse:
            (a, b), (c, d) = _block_span(node.body, ctx), _block_span(node.orelse, ctx)
            same = ctx.source.indent(node.body[0]) == ctx.source.indent(node.orelse[0])
            text = ctx.source.text
            if same and not text.startswith("elif", c):
                yield ctx.edit(a, d, text[c:d] + text[b:c] + text[a:b], "branches-swapped", node)


def jumps(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """`break` <-> `continue`."""
    if isinstance(part.node, (ast.Break, ast.Continue)):
        yield ctx.replace(part, "continue" if isinstance(part.node, ast.Break) else "break", "jump")


def returns(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Another value returned: a name that was computed, the owner of a method called in place."""
    node = part.node
    if not isinstance(node, ast.Return):
        return
    if node.value is None:
        return
    start, end = ctx.source.span(node.value)
    match node.value:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            yield ctx.edit(start, end, name, "returned-name", node)
    for name in ctx.names:
        if ctx.visible(name, part) and ctx.source.text[start:end] != name:
            yield ctx.edit(start, end, name, "returned-name", node)


def guarded(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """A simple statement made to depend on the equality of two names, or on the truth of one."""
    if not isinstance(part.node, _SIMPLE) or isinstance(part.node, ast.Return):
        return
    lines = ctx.source.statement_lines(part.node)
    if lines is None or "\n" in ctx.source.text[lines[0] : lines[1]]:
        return
    indent, code = ctx.source.indent(part.node), ctx.source.code(part.node)
    used = [n.id for n in ast.walk(part.node) if isinstance(n, ast.Name)]
    names = [n for n in ctx.names if ctx.visible(n, part)]
    for first, second in itertools.combinations(names, 2):
        if (first in used or second in used) and fit(ctx.kinds.get(first, ""), ctx.kinds.get(second, "")):
            for operator in ("==", "!="):
                new = f"if {first} {operator} {second}:{_newline(ctx.source.text)}{indent}    {code}"
                yield ctx.replace(part, new, "guard-added")
    for name in names:
        if name in used:
            yield ctx.replace(part, f"if {name}:{_newline(ctx.source.text)}{indent}    {code}", "guard-added")


def added(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """A counter moved on after the statement; a name set from an expression of the function."""
    node = part.node
    if not isinstance(node, (ast.AugAssign, ast.Assign, ast.Expr)):
        return
    lines = ctx.source.statement_lines(node)
    if lines is None:
        return
    indent = _newline(ctx.source.text) + ctx.source.indent(node)
    for name in ctx.names:
        if ctx.visible(name, part) and ctx.kinds.get(name, "") in NUMBERS | {""} and name != "self":
            for sign in ("+", "-"):
                yield ctx.edit(lines[1], lines[1], f"{indent}{name} {sign}= 1", "statement-added", node)


def targets_exchanged(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """All uses of two names exchanged inside one statement."""
    node = part.node
    if not isinstance(node, (*_SIMPLE, ast.For)) or isinstance(node, ast.Expr):
        return
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in ctx.names]
    distinct = _own_names(names, ctx)
    for first, second in itertools.combinations(distinct, 2):
        if fit(ctx.kinds.get(first, ""), ctx.kinds.get(second, "")):
            yield _exchange(part.start, part.end, names, first, second, node, ctx)


def returned_booleans(ctx: Context) -> Iterator[SmallEdit]:
    """Every `return True` becomes `return False` and the other way round."""
    found = [
        (p.start, p.end, p.node)
        for p in ctx.source.parts
        if isinstance(p.parent, ast.Return) and isinstance(p.node, ast.Constant) and isinstance(p.node.value, bool)
    ]
    if len(found) > 1:
        start, end = found[0][0], found[-1][1]
        yield ctx.edit(start, end, _rewritten(ctx.source, start, end, [(a, b, str(not n.value)) for a, b, n in found]),
                       "returns-negated", found[0][2])  # fmt: skip


def names_exchanged(ctx: Context) -> Iterator[SmallEdit]:
    """Two names exchanged in two neighbouring statements, or in everything the function does."""
    for statements, _ in _blocks(ctx.source.function):
        for first, second in itertools.pairwise(statements):
            yield from _exchanged_in([first, second], ctx)
        if len(statements) > 2:
            yield from _exchanged_in(list(statements), ctx)
    for text in ctx.constants:
        if isinstance(text.value, str):
            yield from _text_everywhere(text.value, ctx)


BLOCK_FAMILIES: tuple[Callable[[Sequence[ast.stmt], ast.AST, Context], Iterator[SmallEdit]], ...] = (
    removed,
    dedented,
    indented,
    swapped,
)
STATEMENT_FAMILIES: tuple[Callable[[Part, Context], Iterator[SmallEdit]], ...] = (
    branches,
    jumps,
    returns,
    targets_exchanged,
    guarded,
    added,
)


def _blocks(function: FunctionNode) -> Iterator[tuple[Sequence[ast.stmt], ast.AST]]:
    for node in ast.walk(function):
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list) and statements:
                yield (editable_body(node) if isinstance(node, FunctionNode) else statements), node


def _leaves_loop(statement: ast.stmt) -> bool:
    return any(isinstance(n, (ast.Break, ast.Continue)) for n in ast.walk(statement))


def _reindent(code: str, old: str, new: str) -> str:
    lines = _LINE.findall(code)
    return "".join(new + line[len(old) :] if line.startswith(old) else line for line in lines)


def _newline(text: str) -> str:
    found = re.search(r"\r\n|\r|\n", text)
    return found[0] if found else "\n"


def _block_span(statements: Sequence[ast.stmt], ctx: Context) -> tuple[int, int]:
    return ctx.source.span(statements[0])[0], ctx.source.span(statements[-1])[1]


def _exchanged_in(statements: Sequence[ast.stmt], ctx: Context) -> Iterator[SmallEdit]:
    start, end = _block_span(statements, ctx)
    names = [n for s in statements for n in ast.walk(s) if isinstance(n, ast.Name) and n.id in ctx.names]
    for first, second in itertools.combinations(_own_names(names, ctx)[:8], 2):
        if fit(ctx.kinds.get(first, ""), ctx.kinds.get(second, "")):
            yield _exchange(start, end, names, first, second, statements[0], ctx)


def _own_names(names: Sequence[ast.Name], ctx: Context) -> list[str]:
    """The names among these that the whole function can see (a comprehension's own cannot be exchanged)."""
    whole = ctx.source.span(ctx.source.function)
    return list(dict.fromkeys(n.id for n in names if ctx.names[n.id] == whole))


def _exchange(
    start: int, end: int, names: list[ast.Name], first: str, second: str, node: ast.AST, ctx: Context
) -> SmallEdit:
    other = {first: second, second: first}
    places = [(*ctx.source.span(n), other[n.id]) for n in names if n.id in other]
    places = [p for p in places if start <= p[0] and p[1] <= end]
    return ctx.edit(start, end, _rewritten(ctx.source, start, end, places), "names-exchanged", node)


def _text_everywhere(value: str, ctx: Context) -> Iterator[SmallEdit]:
    nodes = [p.node for p in ctx.source.parts if isinstance(p.node, ast.Constant) and p.node.value == value]
    places = [ctx.source.span(node) for node in nodes]
    if len(places) < 2:
        return
    for new in dict.fromkeys(["", " ", ",", *(c.value for c in ctx.constants if isinstance(c.value, str))]):
        if new != value:
            start, end = places[0][0], places[-1][1]
            rewritten = _rewritten(ctx.source, start, end, [(a, b, repr(new)) for a, b in places])
            yield ctx.edit(start, end, rewritten, "text-everywhere", nodes[0])


def _rewritten(source: Source, start: int, end: int, places: Sequence[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    position = start
    for a, b, new in sorted(places):
        if a < position:
            continue
        pieces += [source.text[position:a], new]
        position = b
    return "".join([*pieces, source.text[position:end]])
