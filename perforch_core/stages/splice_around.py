"""What an answer's function newly needs around it: imports, and helpers beside it or in front of it."""

from __future__ import annotations

import ast
import importlib
import re
import symtable
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from perforch_core.stages.splice_answer import Definition, Found, Frame, Misfit, statement_text

_STAR_MODULES = frozenset(
    {"bisect", "collections", "fractions", "functools", "heapq", "itertools", "math", "operator", "string", "typing"}
)
"""Modules whose `import *` is turned into the names used; they do nothing when imported here."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Replace `start` to `end` of the file's text by `text`; of several at one place the lower `order` comes first."""

    start: int
    end: int
    text: str
    order: int = 9


def surroundings(found: Found, function: str, frame: Frame) -> Iterator[Insert]:
    """The insertions that `function` (the fitted text) needs. Raises Misfit for clashes with what the file has."""
    if found.node is None:
        return
    new = ast.parse(f"if 1:\n{frame.indent}{function}" if frame.indent else function)
    needs = _Needs(_globals_of(new), _receiver_attributes(new, frame))
    module = [item for item in _helpers(found.tree.body, found) if item is not found.node]
    in_class = _class_helpers(found, module, needs, frame)
    beside = _chosen_members(in_class, needs, frame)
    before = _chosen(module, beside, needs, frame)
    imports = _needed_imports(found.tree, needs.names, frame)
    if frame.tree is None:
        if before or beside or imports:
            raise Misfit("The answer needs imports or helpers, but the file around the function does not parse.")
        return
    yield from _import_inserts(imports, frame)
    if beside:
        texts = [statement_text(found.source, found.tree, item, frame.indent, frame.unit) for item in beside]
        place = _above(frame.line, frame)
        yield Insert(place, place, _joined(beside, texts, "\n\n") + "\n\n", 2)
    if before:
        texts = [statement_text(found.source, found.tree, item, "", frame.unit) for item in before]
        place = _above(_first_line(_outermost(frame)), frame)
        yield Insert(place, place, _joined(before, texts, "\n\n\n") + "\n\n\n", 1)


@dataclass(slots=True)
class _Needs:
    """What the new code refers to: global names, and attributes of its receiver or class."""

    names: set[str]
    attributes: set[str]


# --- names ---------------------------------------------------------------------------------------------------------


def _globals_of(tree: ast.Module) -> set[str]:
    """The global names that the code refers to, those in annotations written as strings included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            top = symtable.symtable(ast.unparse(tree), "answer", "exec")
        except SyntaxError:  # a nested function may say `nonlocal`; whether it may is judged in the whole file
            return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    pending = list(top.get_children())
    while pending:
        table = pending.pop()
        pending.extend(table.get_children())
        names |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    for node in ast.walk(tree):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        for part in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                names.update(re.findall(r"[^\W\d]\w*", part.value))
    return names


def _receiver_attributes(tree: ast.AST, frame: Frame) -> set[str]:
    owner = frame.symbol.split(".")[-2] if "." in frame.symbol else ""
    receivers = {"self", "cls", owner, *frame.function.parameters[:1]} - {""}
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in receivers
    }


def _bound_by(statement: ast.stmt) -> set[str]:
    """The names that a statement binds in its scope."""
    if isinstance(statement, Definition | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in statement.names}
    names = set()
    for node in _same_scope(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, Definition | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= _bound_by(node)
    return names


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, Definition | ast.ClassDef | ast.Lambda):
            yield from _same_scope(child)


def _bound(body: Iterable[ast.stmt]) -> set[str]:
    """What a body binds; imports for type checkers only do not count, as they are not there at run time."""
    names: set[str] = set()
    for statement in body:
        if not _for_type_checkers(statement):
            names |= _bound_by(statement)
    return names


def _for_type_checkers(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test)


# --- helpers -------------------------------------------------------------------------------------------------------


def _helpers(body: list[ast.stmt], found: Found) -> list[ast.stmt]:
    """The statements of an answer that may be helpers: definitions and constants, not calls or tests."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    return [
        item
        for item in body
        if isinstance(item, kinds)
        and not any(child is found.node for child in ast.walk(item))
        and item is not found.owner
    ]


def _chosen(module: list[ast.stmt], beside: list[ast.stmt], needs: _Needs, frame: Frame) -> list[ast.stmt]:
    """The helpers that are needed and new, in the answer's order; `needs` grows by what they need in turn."""
    existing = _bound(frame.tree.body) if frame.tree else set()
    before = _globals_of(ast.Module([frame.definition], [])) if frame.definition else set()
    chosen: list[ast.stmt] = []
    growing = True
    while growing:
        growing = False
        for item in module:
            if any(item is other for other in (*chosen, *beside)) or not _bound_by(item) & (needs.names - {frame.name}):
                continue
            clash = _bound_by(item) & existing
            if clash:
                _check_clash(item, clash, before, frame)
                continue
            chosen.append(item)
            needs.names |= _globals_of(ast.Module([item], []))
            growing = True
    return sorted(chosen, key=lambda item: item.lineno)


def _check_clash(item: ast.stmt, clash: set[str], before: set[str], frame: Frame) -> None:
    """A helper that the file has already is left as it is, unless the answer means quite another by that name."""
    original = next((old for old in (frame.tree.body if frame.tree else ()) if _bound_by(old) & clash), None)
    same = original is not None and ast.dump(original) == ast.dump(item)
    if not same and not clash & before:
        name = sorted(clash)[0]
        raise Misfit(f"The answer defines {name}, but the file already has another {name}; use a different name.")


def _class_helpers(found: Found, module: list[ast.stmt], needs: _Needs, frame: Frame) -> list[ast.stmt]:
    """Members that may come into the target's class: the answer's own class' and functions beside it used as such."""
    if not frame.function.in_class:
        return []
    members = _helpers(found.owner.body, found) if found.owner else []
    loose = [item for item in module if isinstance(item, Definition) and item.name in needs.attributes - needs.names]
    return members + loose


def _chosen_members(members: list[ast.stmt], needs: _Needs, frame: Frame) -> list[ast.stmt]:
    owner = _class_of(frame)
    existing = _bound(owner.body) if owner else set()
    chosen: list[ast.stmt] = []
    growing = True
    while growing:
        growing = False
        for item in members:
            if any(item is other for other in chosen) or not _bound_by(item) & (needs.attributes - existing):
                continue
            chosen.append(item)
            needs.names |= _globals_of(ast.Module([item], []))
            needs.attributes |= _receiver_attributes(item, frame)
            growing = True
    return sorted(chosen, key=lambda item: item.lineno)


def _class_of(frame: Frame) -> ast.ClassDef | None:
    """The class directly around the target in the file."""
    classes = [node for node in ast.walk(frame.tree or ast.Module([], [])) if isinstance(node, ast.ClassDef)]
    around = [node for node in classes if node.lineno <= frame.line <= (node.end_lineno or 0)]
    return max(around, key=lambda node: node.lineno, default=None)


def _joined(items: list[ast.stmt], texts: list[str], gap: str) -> str:
    """The texts with `gap` between definitions; constants that follow each other stay together."""
    out = texts[0]
    for last, item, text in zip(items, items[1:], texts[1:], strict=False):
        small = not isinstance(last, Definition | ast.ClassDef) and not isinstance(item, Definition | ast.ClassDef)
        out += ("\n" if small else gap + "\n" * 0) + text
    return out


# --- places --------------------------------------------------------------------------------------------------------


def _first_line(statement: ast.stmt) -> int:
    return min([statement.lineno, *(item.lineno for item in getattr(statement, "decorator_list", []))])


def _outermost(frame: Frame) -> ast.stmt:
    """The top-level statement that holds the target."""
    assert frame.tree is not None
    for statement in frame.tree.body:
        if _first_line(statement) <= frame.line <= (statement.end_lineno or statement.lineno):
            return statement
    raise Misfit(f"{frame.name} is not where it was.")


def _line_start(line: int, frame: Frame) -> int:
    """The offset at which a line (1-based) starts, after a byte order mark."""
    place = 0
    for _ in range(line - 1):
        place = frame.text.index("\n", place) + 1
    return place + (1 if place == 0 and frame.text.startswith("\ufeff") else 0)


def _above(line: int, frame: Frame) -> int:
    """The start of a line, or of the comments directly above it (but not of a file's first lines for its readers)."""
    lines = frame.text.removeprefix("\ufeff").split("\n")
    while line > 1 and lines[line - 2].lstrip().startswith("#"):
        if line - 1 <= 2 and re.search(r"^#!|coding[:=]", lines[line - 2]):
            break
        line -= 1
    return _line_start(line, frame)


# --- imports -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class _Import:
    """`from module import name as alias`, or with `name` "" `import module as alias`; dots count in `module`."""

    module: str
    name: str
    alias: str

    @property
    def binds(self) -> str:
        return self.alias or self.name or self.module.split(".")[0]

    @property
    def text(self) -> str:
        what = self.name or self.module
        renamed = f"{what} as {self.alias}" if self.alias else what
        return renamed if self.name else f"import {renamed}"


def _imports(statements: Iterable[ast.stmt]) -> Iterator[_Import]:
    for statement in statements:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield _Import(alias.name, "", alias.asname or "")
        elif isinstance(statement, ast.ImportFrom) and statement.module != "__future__":
            module = "." * statement.level + (statement.module or "")
            for alias in statement.names:
                yield _Import(module, alias.name, alias.asname or "")


def _needed_imports(tree: ast.Module, names: set[str], frame: Frame) -> list[_Import]:
    body = frame.tree.body if frame.tree else []
    there = set(_imports(node for node in _top_level(body) if isinstance(node, ast.Import | ast.ImportFrom)))
    bound = _bound(body)
    roots = {item.binds for item in there if not item.name and not item.alias}
    # Also from inside the answer's `try: import fast except ImportError`, as far as it is used.
    wanted = list(dict.fromkeys(_spelled_out(_imports(_top_level(tree.body)), names, there, frame)))
    needed = []
    for item in wanted:
        if item.binds not in names or item in there:
            continue
        if item.binds in bound and not (not item.name and not item.alias and item.binds in roots):
            if item.module.rsplit(".", 1)[-1] == frame.module:
                continue  # the file itself, as seen from a test
            raise Misfit(f"The answer imports {item.binds}, but in the file that name means something else.")
        needed.append(item)
    return needed


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Import statements outside functions and classes, those for type checkers left out."""
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.If | ast.Try) and not _for_type_checkers(statement):
            yield from _top_level(child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt))


def _spelled_out(items: Iterable[_Import], names: set[str], there: set[_Import], frame: Frame) -> Iterator[_Import]:
    """The imports, `from m import *` replaced by the names used."""
    bound = _bound(frame.tree.body) if frame.tree else set()
    for item in items:
        if item.name != "*":
            yield item
        elif item in there:
            continue
        elif item.module in _STAR_MODULES:
            public = set(_public(item.module))
            yield from (_Import(item.module, name, "") for name in sorted(public & names - bound - {frame.name}))
        else:
            raise Misfit(f"The answer imports everything from {item.module}; name what it needs instead.")


def _public(module: str) -> list[str]:
    loaded = importlib.import_module(module)
    return getattr(loaded, "__all__", None) or [name for name in dir(loaded) if not name.startswith("_")]


def _import_inserts(imports: list[_Import], frame: Frame) -> Iterator[Insert]:
    assert frame.tree is not None
    limit = _first_line(_outermost(frame))
    block = [s for s in frame.tree.body if isinstance(s, ast.Import | ast.ImportFrom) and s.lineno < limit]
    groups: dict[str, list[_Import]] = {}
    lines: list[tuple[bool, str]] = []
    for item in imports:
        if item.name:
            groups.setdefault(item.module, []).append(item)
        else:
            lines.append((_standard(item.module), item.text))
    for module, items in groups.items():
        line = _extendable(module, block, frame)
        names = ", ".join(item.text for item in sorted(items))
        if line is not None:
            end = _line_start(line, frame) + len(frame.text.removeprefix("\ufeff").split("\n")[line - 1])
            yield Insert(end, end, f", {names}", 0)
        else:
            lines.append((_standard(module), f"from {module} import {names}"))
    for standard in (True, False):
        texts = [text for is_standard, text in lines if is_standard is standard]
        if texts:
            yield _block_insert("\n".join(texts), standard, block, frame)


def _standard(module: str) -> bool:
    return module.split(".")[0] in sys.stdlib_module_names


def _extendable(module: str, block: list[ast.Import | ast.ImportFrom], frame: Frame) -> int | None:
    """The line of a plain `from module import ...` that further names can be added to."""
    lines = frame.text.removeprefix("\ufeff").split("\n")
    for statement in block:
        if not isinstance(statement, ast.ImportFrom) or statement.lineno != statement.end_lineno:
            continue
        plain = re.fullmatch(r"from [\w.]+ import [\w, ]+", lines[statement.lineno - 1])
        if plain and "." * statement.level + (statement.module or "") == module and len(plain[0]) < 80:
            return statement.lineno
    return None


def _block_insert(text: str, standard: bool, block: list[ast.Import | ast.ImportFrom], frame: Frame) -> Insert:
    """Where a new import line goes: after the imports of its kind, else beside the others, else on top of the file."""
    future = [s for s in block if isinstance(s, ast.ImportFrom) and s.module == "__future__"]
    plain = [s for s in block if s not in future]
    own = [s for s in plain if _standard(_module_of(s)) is standard]
    order = 0 if standard else 1
    if own or (plain and not standard):
        after = (own or plain)[-1].end_lineno or 1
        gap = "" if own else "\n"
        return _after_line(after, gap + text, frame, order)
    if plain:
        place = _above(plain[0].lineno, frame)
        return Insert(place, place, text + "\n\n", order)
    assert frame.tree is not None
    first = frame.tree.body[0]
    docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    if future or docstring:
        after = (future[-1] if future else first).end_lineno or 1
        lines = frame.text.split("\n")
        following = "\n" if after < len(lines) and lines[after].strip() else ""
        return _after_line(after, "\n" + text + following, frame, order)
    place = _above(_first_line(first), frame)
    return Insert(place, place, text + "\n\n\n", order)


def _module_of(statement: ast.Import | ast.ImportFrom) -> str:
    if isinstance(statement, ast.Import):
        return statement.names[0].name
    return "." * statement.level + (statement.module or "")


def _after_line(line: int, text: str, frame: Frame, order: int) -> Insert:
    end = frame.text.find("\n", _line_start(line, frame))
    if end < 0:
        return Insert(len(frame.text), len(frame.text), "\n" + text, order)
    return Insert(end + 1, end + 1, text + "\n", order)
