"""What a rule may ask of Python code around its match: names bound, changed and used, and what kind of value they hold.

Everything here is a guess good enough to propose a rewrite; whether the rewrite is right is for verification to say.
"""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MUTATORS = _words(
    "add append appendleft clear discard extend extendleft insert intersection_update pop popitem popleft remove "
    "reverse rotate setdefault sort subtract symmetric_difference_update update difference_update"
)
"""Methods that change the object they are called on."""

_MUTATING_FUNCTIONS = _words("heappush heappop heapify heapreplace heappushpop insort insort_left shuffle")

PURE_FUNCTIONS = _words(
    "abs all any bin bool bytes chr complex dict divmod enumerate float format frozenset hash hex int isinstance len "
    "list max min oct ord pow range repr reversed round set slice sorted str sum tuple type zip Counter sqrt isqrt gcd "
    "log floor ceil Decimal Fraction"
)
_PURE_METHODS = _words(
    "copy count index keys values items get lower upper strip lstrip rstrip split rsplit splitlines join startswith "
    "endswith replace find rfind casefold title capitalize isdigit isalpha isalnum isspace isupper islower zfill "
    "encode decode union intersection difference issubset issuperset bit_length partition rpartition swapcase"
)

_ANNOTATIONS = {
    "list": "list", "List": "list", "MutableSequence": "list", "tuple": "tuple", "Tuple": "tuple",
    "set": "set", "Set": "set", "frozenset": "set", "FrozenSet": "set", "AbstractSet": "set", "MutableSet": "set",
    "dict": "dict", "Dict": "dict", "Mapping": "dict", "MutableMapping": "dict", "defaultdict": "dict",
    "DefaultDict": "dict", "OrderedDict": "dict", "Counter": "dict", "str": "str", "bytes": "bytes", "int": "int",
    "float": "float", "bool": "bool", "deque": "deque", "Deque": "deque", "range": "range", "Sequence": "sequence",
    "Iterable": "iterable", "Iterator": "iterator", "Generator": "iterator",
}  # fmt: skip
_CALLS = {
    "list": "list", "sorted": "list", "tuple": "tuple", "set": "set", "frozenset": "set", "dict": "dict",
    "defaultdict": "dict", "OrderedDict": "dict", "Counter": "dict", "str": "str", "repr": "str", "int": "int",
    "len": "int", "float": "float", "bool": "bool", "deque": "deque", "range": "range", "split": "list",
    "rsplit": "list", "splitlines": "list", "join": "str", "strip": "str", "lower": "str", "upper": "str",
    "bytes": "bytes", "bytearray": "bytes", "iter": "iterator", "map": "iterator", "filter": "iterator",
    "zip": "iterator", "enumerate": "iterator", "reversed": "iterator", "readlines": "list", "round": "int",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Use:
    """One appearance of a dotted name; `kind` is "load", "bind" or "mutate", `start` and `end` code-point offsets."""

    start: int
    end: int
    name: str
    kind: str


class Scope:
    """The names of one source text. Raises SyntaxError where the text is not valid Python."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._lines = [0]
        for line in text.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self._ascii = text.isascii()
        self.uses: list[Use] = []
        self.functions: list[tuple[int, int, ast.FunctionDef | ast.AsyncFunctionDef]] = []
        for node in ast.walk(self.tree):
            self._record(node)
        self.names = {part for use in self.uses for part in use.name.split(".")}
        self.names |= _other_names(self.tree)

    def offset(self, line: int, column: int) -> int:
        """The code-point offset of `ast`'s 1-based line and UTF-8 column."""
        start = self._lines[line - 1]
        if self._ascii:
            return start + column
        content = self.text[start : self._lines[line] - 1]
        return start + len(content.encode()[:column].decode(errors="ignore"))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node of the tree starts and ends, in code points."""
        return (
            self.offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self.offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def within(self, start: int, end: int) -> Iterator[Use]:
        """The uses of names inside a range."""
        return (use for use in self.uses if start <= use.start and use.end <= end)

    def names_in(self, start: int, end: int) -> set[str]:
        """The longest dotted names inside a range."""
        longest: dict[int, Use] = {}
        for use in self.within(start, end):
            if use.start not in longest or longest[use.start].end < use.end:
                longest[use.start] = use
        return {use.name for use in longest.values()}

    def changes(self, names: set[str], start: int, end: int) -> bool:
        """Whether one of these dotted names is bound or changed inside the range."""
        return any(
            use.kind != "load" and any(_touches(use.name, name) for name in names) for use in self.within(start, end)
        )

    def kind(self, expression: str, at: int) -> str:
        """The kind of value ("list", "set", "str", ... or "unknown") an expression used at offset `at` has."""
        try:
            node = ast.parse(expression.strip(), mode="eval").body
        except SyntaxError:
            return "unknown"
        if not isinstance(node, ast.Name):
            return _value_kind(node)
        function = self.function_at(at)
        body: ast.AST = function if function is not None else self.tree
        kinds = set(_binding_kinds(body, node.id))
        return kinds.pop() if len(kinds) == 1 else "unknown"

    def function_at(self, at: int) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The innermost function around an offset."""
        around = [item for item in self.functions if item[0] <= at < item[1]]
        return min(around, key=lambda item: item[1] - item[0])[2] if around else None

    def is_global(self, name: str, at: int) -> bool:
        """Whether the innermost function around `at` declares the name global or nonlocal, or does not bind it."""
        function = self.function_at(at)
        if function is None:
            return True
        declared = (n for n in ast.walk(function) if isinstance(n, (ast.Global, ast.Nonlocal)))
        return any(name in node.names for node in declared)

    def _record(self, node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.functions.append((*self.span(node), node))
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = dotted(node)
            if name:
                kind = "load" if isinstance(node.ctx, ast.Load) else "bind"
                self.uses.append(Use(*self.span(node), name, kind))
        elif isinstance(node, ast.arg):
            self.uses.append(Use(*self.span(node), node.arg, "bind"))
        changed = _changed(node)
        if changed is not None and (name := dotted(changed)):
            self.uses.append(Use(*self.span(changed), name, "mutate"))


_HASHABLE = frozenset({"int", "str", "float", "bool", "bytes", "tuple", "unknown"})


def hashable_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool | None:
    """Whether all parameters look hashable: by annotation, and by no use as a list, set or dict in the body."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    kinds = {annotation_kind(argument.annotation) for argument in arguments}
    if not arguments or function.args.vararg or function.args.kwarg or not kinds <= _HASHABLE:
        return False
    names = {argument.arg for argument in arguments}
    changed = {dotted(c) for node in ast.walk(function) if (c := _changed(node)) is not None}
    sliced = {
        dotted(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Subscript) and annotation_kind(_annotation(arguments, dotted(node.value))) == "unknown"
    }
    if names & changed:
        return False
    return None if "unknown" in kinds and names & sliced else True


def reads_changing_variables(scope: Scope, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function reads a variable of the module that is bound again or changed somewhere in the file."""
    own = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    own |= {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    read = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - own
    bound = Counter(use.name for use in scope.uses if use.kind == "bind")
    changed = {
        use.name.split(".")[0] for use in scope.uses if use.kind == "mutate" or ("." in use.name and use.kind == "bind")
    }
    return any(bound[name] > 1 or (bound[name] and name in changed) for name in read)


def _annotation(arguments: list[ast.arg], name: str) -> ast.AST | None:
    return next((argument.annotation for argument in arguments if argument.arg == name), None)


@functools.lru_cache(maxsize=16)
def scope_of(text: str) -> Scope | None:
    """The scope of a text, or None where it is not valid Python."""
    try:
        return Scope(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def dotted(node: ast.AST) -> str:
    """`a.b.c` for a chain of attributes on a name, "" for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def is_pure(expression: str) -> bool:
    """Whether an expression looks free of effects: names, items, operators and calls of known pure functions."""
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError:
        return False
    return all(_pure_node(node) for node in ast.walk(tree))


def _pure_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            return node.func.attr in _PURE_METHODS | PURE_FUNCTIONS
        return isinstance(node.func, ast.Name) and node.func.id in PURE_FUNCTIONS
    return not isinstance(node, (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr))


def _touches(changed: str, name: str) -> bool:
    return changed == name or name.startswith(changed + ".") or changed.startswith(name + ".")


def _changed(node: ast.AST) -> ast.AST | None:
    """The object that a node changes in place, if any."""
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        base: ast.AST = node.value
        while isinstance(base, ast.Subscript):
            base = base.value
        return base
    if isinstance(node, ast.Call):
        called = node.func
        last = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if isinstance(called, ast.Attribute) and last in MUTATORS:
            base = called.value
            while isinstance(base, ast.Subscript):
                base = base.value
            return base
        if last in _MUTATING_FUNCTIONS and node.args:
            return node.args[0]
    return None


def _other_names(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            names.update(node.names)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            names.add(node.name)
    return names


def _binding_kinds(body: ast.AST, name: str) -> Iterator[str]:
    for node in ast.walk(body):
        annotated = node.arg if isinstance(node, ast.arg) else dotted(getattr(node, "target", node))
        if isinstance(node, (ast.arg, ast.AnnAssign)):
            if annotated == name:
                yield annotation_kind(node.annotation)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    if target.id == name:
                        yield _value_kind(node.value)
                elif any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(target)):
                    yield from _unpacked_kind(target, node.value, name)
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            if any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node.target)):
                yield _item_kind(node.target, node.iter)
        elif isinstance(node, ast.withitem) and node.optional_vars and dotted(node.optional_vars) == name:
            yield "unknown"


def _unpacked_kind(target: ast.AST, value: ast.AST, name: str) -> Iterator[str]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for left, right in zip(target.elts, value.elts, strict=True):
            if isinstance(left, ast.Name) and left.id == name:
                yield _value_kind(right)
    elif not isinstance(target, (ast.Subscript, ast.Attribute)):
        yield "unknown"


def _item_kind(target: ast.AST, iterable: ast.AST) -> str:
    if isinstance(target, ast.Name) and isinstance(iterable, ast.Call) and dotted(iterable.func) == "range":
        return "int"
    return "unknown"


def annotation_kind(annotation: ast.AST | None) -> str:
    """The kind that an annotation names; "unknown" for unions and whatever else is not certain."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return "unknown"
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    name = dotted(annotation).rsplit(".", 1)[-1] if annotation is not None else ""
    return _ANNOTATIONS.get(name, "unknown")


def _value_kind(node: ast.AST) -> str:
    match node:
        case ast.List() | ast.ListComp():
            return "list"
        case ast.Tuple():
            return "tuple"
        case ast.Set() | ast.SetComp():
            return "set"
        case ast.Dict() | ast.DictComp():
            return "dict"
        case ast.JoinedStr():
            return "str"
        case ast.Constant():
            return type(node.value).__name__ if node.value is not None else "unknown"
        case ast.GeneratorExp():
            return "iterator"
        case ast.Call():
            func = node.func
            if isinstance(func, ast.Attribute) and func.attr == "copy":
                return "unknown"
            return _CALLS.get(func.attr if isinstance(func, ast.Attribute) else dotted(func), "unknown")
        case ast.BinOp(op=ast.Mult(), left=ast.List()) | ast.BinOp(op=ast.Add(), left=ast.List()):
            return "list"
    return "unknown"
