"""One Python function with the positions of its parts in code points, and the names its code can see."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from perforch_core.languages.interface import Function

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

_ATOMS = (
    ast.Name,
    ast.Call,
    ast.Attribute,
    ast.Subscript,
    ast.List,
    ast.Dict,
    ast.Set,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.JoinedStr,
)
_SCOPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)


@dataclass(frozen=True, slots=True)
class Part:
    """One node of the function with its place: `field` is the parent's field that holds it."""

    node: ast.AST
    parent: ast.AST
    field: str
    start: int
    end: int


@dataclass(slots=True)
class Source:
    """A parsed function. `parts` are its editable nodes in the order of the text: no annotations, decorators,
    docstrings, and no insides of f-strings (their positions are wrong before Python 3.12)."""

    text: str
    function: FunctionNode
    starts: tuple[int, ...]
    shift: int
    parts: list[Part] = field(default_factory=list)

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where the node stands in `text`."""
        return (
            self._offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self._offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def code(self, node: ast.AST) -> str:
        """The node's own text."""
        start, end = self.span(node)
        return self.text[start:end]

    def atom(self, node: ast.AST) -> str:
        """The node's text, in parentheses where something put beside it could tear it apart."""
        code = self.code(node)
        plain = isinstance(node, _ATOMS) or (isinstance(node, ast.Constant) and not code.startswith("-"))
        return code if plain or _enclosed(code) else f"({code})"

    def token(self, start: int, end: int, pattern: re.Pattern[str]) -> tuple[int, int] | None:
        """The first match of `pattern` between two offsets, comments not searched."""
        gap = re.sub(r"#[^\r\n]*", lambda m: " " * len(m[0]), self.text[start:end])
        match = pattern.search(gap)
        return (start + match.start(), start + match.end()) if match else None

    def statement_lines(self, node: ast.stmt) -> tuple[int, int] | None:
        """From the start of the statement's first line to the end of its last (newline left out), or None when it
        shares a line with other code."""
        start, end = self.span(node)
        first = self.starts[node.lineno - 1] + self.shift * (node.lineno == 1)
        after = re.compile(r"[ \t]*(#[^\r\n]*)?(?=[\r\n]|\Z)").match(self.text, end)
        if self.text[first:start].strip() or after is None:
            return None
        return first, after.end()

    def indent(self, node: ast.stmt) -> str:
        """The white space before the statement."""
        start, _ = self.span(node)
        return self.text[self.starts[node.lineno - 1] : start]

    def _offset(self, line: int, column: int) -> int:
        begin = self.starts[line - 1]
        end = self.starts[line] if line < len(self.starts) else len(self.text)
        shift = self.shift if line == 1 else 0
        head = self.text[begin + shift : end]
        if head.isascii():
            return begin + shift + column
        return begin + shift + len(head.encode()[:column].decode(errors="ignore"))


def read(text: str, function: Function) -> Source | None:
    """Parse the file and find the function in it; None when the file does not parse or has no such function."""
    shift = 1 if text.startswith("\ufeff") else 0
    try:
        tree = ast.parse(text[shift:])
    except (SyntaxError, ValueError, RecursionError):
        return None
    name = function.symbol.rsplit(".", 1)[-1]
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, FunctionNode) and node.name == name and node.lineno == function.line
    ]
    if not found:
        return None
    starts = (0, *(m.end() for m in re.finditer(r"\r\n|\r|\n", text)))
    source = Source(text=text, function=found[0], starts=starts, shift=shift)
    for statement in editable_body(found[0]):
        source.parts += _walk(source, statement, found[0], "body")
    return source


def editable_body(function: FunctionNode) -> list[ast.stmt]:
    """The statements of a function without its docstring."""
    return function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body


def visible_names(source: Source) -> dict[str, tuple[int, int]]:
    """Local names (parameters included) with the stretch of text where they can be used."""
    whole = source.span(source.function)
    names = {a.arg: whole for a in _arguments(source.function.args)}
    for part in source.parts:
        node = part.node
        if isinstance(node, _SCOPES):
            if isinstance(node, ast.Lambda):
                inner = [a.arg for a in _arguments(node.args)]
            else:
                inner = [n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)]
            for name in inner:
                names.setdefault(name, (part.start, part.end))
    bound = _comprehension_targets(source)
    for part in source.parts:
        if isinstance(part.node, ast.Name) and isinstance(part.node.ctx, ast.Store) and id(part.node) not in bound:
            names[part.node.id] = whole
    return names


def _comprehension_targets(source: Source) -> set[int]:
    return {
        id(name)
        for part in source.parts
        if isinstance(part.node, ast.comprehension)
        for name in ast.walk(part.node.target)
    }


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    plain = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return plain + [a for a in (arguments.vararg, arguments.kwarg) if a is not None]


def _walk(source: Source, node: ast.AST, parent: ast.AST, name: str) -> Iterator[Part]:
    if hasattr(node, "lineno"):
        start, end = source.span(node)
    else:
        start = end = -1
    yield Part(node, parent, name, start, end)
    if isinstance(node, ast.JoinedStr):
        return
    docstring = isinstance(node, FunctionNode) and ast.get_docstring(node, clean=False) is not None
    for child_name, value in ast.iter_fields(node):
        if child_name in ("annotation", "returns", "decorator_list", "args") and not isinstance(node, ast.Call):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not (docstring and child_name == "body" and index == 0):
                yield from _walk(source, child, node, child_name)


def _enclosed(code: str) -> bool:
    if not code.startswith(("(", "[", "{")):
        return False
    depth = 0
    for index, character in enumerate(code):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return index == len(code) - 1
    return False
