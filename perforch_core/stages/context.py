"""What a model is shown of the code around a target: the rest of its file, what it imports from the project, its tests.

Small files are shown whole. Of larger ones, and of other files, only what the target names, directly or through what
it names, nearest first, until the room is used up; the rest as signatures.
"""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from perforch_core.task import Target

WHOLE_FILE = 6000
"""Files up to this many characters are shown whole, and of larger ones about so much."""

IMPORTED = 3000
"""Characters of other project files that are shown at most."""

TESTS = 5000
"""Characters of test code that are shown at most."""

_SHORT = 200
_UNRELATED = 6
"""One part in so many goes to the signatures of what the target does not name."""

_MOST_BYTES = 1 << 20
_WORD = re.compile(r"[^\W\d]\w*")
_HOPS = 3
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Code from one file, `path` relative to the project's root."""

    path: str
    code: str


def rest_of_file(target: Target) -> str:
    """The target's file with a comment in its place, "" where it stands alone. Line ends are "\\n"."""
    before, after = _lf(target.text[: target.start]), _lf(target.text[target.end :])
    if not (before + after).strip():
        return ""
    rest = before + _place(target) + after
    if len(rest) <= WHOLE_FILE:
        return rest.strip("\n")
    indent = before[before.rfind("\n") + 1 :]
    stub = before + f"def {_STUB}(): pass" + after if not indent.strip() else before + after
    tree = _parsed(stub)
    if tree is None:
        return _lines_with_names(rest)
    text = _outline(_Source(stub, tree), _named_in(target.code), WHOLE_FILE)
    return re.sub(rf"def {_STUB}\(\):( pass|\n +pass| \.\.\.)", _place(target), text)


_STUB = "perforch_the_target"


def _place(target: Target) -> str:
    return f"# ({target.symbol} stands here)"


def imported(target: Target) -> list[Piece]:
    """Definitions from other files of the project that the target needs: those it names, and those they name."""
    before, after = _lf(target.text[: target.start]), _lf(target.text[target.end :])
    own = _parsed(_lf(target.text)) or _parsed(before + f"def {_STUB}(): pass" + after)
    if own is None:
        return []
    source = _Source(_lf(target.text), own)
    wanted = _named_in(target.code) | _class_names(source, target.symbol)
    for node in _reached(source, wanted, hops=1):
        wanted |= _names(node)
    pieces: list[Piece] = []
    left = IMPORTED
    for path, names in _needed_files(target, own, wanted):
        code = _definitions(path, names, left)
        if code:
            pieces.append(Piece(path=path.relative_to(target.root).as_posix(), code=code))
            left -= len(code)
    return pieces


def tests(root: Path, names: Sequence[str], *, limit: int = TESTS) -> list[Piece]:
    """The source of tests given by names such as "tests/test_cart.py::CartTest::test_total[1-2]", with their helpers.

    Whole tests only, the first ones first, up to about `limit` characters. What cannot be found is left out.
    """
    wanted: dict[str, list[str]] = {}
    for name in names:
        path, _, inner = name.partition("::")
        inner = inner.split("[", 1)[0]
        if inner and inner not in wanted.setdefault(path, []):
            wanted[path].append(inner)
    pieces = []
    for path, inner_names in wanted.items():
        source = _read(root / path, root)
        if source is None:
            continue
        code = _tests_of(source, inner_names, limit)
        limit -= len(code)
        if code:
            pieces.append(Piece(path=path, code=code))
    return pieces


# --- one file ------------------------------------------------------------------------------------------------------


class _Source:
    """A file's text with its tree. Lines are cut at "\\n" alone, as the tree counts them."""

    def __init__(self, text: str, tree: ast.Module) -> None:
        self.tree = tree
        self.lines = text.split("\n")

    def code(self, node: ast.stmt) -> str:
        """The source of a statement, decorators included, indented as it stands."""
        return "\n".join(self.lines[_first_line(node) - 1 : node.end_lineno])

    def header(self, node: _Definition) -> str:
        """A definition up to its colon, decorators included."""
        start, body = _first_line(node), node.body[0].lineno
        if body == node.lineno:
            return self.lines[start - 1 : body][-1][: node.body[0].col_offset].rstrip()
        return "\n".join(self.lines[start - 1 : _first_line(node.body[0]) - 1]).rstrip()


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _names_of(node: ast.stmt) -> set[str]:
    """The module-level names a statement defines."""
    if isinstance(node, _Definition):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    if isinstance(node, ast.If | ast.Try):
        return set().union(*(_names_of(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)))
    return set()


def _reached(source: _Source, words: set[str], *, hops: int = _HOPS) -> list[ast.stmt]:
    """The module-level definitions named by `words`, then those that these name, and so on."""
    found: list[ast.stmt] = []
    todo = [node for node in source.tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    for _ in range(hops):
        near = [node for node in todo if _names_of(node) & words]
        if not near:
            break
        found += near
        todo = [node for node in todo if node not in near]
        words = set().union(*map(_names, near))
    return found


def _outline(source: _Source, words: set[str], limit: int) -> str:
    """The file in its own order: what `words` reach in full while there is room, the rest as signatures."""
    whole: set[ast.stmt] = set()
    room = limit
    for node in _reached(source, words):
        size = len(source.code(node))
        if size <= room and not _holds_stub(node):
            whole.add(node)
            room -= size
    room = min(room, limit // _UNRELATED)
    parts: list[str] = []
    for node in source.tree.body:
        text = source.code(node) if node in whole else _signature(source, node, words)
        needed = node in whole or _holds_stub(node) or isinstance(node, ast.Import | ast.ImportFrom)
        if not text or (not needed and len(text) > room):
            continue
        room -= 0 if needed else len(text)
        apart = isinstance(node, _Definition) and bool(parts)
        parts.append("\n" + text if apart else text)
    return "\n".join(parts)


def _holds_stub(node: ast.stmt) -> bool:
    return any(isinstance(n, ast.FunctionDef) and n.name == _STUB for n in ast.walk(node))


def _signature(source: _Source, node: ast.stmt, words: set[str]) -> str:
    """A statement in short: a function's header, a class with its fields and headers, a short assignment."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return source.code(node) if node.name == _STUB else source.header(node) + " ..."
    if isinstance(node, ast.ClassDef):
        inner = [_member(source, child, words) for child in node.body]
        return "\n".join([source.header(node), *filter(None, inner)])
    if isinstance(node, ast.Import | ast.ImportFrom):
        return source.code(node)
    if _names_of(node):
        text = source.code(node)
        return text if len(text) <= _SHORT else ""
    return ""


def _member(source: _Source, node: ast.stmt, words: set[str]) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        called = {f"{owner}.{node.name}" for owner in ("self", "cls", "super")} & words
        important = called or node.name in ("__init__", "__new__", "__post_init__")
        if important and len(source.code(node)) <= WHOLE_FILE // 4:
            return source.code(node)
    return _signature(source, node, words)


def _lines_with_names(rest: str) -> str:
    """For files that do not parse: lines that define names at module or class level, those nearest to the target."""
    wanted = ("import ", "from ", "def ", "class ", "@", "async def ")
    kept = []
    for line in rest.split("\n"):
        bare = line.lstrip()
        level = len(line) - len(bare)
        if level <= 4 and (bare.startswith(wanted) or (level == 0 and "=" in bare) or "stands here)" in bare):
            kept.append(line)
    place = next((number for number, line in enumerate(kept) if "stands here)" in line), 0)
    # Imports first, then by distance from the target.
    order = sorted(range(len(kept)), key=lambda n: (not kept[n].startswith(("import ", "from ")), abs(n - place)))
    room = itertools.accumulate(len(kept[number]) + 1 for number in order)
    shown = sorted(number for number, used in zip(order, room, strict=True) if used <= WHOLE_FILE)
    return "\n".join(kept[number] for number in shown)


# --- other files ---------------------------------------------------------------------------------------------------


def _needed_files(target: Target, tree: ast.Module, words: set[str]) -> Iterator[tuple[Path, set[str]]]:
    """The project files that the file imports, with the names needed from each."""
    found: dict[Path, set[str]] = {}
    for path, names in _imports(target.path, target.root, tree, words):
        if path != target.path.resolve():
            found.setdefault(path, set()).update(names)
    yield from found.items()


def _imports(
    file: Path, root: Path, tree: ast.Module, words: set[str], hops: int = 2
) -> Iterator[tuple[Path, set[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) in words:
                    yield from _from_module(file, root, node, alias.name, words, hops)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                names = _attributes(alias.asname or alias.name, words)
                path = _module_file(file, root, 0, alias.name) if names else None
                if path is not None:
                    yield path, names


def _from_module(
    file: Path, root: Path, node: ast.ImportFrom, name: str, words: set[str], hops: int
) -> Iterator[tuple[Path, set[str]]]:
    """`name` from a module: a definition there, a submodule, or passed on from yet another module."""
    submodule = _module_file(file, root, node.level, ".".join(filter(None, (node.module, name))))
    if submodule is not None:
        bound = next(alias.asname or name for alias in node.names if alias.name == name)
        yield submodule, _attributes(bound, words)
        return
    path = _module_file(file, root, node.level, node.module or "")
    source = _read(path, root) if path else None
    if path is None or source is None:
        return
    if any(name in _names_of(statement) for statement in source.tree.body):
        yield path, {name}
    elif hops:
        yield from _imports(path, root, source.tree, {name}, hops - 1)


def _module_file(file: Path, root: Path, level: int, dotted: str) -> Path | None:
    """The project's file of a module, None for those from elsewhere."""
    folder = file.resolve().parent
    root = root.resolve()
    if level:
        folders = [folder.parents[level - 2] if level > 1 else folder] if level - 2 < len(folder.parents) else []
    else:
        above = itertools.takewhile(lambda f: f.is_relative_to(root), (folder, *folder.parents))
        folders = [*above, root / "src"]
    parts = dotted.split(".") if dotted else []
    for base in folders:
        place = base.joinpath(*parts)
        for path in (place.with_suffix(".py") if parts else place / "__init__.py", place / "__init__.py"):
            if path.is_file() and path.resolve().is_relative_to(root):
                return path.resolve()
    return None


def _definitions(path: Path, names: set[str], limit: int) -> str:
    """The definitions of `names` in a file with what they name there, in the file's order, whole or in short."""
    source = _read(path, path.parent)
    if source is None:
        return ""
    shown: dict[ast.stmt, str] = {}
    for node in _reached(source, names):
        text = source.code(node)
        if len(text) > WHOLE_FILE // 4:
            text = _signature(source, node, names)
        if text and len(text) <= limit:
            shown[node] = text
            limit -= len(text)
    return "\n\n".join(shown[node] for node in source.tree.body if node in shown)


def _tests_of(source: _Source, names: Iterable[str], limit: int) -> str:
    """Tests by their names inside the file, with their imports left out and their helpers before them."""
    tests: dict[ast.stmt, str] = {}
    words: set[str] = set()
    for name in names:
        *owners, last = name.split("::")
        top = next(
            (n for n in source.tree.body if isinstance(n, _Definition) and n.name == (owners or [last])[0]), None
        )
        inner = _inside(top, [*owners[1:], last]) if owners and top else top
        if top is None or inner is None:
            continue
        text = source.code(inner)
        if len(text) > limit and tests:
            break
        limit -= len(text)
        words |= _names(inner) | {argument.arg for argument in _arguments(inner)}
        if inner is not top and top not in tests:
            tests[top] = source.header(top)
            words |= _set_up(source, top, tests)
        tests[inner] = text
    helpers = [n for n in _reached(source, words) if n not in tests and not _is_test(n)]
    kept: list[ast.stmt] = []
    for node in helpers:
        size = len(source.code(node))
        if size <= limit:
            kept.append(node)
            limit -= size
    placed = [(node.lineno, source.code(node)) for node in kept]
    placed += [(node.lineno, text) for node, text in tests.items()]
    return "\n\n".join(text for _, text in sorted(placed))


def _inside(node: ast.stmt, names: Sequence[str]) -> ast.stmt | None:
    for name in names:
        body = getattr(node, "body", [])
        found = next((n for n in body if isinstance(n, _Definition) and n.name == name), None)
        if found is None:
            return None
        node = found
    return node


def _set_up(source: _Source, owner: ast.stmt, tests: dict[ast.stmt, str]) -> set[str]:
    """Take the fixtures of a test class along."""
    words: set[str] = set()
    for node in getattr(owner, "body", []):
        if isinstance(node, ast.FunctionDef) and (node.name in ("setUp", "setup_method") or _is_fixture(node)):
            tests[node] = source.code(node)
            words |= _names(node) | {argument.arg for argument in _arguments(node)}
    return words


def _is_fixture(node: ast.FunctionDef) -> bool:
    return any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, _Definition) and node.name.lower().startswith("test")


# --- text ----------------------------------------------------------------------------------------------------------


def _class_names(source: _Source, symbol: str) -> set[str]:
    """What the target's class names: its bases, the types of its fields, how it is made."""
    names: set[str] = set()
    body: Sequence[ast.stmt] = source.tree.body
    for name in symbol.split(".")[:-1]:
        owner = next((n for n in body if isinstance(n, ast.ClassDef) and n.name == name), None)
        if owner is None:
            break
        body = owner.body
        fields = [n for n in body if isinstance(n, ast.AnnAssign) or getattr(n, "name", "") == "__init__"]
        names |= set().union(*map(_names, owner.bases), *map(_names, fields))
    return names


def _named_in(code: str) -> set[str]:
    """The names in a piece of code; where it does not parse, its words."""
    tree = _parsed(textwrap.dedent(code)) or _parsed("if 1:\n " + code)
    return set(_WORD.findall(code)) if tree is None else _names(tree)


def _names(node: ast.AST) -> set[str]:
    """The names that a tree uses, "a.b" for attributes of names, annotations in quotes included; not words of texts,
    and not its own variables."""
    names: set[str] = set()
    own: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            (names if isinstance(part.ctx, ast.Load) else own).add(part.id)
        elif isinstance(part, ast.arg):
            own.add(part.arg)
        elif isinstance(part, ast.Attribute):
            owner = _dotted(part.value)
            names |= {f"{owner}.{part.attr}"} if owner else set()
        for quoted in (getattr(part, "annotation", None), getattr(part, "returns", None)):
            if isinstance(quoted, ast.Constant) and isinstance(quoted.value, str):
                names |= set(_WORD.findall(quoted.value))
    return {name for name in names if name.partition(".")[0] not in own or name.startswith(("self.", "cls."))}


def _dotted(node: ast.expr) -> str:
    """The text of "a.b.c" and of "super()" as "super", "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return "super" if isinstance(node, ast.Call) and _dotted(node.func) == "super" else ""


def _attributes(owner: str, names: set[str]) -> set[str]:
    """What is used of a module that is bound to `owner`."""
    return {name.rsplit(".", 1)[1] for name in names if name.rpartition(".")[0] == owner}


def _arguments(node: ast.stmt) -> list[ast.arg]:
    """A test's parameters: they may name fixtures."""
    return node.args.args if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else []


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")


def _read(path: Path, root: Path) -> _Source | None:
    """A Python file inside `root`, None where it is not there, too large or does not parse."""
    try:
        if not path.resolve().is_relative_to(root.resolve()) or path.stat().st_size > _MOST_BYTES:
            return None
        text = _lf(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    tree = _parsed(text)
    return None if tree is None else _Source(text, tree)


def _parsed(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
