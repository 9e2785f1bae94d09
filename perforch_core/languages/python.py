"""Python: finding functions in a file. Works on files that do not parse, as far as the tree-sitter grammar recovers."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ast_grep_py import SgNode, SgRoot

from perforch_core.languages.interface import Function

NAME = "python"
EXTENSIONS = (".py", ".pyw")


def find_functions(text: str) -> list[Function]:
    """Every function and method of a file, nested ones included, in the order of their starts."""
    root = SgRoot(text, NAME).root()
    return sorted(_walk(root, (), in_class=False, in_function=False), key=lambda f: f.start)


def _walk(node: SgNode, path: tuple[str, ...], *, in_class: bool, in_function: bool) -> Iterator[Function]:
    for child in node.children():
        kind = child.kind()
        if kind == "function_definition":
            name = _field_text(child, "name")
            yield _function(child, (*path, name), in_class=in_class, in_function=in_function)
            yield from _walk(child, (*path, name), in_class=False, in_function=True)
        elif kind == "class_definition":
            name = _field_text(child, "name")
            yield from _walk(child, (*path, name), in_class=True, in_function=in_function)
        elif kind not in ("expression_statement", "string", "comment"):
            yield from _walk(child, path, in_class=in_class, in_function=in_function)


def _field_text(node: SgNode, name: str) -> str:
    found = node.field(name)
    return found.text() if found else "?"


def _function(node: SgNode, path: tuple[str, ...], *, in_class: bool, in_function: bool) -> Function:
    parent = node.parent()
    outer = parent if parent is not None and parent.kind() == "decorated_definition" else node
    body = node.field("body")
    header = node.range().start
    return Function(
        symbol=".".join(path),
        start=outer.range().start.index,
        header=header.index,
        body=body.range().start.index if body else node.range().end.index,
        end=node.range().end.index,
        line=header.line + 1,
        parameters=tuple(_parameter_names(node)),
        is_async=any(c.kind() == "async" for c in node.children()),
        is_generator=body is not None and _yields(body),
        in_class=in_class,
        nested=in_function,
        docstring=_docstring(body),
    )


def _parameter_names(node: SgNode) -> Iterator[str]:
    parameters = node.field("parameters")
    for child in parameters.children() if parameters else ():
        if child.kind() == "identifier":
            yield child.text()
        elif child.kind() in (
            "typed_parameter",
            "default_parameter",
            "typed_default_parameter",
            "list_splat_pattern",
            "dictionary_splat_pattern",
        ):
            name = child.field("name") or next(iter(child.find_all(kind="identifier")), None)
            if name is not None:
                yield name.text()


def _yields(body: SgNode) -> bool:
    pending = [body]
    while pending:
        node = pending.pop()
        if node.kind() == "yield":
            return True
        pending.extend(c for c in node.children() if c.kind() not in ("function_definition", "lambda"))
    return False


def _docstring(body: SgNode | None) -> str:
    children = body.children() if body else []
    if not children or children[0].kind() != "expression_statement":
        return ""
    try:
        value = ast.literal_eval(children[0].text())
    except (ValueError, SyntaxError):
        return ""
    return value if isinstance(value, str) else ""


def syntax_problem(text: str) -> str | None:
    """What is wrong with the file in words with its line, or None. Judged by the Python that runs PerfOrch."""
    try:
        ast.parse(text)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except ValueError as error:  # null bytes
        return str(error)
    return None


def new_state(before: str, after: str) -> list[str]:
    """What a new version of a file keeps between calls that the old one did not, in words for the evidence.

    Caches (functools.cache and the like), `global` statements, and new variables at module level that are not plain
    constants. Empty where either text does not parse.
    """
    try:
        old, new = _state(ast.parse(before)), _state(ast.parse(after))
    except (SyntaxError, ValueError):
        return []
    return [words for words in new if words not in old]


_CACHES = frozenset({"cache", "lru_cache", "cached_property", "cached"})


def _state(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = {_last_name(decorator) for decorator in node.decorator_list}
            if names & _CACHES:
                found.append(f"{node.name} keeps its results between calls (a cache)")
        elif isinstance(node, ast.Global):
            found += [f"writes the global variable {name}" for name in node.names]
    for node in tree.body:
        if isinstance(node, ast.Assign) and not _is_constant(node.value):
            found += [f"new variable of the module: {t.id}" for t in node.targets if isinstance(t, ast.Name)]
    return found


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):  # re.compile("..."), frozenset({...})
        return all(map(_is_constant, node.args)) and _last_name(node) in ("compile", "frozenset", "tuple")
    if isinstance(node, (ast.Tuple, ast.Set, ast.List)):
        return not isinstance(node, ast.List) and all(map(_is_constant, node.elts))
    return isinstance(node, (ast.Constant, ast.UnaryOp))
