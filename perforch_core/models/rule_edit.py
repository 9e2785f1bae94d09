"""From a rule's match to a new file text: templates, statements inserted or removed, imports, fresh names.

Texts here use "\\n" only; offsets are code points.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from perforch_core.models.rule_scope import Scope

VARIABLE = re.compile(r"\$+([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)")
_TEMPLATE_INDENT = 4


class NoFit(Exception):
    """The match cannot be edited as the rule says (two statements on one line, a multi-line string to re-indent...)."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of the text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Change:
    """Replace a range by text. Changes at one place are applied in ascending `order`."""

    start: int
    end: int
    new: str
    order: int = 0


@dataclass
class Editor:
    """Collects the changes of one match. `spans` are the captured nodes, `words` the names made up for it."""

    text: str
    scope: Scope
    unit: str = "    "
    spans: dict[str, Span] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def line_start(self, at: int) -> int:
        """The offset of the first character of the line around `at`."""
        return self.text.rfind("\n", 0, at) + 1

    def line_end(self, at: int) -> int:
        """The offset of the newline that ends the line around `at`, or of the end of the text."""
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end

    def indent(self, at: int) -> str:
        """The white space that the line around `at` starts with."""
        start = self.line_start(at)
        match = re.compile(r"[ \t]*").match(self.text, start)
        return match.group() if match else ""

    def source(self, start: int, end: int) -> str:
        """The text of a range with the changes already made inside it."""
        return apply(self.text[start:end], [_moved(c, -start) for c in self._inside(start, end)])

    def _inside(self, start: int, end: int) -> list[Change]:
        return [c for c in self.changes if start <= c.start and c.end <= end and (c.start, c.end) != (start, end)]

    def expand(self, template: str, indent: str, spans: Mapping[str, Span] | None = None) -> str:
        """A template with its variables filled in, its lines after the first set at `indent`."""
        known = {**self.spans, **(spans or {})}
        lines = []
        for number, line in enumerate(template.rstrip("\n").split("\n")):
            depth, rest = divmod(len(line) - len(line.lstrip(" ")), _TEMPLATE_INDENT)
            here = indent + self.unit * depth + " " * rest
            filled = self._filled(line.strip(" "), here, known)
            lines.append(filled if number == 0 or not filled else here + filled)
        return "\n".join(lines)

    def _filled(self, line: str, indent: str, spans: Mapping[str, Span]) -> str:
        filled = VARIABLE.sub(lambda match: self._value(match, indent, spans), line)
        # Templates write `append(($B))` because $B may be `a, b`; around one name the second pair is noise.
        return re.sub(r"\(\((\w+)\)\)", r"(\1)", filled)

    def _value(self, variable: re.Match[str], indent: str, spans: Mapping[str, Span]) -> str:
        name = variable.group(1)
        if name in self.words:
            return self.words[name]
        if name not in spans:
            if variable.group().startswith("$$$"):
                return ""
            raise NoFit(f"${name} is not captured")
        span = spans[name]
        return self.reindented(self.source(span.start, span.end), self.indent(span.start), indent)

    def reindented(self, text: str, old: str, new: str) -> str:
        """A piece of code moved from indentation `old` to `new`. Raises NoFit for multi-line strings."""
        if old == new or "\n" not in text:
            return text
        if '"""' in text or "'''" in text or "\\\n" in text:
            raise NoFit("a multi-line string would be changed by its new indentation")
        first, *rest = text.split("\n")
        return "\n".join([first, *(new + line.removeprefix(old) if line.strip() else line for line in rest)])

    def replace(self, span: Span, template: str, spans: Mapping[str, Span] | None = None) -> None:
        """Put a filled template in place of a node."""
        new = self.expand(template, self.indent(span.start), spans)
        if "\n" in template.rstrip("\n"):
            self._alone(span)
        inner = self._inside(span.start, span.end)
        self.changes = [c for c in self.changes if c not in inner]
        self.changes.append(Change(span.start, span.end, new))

    def before(self, statement: Span, template: str) -> None:
        """Insert statements on the lines before a statement."""
        self._first(statement)
        indent = self.indent(statement.start)
        new = self.expand(template, indent) + "\n" + indent
        self.changes.append(Change(statement.start, statement.start, new))

    def after(self, statement: Span, template: str) -> None:
        """Insert statements on the lines after a statement."""
        indent = self.indent(statement.start)
        self._first(statement)
        end = self._last(statement)
        self.changes.append(Change(end, end, "\n" + indent + self.expand(template, indent), 1))

    def remove(self, statement: Span) -> None:
        """Take a statement away with its lines."""
        self._alone(statement)
        start, end = self.line_start(statement.start), self.line_end(statement.end)
        inner = self._inside(start, end)
        self.changes = [c for c in self.changes if c not in inner]
        self.changes.append(Change(start, min(end + 1, len(self.text)), "", 2))

    def brackets(self, span: Span, pair: str) -> None:
        """Put other brackets around what stands in brackets: `pair` is "[]", "()", "{}" or "" for none."""
        opening, closing = pair[: len(pair) // 2], pair[len(pair) // 2 :]
        self.changes += [Change(span.start, span.start + 1, opening), Change(span.end - 1, span.end, closing)]

    def header(self, statement: Span, body: Span, template: str) -> None:
        """Put a filled template in place of a compound statement's first line, up to the colon."""
        colon = self.text.rfind(":", statement.start, body.start)
        if "#" in self.text[statement.start : body.start]:
            colon = self.text.find(":", statement.start, body.start)
        self.changes.append(Change(statement.start, colon, self.expand(template, self.indent(statement.start))))

    def unwrap(self, statement: Span, body: Span) -> None:
        """Put a statement's body, with the comments above it, in the statement's place."""
        self._alone(statement)
        start = body.start
        while self.text[self.line_start(start - 1) : start].strip() == "" and start > statement.start:
            above = self.line_start(self.line_start(start) - 1)
            if not self.text[above : self.line_start(start)].lstrip().startswith("#"):
                break
            start = above + len(self.indent(above))
        new = self.reindented(self.source(start, body.end), self.indent(body.start), self.indent(statement.start))
        inner = self._inside(statement.start, statement.end)
        self.changes = [c for c in self.changes if c not in inner]
        self.changes.append(Change(statement.start, statement.end, new))

    def _first(self, span: Span) -> None:
        if self.text[self.line_start(span.start) : span.start].strip():
            raise NoFit("another statement stands on the same line")

    def _last(self, span: Span) -> int:
        end = self.line_end(span.end)
        rest = self.text[span.end : end].strip()
        if rest and not rest.startswith("#"):
            raise NoFit("another statement stands on the same line")
        return end

    def _alone(self, span: Span) -> None:
        self._first(span)
        self._last(span)

    def fresh(self, base: str, taken: Iterable[str] = ()) -> str:
        """A name near `base` that the file does not use yet."""
        base = re.sub(r"\W+", "_", base) or "value"
        used = self.scope.names | set(self.words.values()) | set(taken)
        if base not in used and not hasattr(builtins, base) and base.isidentifier():
            return base
        return next(name for n in range(2, 10_000) if (name := f"{base}_{n}") not in used)

    def imported(self, path: str) -> str:
        """The name by which the file can use `module.name` (or a module), importing it where it does not yet."""
        module, _, name = path.rpartition(".")
        known = self._known_import(module, name)
        if known is not None:
            return known
        local = name if name not in self.scope.names else self.fresh(f"{module.rsplit('.', 1)[-1]}_{name}")
        alias = "" if local == name else f" as {local}"
        line = f"from {module} import {name}{alias}" if module else f"import {name}{alias}"
        self.changes.append(_import_change(self.text, self.scope, line))
        return local

    def _known_import(self, module: str, name: str) -> str | None:
        for node in self.scope.tree.body:
            found = None
            if isinstance(node, ast.ImportFrom) and node.module == module and not node.level:
                found = next((a.asname or a.name for a in node.names if a.name == name), None)
            elif isinstance(node, ast.Import):
                wanted = module or name
                local = next((a.asname or a.name for a in node.names if a.name == wanted), None)
                found = local and (f"{local}.{name}" if module else local)
            if found and not any(u.kind == "bind" and u.name == found.split(".")[0] for u in self.scope.uses):
                return found
        return None


def apply(text: str, changes: Iterable[Change]) -> str:
    """The text after the changes. Raises NoFit where two of them overlap."""
    pieces: list[str] = []
    at = 0
    for change in sorted(changes, key=lambda c: (c.start, c.end, c.order)):
        if change.start < at:
            raise NoFit("two changes overlap")
        pieces += [text[at : change.start], change.new]
        at = change.end
    return "".join([*pieces, text[at:]])


def _moved(change: Change, by: int) -> Change:
    return Change(change.start + by, change.end + by, change.new, change.order)


def _import_change(text: str, scope: Scope, line: str) -> Change:
    """Where an import goes: sorted into the first run of imports, else below docstring, comments and __future__."""
    body = scope.tree.body
    index = 0
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        index = 1 if isinstance(body[0].value.value, str) else 0
    while index < len(body) and _module(body[index]) == "__future__":
        index += 1
    run: list[ast.stmt] = []
    for node in body[index:]:
        adjacent = not run or node.lineno == (run[-1].end_lineno or 0) + 1
        if not isinstance(node, (ast.Import, ast.ImportFrom)) or not adjacent:
            break
        run.append(node)
    key = _import_key(ast.parse(line).body[0])
    for node in run:
        if _import_key(node) > key:
            start = scope.span(node)[0]
            return Change(start, start, line + "\n", -2)
    if run:
        return _below(text, scope.span(run[-1])[1], "\n" + line)
    if index:
        return _below(text, scope.span(body[index - 1])[1], "\n\n" + line)
    start = _first_code(scope, body)
    return Change(start, start, line + "\n\n\n", -2)


def _below(text: str, at: int, new: str) -> Change:
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return Change(end, end, new, -2)


def _first_code(scope: Scope, body: list[ast.stmt]) -> int:
    node = body[0]
    decorators = getattr(node, "decorator_list", [])
    first = min([node, *decorators], key=lambda n: n.lineno)
    start = scope.span(first)[0]
    return scope.text.rfind("\n", 0, start) + 1


def _module(node: ast.stmt) -> str:
    return (node.module or "") if isinstance(node, ast.ImportFrom) else ""


def _import_key(node: ast.stmt) -> tuple[bool, str]:
    if isinstance(node, ast.ImportFrom):
        return (True, "." * node.level + (node.module or ""))
    return (False, node.names[0].name if isinstance(node, ast.Import) else "")
