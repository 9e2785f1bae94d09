"""Finding the target's function in an answer and fitting it to the place of the original."""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perforch_core.languages.interface import Function
from perforch_core.languages.python import find_functions

Definition = ast.FunctionDef | ast.AsyncFunctionDef


class Misfit(Exception):
    """The answer cannot be put in the target's place; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The place to fill, in the file's text with "\\n" line ends. `unit` is one step of indentation.

    `tree` is the file's syntax tree (with a stub for a target that does not parse), None if it has none.
    """

    text: str
    name: str
    symbol: str
    module: str
    function: Function
    start: int
    end: int
    indent: str
    unit: str
    parses: bool
    tree: ast.Module | None

    @property
    def line(self) -> int:
        """The 1-based line on which the target starts, decorators included."""
        return self.text.count("\n", 0, self.start) + 1

    @property
    def definition(self) -> Definition | None:
        """The original's own syntax tree, if it has one."""
        if not self.parses or self.tree is None:
            return None
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, Definition)]
        return next((node for node in nodes if node.lineno == self.function.line and node.name == self.name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The function in an answer. `node` is None when the answer is only a body, which is then all of `source`.

    `owner` is the answer's class around it.
    """

    source: str
    tree: ast.Module
    node: Definition | None
    owner: ast.ClassDef | None = None


def parsed(text: str) -> ast.Module | None:
    """The syntax tree, or None. Never raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text.removeprefix("\ufeff"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def unit_of(text: str, function: Function, indent: str) -> str:
    """One step of indentation as the function uses it, else as the file does, else four spaces."""
    line_start = text.rfind("\n", 0, function.body) + 1
    inner = text[line_start : function.body]
    if inner.startswith(indent) and not inner.strip() and len(inner) > len(indent):
        return inner[len(indent) :]
    first = re.search(r"^(\t| {2,8})\S", text, re.MULTILINE)
    return first[1] if first else "    "


# --- finding -------------------------------------------------------------------------------------------------------


def found_in(answer: str, frame: Frame) -> Found:
    """The function in the answer. Raises Misfit."""
    source = answer.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff").strip("\n")
    if not source.strip():
        raise Misfit("The answer holds no code.")
    source, tree = _parsed_answer(source, frame)
    places = list(_definitions(tree))
    same = [place for place in places if place[0].name == frame.name and not _decorated(place[0], "overload")]
    node, owner = _best(same, frame)
    if node is None:
        body = _lambda_body(tree, source, frame)
        if body:
            source, tree = body, ast.parse(body)
        elif not _is_body(tree, places, frame):
            source = _renamed(source, tree, places, frame)
            tree = ast.parse(source)
            node, owner = _best([place for place in _definitions(tree) if place[0].name == frame.name], frame)
    found = Found(source=source, tree=tree, node=node, owner=owner)
    if node is not None:
        _check_parameters(node, owner is not None, frame)
    return found


def _parsed_answer(source: str, frame: Frame) -> tuple[str, ast.Module]:
    lines = source.split("\n")
    inner = next((line for line in lines[1:] if line.strip()), "")
    variants = [
        *([_levelled(source, frame)] if frame.function.in_class else []),
        _first_line_stripped(source, frame),
        source,
        _dedented(source),
        _levelled(source, frame),
        textwrap.dedent(source),
        lines[0].strip() + "\n" + textwrap.dedent("\n".join(lines[1:])),
        textwrap.dedent(inner[: len(inner) - len(inner.lstrip())] + source),
    ]
    for variant in variants:
        tree = parsed(variant)
        if tree is not None:
            return variant, tree
    try:
        ast.parse(textwrap.dedent(source))
    except SyntaxError as error:
        raise Misfit(f"The answer does not parse: line {error.lineno}: {error.msg}.") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Misfit(f"The answer does not parse: {error or type(error).__name__}.") from None
    raise Misfit("The answer does not parse.")


def _first_line_stripped(source: str, frame: Frame) -> str:
    """A method whose first line lost the indentation that its other lines have, made even; else `source` itself."""
    tree = parsed(source)
    first = tree.body[0] if tree and tree.body else None
    if not frame.indent or not isinstance(first, Definition) or first.lineno != 1 or first.body[0].lineno == 1:
        return source
    if first.body[0].col_offset != len(frame.indent + frame.unit):
        return source
    assert tree is not None
    kept = inside_strings(source, tree)
    lines = enumerate(source.split("\n"), 1)
    return "\n".join(line if number in kept else line.removeprefix(frame.indent) for number, line in lines)


def _dedented(source: str) -> str:
    """Indented code without its first line's indentation; unlike textwrap, it leaves the insides of strings alone."""
    wrapped = f"if 1:\n{source}"
    tree = parsed(wrapped)
    if tree is None:
        return source
    kept = inside_strings(wrapped, tree)
    own = source[: len(source) - len(source.lstrip())].rpartition("\n")[2]
    lines = enumerate(source.split("\n"), 2)
    return "\n".join(line if number in kept else line.removeprefix(own) for number, line in lines)


def _levelled(source: str, frame: Frame) -> str:
    """Imports or helpers at the margin, then the method as it is indented in its class: all at the margin.

    After a helper such an answer parses as it is, with the method as a function inside of the helper.
    """
    start = re.search(rf"^[ \t]+(?:@.*\n(?:[ \t]+.*\n)*?[ \t]+)?(?:async +)?def +{frame.name}\b", source, re.MULTILINE)
    if start is None:
        return source
    head, rest = source[: start.start()], source[start.start() :]
    tree = parsed(head)
    if tree is None or not tree.body or isinstance(tree.body[-1], ast.ClassDef):
        return source
    if any(isinstance(node, Definition) and node.name == frame.name for node in tree.body):
        return source
    return head + _dedented(rest)


def _definitions(node: ast.AST, owner: ast.ClassDef | None = None) -> Iterator[tuple[Definition, ast.ClassDef | None]]:
    """Every function with the class directly around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield child, owner
            yield from _definitions(child)
        else:
            yield from _definitions(child, child if isinstance(child, ast.ClassDef) else owner)


def _best(
    places: list[tuple[Definition, ast.ClassDef | None]], frame: Frame
) -> tuple[Definition | None, ast.ClassDef | None]:
    """Of several functions with the target's name the one in the target's class, then the one decorated like it."""
    if not places:
        return None, None
    outer = frame.symbol.split(".")[-2] if "." in frame.symbol else ""
    original = frame.definition
    wanted = [ast.dump(item) for item in original.decorator_list] if original else []

    def fit(place: tuple[Definition, ast.ClassDef | None]) -> tuple[bool, bool, bool, int]:
        node, owner = place
        decorators = [ast.dump(item) for item in node.decorator_list]
        inside = owner is not None if frame.function.in_class else owner is None
        return (owner is not None and owner.name == outer, inside, decorators == wanted, node.lineno)

    return max(places, key=fit)


def _decorated(node: Definition, name: str) -> bool:
    return any(_last_name(decorator) == name for decorator in node.decorator_list)


def _last_name(decorator: ast.expr) -> str:
    """`cache` of @cache, @functools.cache and @cache(...)."""
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _lambda_body(tree: ast.Module, source: str, frame: Frame) -> str:
    """The body that does what `name = lambda ...: ...` says, or ""."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            name, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            name, value = statement.target, statement.value
        else:
            continue
        if not isinstance(name, ast.Name) or name.id != frame.name or not isinstance(value, ast.Lambda):
            continue
        if len(tree.body) > 1:
            raise Misfit(
                f"Write {frame.name} as a function with def; a lambda with more code around it cannot be placed."
            )
        original = frame.definition
        if original and _names(value.args) != _names(original.args):
            raise Misfit(f"The answer changes the parameters of {frame.name}.")
        segment = ast.get_source_segment(source, value.body) or ast.unparse(value.body)
        return f"return ({segment})" if "\n" in segment else f"return {segment}"
    return ""


def _is_body(tree: ast.Module, places: list[tuple[Definition, ast.ClassDef | None]], frame: Frame) -> bool:
    """The answer is the inside of the function: it returns or yields at its own level, or works on the parameters."""
    own = list(_own_level(tree))
    if any(isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) for node in own):
        return True
    if places or any(isinstance(n, ast.Name) and n.id == frame.name for n in own):
        return False  # code that calls the function is an example of its use
    parameters = set(frame.function.parameters)
    return any(isinstance(n, ast.Raise) or (isinstance(n, ast.Name) and n.id in parameters) for n in own)


def _own_level(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition | ast.ClassDef | ast.Lambda):
            continue
        yield child
        yield from _own_level(child)


def _renamed(source: str, tree: ast.Module, places: list[tuple[Definition, ast.ClassDef | None]], frame: Frame) -> str:
    """The answer with its one function renamed to the target's name. Raises Misfit where it is not clear which."""
    outer = [node for node in tree.body if isinstance(node, Definition)]
    outer += [n for c in tree.body if isinstance(c, ast.ClassDef) for n in c.body if isinstance(n, Definition)]
    plain = [node for node in outer if not node.name.startswith(("test_", "__")) and node.name != "main"]
    named = [node for node in plain if re.search(rf"(?:^|_){re.escape(frame.name.strip('_'))}(?:_|$|\d)", node.name)]
    choice = plain if len(plain) == 1 else named
    if len(choice) != 1:
        names = ", ".join(sorted({node.name for node, _ in places})[:5])
        defines = f"it defines {names}" if names else "it defines no function"
        raise Misfit(f"The answer does not define {frame.name}: {defines}.")
    old = choice[0].name
    original = frame.definition
    if original and _names(choice[0].args) != _names(original.args):
        raise Misfit(f"The answer defines {old} with other parameters, not {frame.name}.")
    lines = source.split("\n")
    for line, column in sorted(_mentions(tree, old, lines), reverse=True):
        raw = lines[line - 1].encode()
        assert raw[column:].startswith(old.encode())
        lines[line - 1] = (raw[:column] + frame.name.encode() + raw[column + len(old.encode()) :]).decode()
    return "\n".join(lines)


def _mentions(tree: ast.Module, name: str, lines: list[str]) -> Iterator[tuple[int, int]]:
    """(line, column in bytes) of every place that means the function `name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name:
            yield node.lineno, node.col_offset
        elif isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.value, ast.Name):
            if node.value.id in ("self", "cls") and node.end_lineno and node.end_col_offset:
                yield node.end_lineno, node.end_col_offset - len(name.encode())
        elif isinstance(node, Definition) and node.name == name:
            match = re.compile(r"(?:async\s+)?def\s+").match(lines[node.lineno - 1].encode().decode(), node.col_offset)
            if match:
                yield node.lineno, len(lines[node.lineno - 1][: match.end()].encode())


# --- parameters ----------------------------------------------------------------------------------------------------


def _names(arguments: ast.arguments) -> list[str]:
    names = [item.arg for item in (*arguments.posonlyargs, *arguments.args)]
    names += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    names += sorted(f"{item.arg}=" for item in arguments.kwonlyargs)
    return names + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])


def _check_parameters(node: Definition, in_class: bool, frame: Frame) -> None:
    """Raise Misfit unless every call of the original is a call of the answer: names belong to a function's contract."""
    original = frame.definition
    if original is None:
        return
    before, after = _names(original.args), _names(node.args)
    if frame.function.in_class and not _decorated(original, "staticmethod") and before and after:
        before, after = before[1:], after[1:]  # what the receiver is called does not matter
    if before == after:
        return
    optional = _optional(node.args)
    if [name for name in after if name in before] != before or not set(after) - set(before) <= optional:
        now = ", ".join(name.rstrip("=") for name in after) or "none"
        was = ", ".join(name.rstrip("=") for name in before) or "none"
        raise Misfit(f"The answer changes the parameters of {frame.name} from ({was}) to ({now}); they must stay.")


def _optional(arguments: ast.arguments) -> set[str]:
    positional = [item.arg for item in (*arguments.posonlyargs, *arguments.args)]
    names = set(positional[len(positional) - len(arguments.defaults) :]) if arguments.defaults else set()
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return names | {f"{item.arg}=" for item, default in pairs if default is not None}


# --- fitting -------------------------------------------------------------------------------------------------------


def fitted(found: Found, frame: Frame) -> str:
    """The new text of the target, to stand between `frame.start` and `frame.end`. Raises Misfit."""
    if found.node is None:
        return _around_body(found, frame)
    code = statement_text(found.source, found.tree, found.node, frame.indent, frame.unit)
    code = code.removeprefix(frame.indent)
    if found.owner is not None and not frame.function.in_class:
        code = re.sub(r"^@(staticmethod|classmethod)\n[ \t]*", "", code)  # only makes sense in the answer's class
        found.node.decorator_list = [d for d in found.node.decorator_list if _last_name(d) != "staticmethod"]
    code = _right_asyncness(code, found.node, frame)
    code = _with_annotations(code, found.node, frame)
    code = _with_decorators(code, found.node, frame)
    return _with_docstring(code, frame)


def _around_body(found: Found, frame: Frame) -> str:
    """The original's head around a bare body."""
    colon = _colon(frame.text, frame.function)
    inner = frame.indent + frame.unit
    body = reindented(found.source, found.tree, "", inner, frame.unit)
    head = frame.text[frame.start : colon + 1]
    return _with_docstring(head + "\n" + body.strip("\n"), frame)


def statement_text(source: str, tree: ast.Module, node: ast.stmt, indent: str, unit: str) -> str:
    """A statement of the answer with its decorators, indented by `indent` in steps of `unit`."""
    lines = source.split("\n")
    first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
    own = lines[first - 1][: len(lines[first - 1]) - len(lines[first - 1].lstrip())]
    return reindented(source, tree, own, indent, unit, first=first, last=node.end_lineno or node.lineno)


def reindented(
    source: str, tree: ast.Module, old: str, new: str, unit: str, *, first: int = 1, last: int | None = None
) -> str:
    """Lines `first` to `last` of the source with indentation `old` made `new`; the insides of strings stay."""
    lines = source.split("\n")
    last = last or len(lines)
    kept = inside_strings(source, tree)
    step = _step(tree, lines[:last], first)
    out = []
    for number in range(first, last + 1):
        line = lines[number - 1]
        if number in kept:
            out.append(line)
        elif not line.strip():
            out.append("")
        else:
            rest = line.removeprefix(old) if line.startswith(old) else line.lstrip()
            white = rest[: len(rest) - len(rest.lstrip())]
            out.append(new + _restepped(white, step, unit) + rest.lstrip())
    return "\n".join(out).rstrip()


def _step(tree: ast.Module, lines: Sequence[str], first: int) -> str:
    """One step of the answer's indentation from line `first` on: a tab, or how much blocks are indented at least.

    Documentation and continued lines have steps of their own, which tell nothing.
    """
    steps = []
    for node in ast.walk(tree):
        for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            inner = block[0] if isinstance(block, list) and block else None
            if not isinstance(node, ast.stmt | ast.ExceptHandler) or not isinstance(inner, ast.stmt):
                continue
            if not max(first, node.lineno + 1) <= inner.lineno <= len(lines):
                continue
            head, white = (re.match(r"\s*", lines[line - 1])[0] for line in (node.lineno, inner.lineno))  # type: ignore[index]
            if "\t" in white:
                return "\t"
            steps.append(len(white) - len(head))
    return " " * min((step for step in steps if step > 0), default=4)


def _restepped(white: str, step: str, unit: str) -> str:
    if step == unit:
        return white
    if "\t" not in step and "\t" not in unit and len(white) % len(step):
        return white  # aligned, not stepped
    levels = 0
    while white.startswith(step):
        levels, white = levels + 1, white[len(step) :]
    return unit * levels + white


def inside_strings(source: str, tree: ast.Module) -> set[int]:
    """The lines that start inside a string literal other than a docstring: their white space is data."""
    inside: set[int] = set()
    opened: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            name = tokenize.tok_name[token.type]
            if name == "STRING":
                inside.update(range(token.start[0] + 1, token.end[0] + 1))
            elif name == "FSTRING_START":
                opened.append(token.start[0])
            elif name == "FSTRING_END":
                inside.update(range(opened.pop() + 1, token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        pass
    for node in ast.walk(tree):
        if (
            isinstance(node, Definition | ast.ClassDef | ast.Module)
            and ast.get_docstring(node, clean=False) is not None
        ):
            inside.difference_update(range(node.body[0].lineno + 1, (node.body[0].end_lineno or 0) + 1))
    return inside


def own_function(code: str, indent: str) -> tuple[str, Function]:
    """`code` (first line without its indentation) made a parsable text, and the function's place in that text."""
    wrapped = f"if 1:\n{indent}{code}" if indent else code
    functions = find_functions(wrapped)
    if not functions:
        raise Misfit("The answer's function cannot be found again after indenting it.")
    return wrapped, functions[0]


def _right_asyncness(code: str, node: Definition, frame: Frame) -> str:
    """The function stays a coroutine, or stays none: its callers depend on it."""
    is_async = isinstance(node, ast.AsyncFunctionDef)
    if is_async == frame.function.is_async:
        return code
    wrapped, function = own_function(code, frame.indent)
    place = function.header - (len(wrapped) - len(code))
    if not is_async:
        return code[:place] + "async " + code[place:]
    awaits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    if any(isinstance(item, awaits) or getattr(item, "is_async", 0) for item in _own_level(node)):
        raise Misfit(f"The answer makes {frame.name} async; its callers do not await it.")
    return code[:place] + re.sub(r"\Aasync\s+", "", code[place:])


def _with_annotations(code: str, node: Definition, frame: Frame) -> str:
    """The original's head where the answer's differs only by having lost all annotations."""
    original = frame.definition
    if original is None or _annotated(node) or not _annotated(original) or _bare(node) != _bare(original):
        return code
    wrapped, function = own_function(code, frame.indent)
    shift = len(wrapped) - len(code)
    head = frame.text[frame.function.header : _colon(frame.text, frame.function)]
    return code[: function.header - shift] + head + code[_colon(wrapped, function) - shift :]


def _annotated(node: Definition) -> bool:
    return node.returns is not None or any(
        item.annotation is not None for item in ast.walk(node.args) if isinstance(item, ast.arg)
    )


def _bare(node: Definition) -> str:
    """The parameters with defaults and without annotations."""
    copy = ast.parse(ast.unparse(ast.Lambda(args=node.args, body=ast.Constant(0)))) if not _annotated(node) else None
    if copy is not None:
        return ast.dump(copy)
    arguments = ast.arguments(
        posonlyargs=[ast.arg(item.arg) for item in node.args.posonlyargs],
        args=[ast.arg(item.arg) for item in node.args.args],
        vararg=ast.arg(node.args.vararg.arg) if node.args.vararg else None,
        kwonlyargs=[ast.arg(item.arg) for item in node.args.kwonlyargs],
        kw_defaults=node.args.kw_defaults,
        kwarg=ast.arg(node.args.kwarg.arg) if node.args.kwarg else None,
        defaults=node.args.defaults,
    )
    return ast.dump(ast.parse(ast.unparse(ast.Lambda(args=arguments, body=ast.Constant(0)))))


def _with_decorators(code: str, node: Definition, frame: Frame) -> str:
    """The original's decorators stay; those that the answer adds stand below them."""
    text = frame.text[frame.start : frame.function.header]
    if not node.decorator_list:
        return text + code
    original = frame.definition
    if original is None:
        return code
    known = {_last_name(item) for item in node.decorator_list}
    missing = [item for item in original.decorator_list if _last_name(item) not in known]
    segments = [
        ast.get_source_segment(frame.text.removeprefix("\ufeff"), item) or ast.unparse(item) for item in missing
    ]
    return "".join(f"@{segment}\n{frame.indent}" for segment in segments) + code


def _with_docstring(code: str, frame: Frame) -> str:
    wrapped, function = own_function(code, frame.indent)
    docstring = _docstring_source(frame.text[frame.function.body : frame.end]) if frame.function.docstring else ""
    if not docstring:
        return code
    shift = len(wrapped) - len(code)
    if function.docstring:
        own = _docstring_source(wrapped[function.body :])
        same = function.docstring.split() == frame.function.docstring.split()
        return code[: function.body - shift] + docstring + code[function.body - shift + len(own) :] if same else code
    colon, body = _colon(wrapped, function) - shift, function.body - shift
    line_start = code.rfind("\n", 0, body) + 1
    if line_start <= colon:  # the body stands on the line of the head
        inner = frame.indent + frame.unit
        return f"{code[: colon + 1]}\n{inner}{docstring}\n{inner}{code[body:]}"
    inner = code[line_start:body]
    after = code.index("\n", colon) + 1
    return f"{code[:after]}{inner}{docstring}\n{code[after:]}"


def _docstring_source(body: str) -> str:
    """The docstring that a body starts with, as it is written."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(body + "\n").readline):
            if token.type == tokenize.STRING:
                return token.string
    except (tokenize.TokenError, SyntaxError):
        pass
    return ""


def _colon(text: str, function: Function) -> int:
    """Where the colon stands that ends the function's head."""
    head = text[function.header : function.body]
    starts = [0]
    for line in head.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    depth = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(head).readline):
            if token.type != tokenize.OP:
                continue
            depth += (token.string in "([{") - (token.string in ")]}")
            if token.string == ":" and depth == 0:
                return function.header + starts[token.start[0] - 1] + token.start[1]
    except (tokenize.TokenError, SyntaxError):
        pass
    raise Misfit("The head of the function cannot be read.")
