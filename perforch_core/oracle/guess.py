"""Types for parameters that declare none: learnt from values seen, or guessed from names, defaults and use.

A guess is only ever a way to make inputs: the original says by its own behaviour whether it was a good one.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from perforch_core.languages.interface import CaseType, Signature
from perforch_core.values import Wire

ANY = CaseType(kind="any")
INT, FLOAT, STR, BOOL = (CaseType(kind=kind) for kind in ("int", "float", "str", "bool"))
MAX_DEPTH = 6


def list_of(part: CaseType) -> CaseType:
    """The list type with this item type."""
    return CaseType(kind="list", args=(part,))


# --- learnt from values ------------------------------------------------------------------------------------------


def infer_type(values: Iterable[tuple[Wire, int]]) -> CaseType:
    """The narrowest type that holds all values, each given as a wire and the node it starts at."""
    found: CaseType | None = None
    for wire, root in values:
        kind = _type_of(wire["nodes"], root, 0)
        found = kind if found is None else _joined(found, kind)
    return found or ANY


def _type_of(nodes: Sequence[list[Any]], index: int, depth: int) -> CaseType:
    node = nodes[index]
    tag = node[0]
    if depth > MAX_DEPTH:
        return ANY
    match tag:
        case "none" | "bool" | "int" | "float" | "complex" | "str" | "bytes":
            return CaseType(kind=tag)
        case "bytearray":
            return CaseType(kind="bytes")
        case "list" | "set" | "frozenset" | "iterator":
            return CaseType(kind=tag, args=(_type_of_all(nodes, node[1], depth),))
        case "tuple":
            return CaseType(kind=tag, args=tuple(_type_of(nodes, i, depth + 1) for i in node[1][:20]))
        case "dict":
            keys = _type_of_all(nodes, [k for k, _ in node[1]], depth)
            return CaseType(kind=tag, args=(keys, _type_of_all(nodes, [v for _, v in node[1]], depth)))
        case "record" if len(node) == 3:
            fields = tuple((name, _type_of(nodes, i, depth + 1)) for name, i in node[2])
            return CaseType(kind=tag, name=node[1], fields=fields)
        case "enum":
            return CaseType(kind=tag, name=node[1], members=(node[2],))
        case "special" if node[1] in ("function", "type"):
            return CaseType(kind="callable")
        case "special" if node[1] == "range":
            return list_of(INT)
    return CaseType(kind="opaque", name=node[1] if len(node) > 1 and isinstance(node[1], str) else "")


def _type_of_all(nodes: Sequence[list[Any]], indices: Sequence[int], depth: int) -> CaseType:
    found: CaseType | None = None
    for index in indices[:100]:
        kind = _type_of(nodes, index, depth + 1)
        found = kind if found is None else _joined(found, kind)
    return found or ANY


def _joined(a: CaseType, b: CaseType) -> CaseType:
    """The type that holds the values of both. "any" stands for "nothing seen yet"."""
    if a == b or b.kind == "any":
        return a
    if a.kind == "any":
        return b
    if "none" in (a.kind, b.kind):
        inner = b if a.kind == "none" else a
        return inner if inner.kind == "optional" else CaseType(kind="optional", args=(inner,))
    if a.kind == "optional" or b.kind == "optional":
        parts = [kind.args[0] if kind.kind == "optional" else kind for kind in (a, b)]
        return CaseType(kind="optional", args=(_joined(*parts),))
    if a.kind == b.kind and a.name == b.name and (same := _joined_alike(a, b)) is not None:
        return same
    parts = [part for kind in (a, b) for part in (kind.args if kind.kind == "union" else (kind,))]
    merged: list[CaseType] = []
    for part in parts:
        for place, other in enumerate(merged):
            if other.kind == part.kind and other.name == part.name:
                merged[place] = _joined_alike(other, part) or other
                break
        else:
            merged.append(part)
    return CaseType(kind="union", args=tuple(merged)) if len(merged) > 1 else merged[0]


def _joined_alike(a: CaseType, b: CaseType) -> CaseType | None:
    if a.kind == "tuple" and (a.variadic or b.variadic or len(a.args) != len(b.args)):
        part = ANY
        for each in a.args + b.args:
            part = _joined(part, each)
        return CaseType(kind="tuple", args=(part,), variadic=True)
    if a.kind in ("list", "set", "frozenset", "iterator", "dict", "tuple"):
        return replace(a, args=tuple(_joined(x, y) for x, y in zip(a.args, b.args, strict=True)))
    if a.kind == "enum":
        return replace(a, members=tuple(dict.fromkeys(a.members + b.members)))
    if a.kind == "record" and [n for n, _ in a.fields] == [n for n, _ in b.fields]:
        fields = tuple((name, _joined(x, y)) for (name, x), (_, y) in zip(a.fields, b.fields, strict=True))
        return replace(a, fields=fields)
    return a if a.kind in ("callable", "opaque") or not (a.args or a.fields) else None


# --- guessed from the source -------------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STRING_METHODS = _words(
    "split strip lower upper startswith endswith lstrip rstrip splitlines casefold isdigit isalpha isalnum isspace "
    "title capitalize encode partition rsplit zfill isupper islower swapcase ljust rjust find rfind format"
)
_LIST_METHODS = _words("append extend sort reverse insert")
_DICT_METHODS = _words("items keys values get setdefault")
_SET_METHODS = _words("add discard union intersection difference issubset issuperset")
_NAMES: dict[str, CaseType] = {
    **dict.fromkeys(
        _words("n k m i j num number count size limit index width height low high lo hi start end step x y"), INT
    ),
    **dict.fromkeys(_words("s text string word name line path sentence pattern prefix suffix char sep needle"), STR),
    **dict.fromkeys(_words("items nums numbers values arr array lst xs ys seq sequence data list"), list_of(INT)),
    **dict.fromkeys(_words("words strings lines names tokens strs texts"), list_of(STR)),
    **dict.fromkeys(_words("matrix grid board rows table mat"), list_of(list_of(INT))),
    **dict.fromkeys(_words("flag verbose reverse strict"), BOOL),
    **dict.fromkeys(_words("rate ratio alpha price threshold epsilon tolerance weight"), FLOAT),
    **dict.fromkeys(_words("graph adj adjacency"), CaseType(kind="dict", args=(INT, list_of(INT)))),
    **dict.fromkeys(_words("pairs intervals edges points"), list_of(CaseType(kind="tuple", args=(INT, INT)))),
    **dict.fromkeys(_words("counts mapping d table_of scores"), CaseType(kind="dict", args=(STR, INT))),
}
_FALLBACK = (list_of(INT), STR, INT, list_of(STR), list_of(list_of(INT)), CaseType(kind="dict", args=(STR, INT)), FLOAT)


def guess_types(signature: Signature, source: str, *, limit: int = 6) -> list[Signature]:
    """Signatures with every "any" parameter guessed, the likeliest first; `[signature]` where nothing is open.

    `source` is the target's own text (Python; anything that does not parse is guessed from names alone). At most
    `limit` alternatives: the caller tries them in turn and keeps the one on which the original returns most often.
    """
    unknown = [place for place, parameter in enumerate(signature.parameters) if parameter.type.kind == "any"]
    if not unknown:
        return [signature]
    function = _parsed(source)
    ranked = {place: _ranked(signature.parameters[place].name, function) for place in unknown}
    choices: list[tuple[int, ...]] = sorted(
        itertools.islice(itertools.product(*(range(min(4, len(ranked[place]))) for place in unknown)), 4096),
        key=lambda ranks: (sum(ranks), ranks),
    )
    found = []
    for ranks in choices[:limit]:
        parameters = list(signature.parameters)
        for place, rank in zip(unknown, ranks, strict=True):
            parameters[place] = replace(parameters[place], type=ranked[place][rank])
        found.append(replace(signature, parameters=tuple(parameters)))
    return found


def other_types(declared: Signature, guessed: Signature) -> list[Signature]:
    """Other types that callers may well pass where nothing is declared: a guess of numbers alone would let pass what
    breaks on items that cannot be hashed, on text instead of a list, or on mixed items.
    """
    places = [i for i, (a, b) in enumerate(zip(declared.parameters, guessed.parameters, strict=True)) if a != b]
    lists = [i for i in places if guessed.parameters[i].type.kind == "list"]
    if not lists:
        return []
    mixed = CaseType(kind="union", args=(INT, STR, FLOAT, CaseType(kind="none")))
    wanted = [dict.fromkeys(lists, list_of(part)) for part in (list_of(INT), STR, mixed)]
    wanted += [{**dict.fromkeys(lists, list_of(STR)), i: STR} for i in lists]
    return [_with_types(guessed, types) for types in wanted]


def _with_types(signature: Signature, types: Mapping[int, CaseType]) -> Signature:
    changed = [replace(p, type=types.get(i, p.type)) for i, p in enumerate(signature.parameters)]
    return replace(signature, parameters=tuple(changed))


def source_constants(source: str) -> list[object]:
    """The literals of a Python function's source, docstrings aside; none where it does not parse."""
    function = _parsed(source)
    if function is None:
        return []
    skipped = {id(node) for node in _docstrings(function)}
    found: dict[tuple[str, object], object] = {}
    for node in ast.walk(function):
        match node:
            case ast.Constant(value=bool()):
                continue
            case ast.Constant(value=int() | float() | str() | bytes() as value) if id(node) not in skipped:
                found.setdefault((type(value).__name__, value), value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                found.setdefault(("negative", value), -value)
    return list(found.values())


def docstring_of(source: str) -> str:
    """The docstring of a Python function's source; "" where there is none or it does not parse."""
    function = _parsed(source)
    return (ast.get_docstring(function) or "") if function else ""


def _docstrings(function: ast.AST) -> list[ast.AST]:
    return [
        node.body[0].value
        for node in ast.walk(function)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    ]


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _parsed(source: str) -> _Function | None:
    lines = source.splitlines()
    margin = min((len(line) - len(line.lstrip()) for line in lines[:1]), default=0)
    text = "\n".join(line[margin:] if line[:margin].isspace() else line for line in lines)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return next((node for node in ast.walk(tree) if isinstance(node, _Function)), None)


def _ranked(name: str, function: _Function | None) -> list[CaseType]:
    """Types for one parameter, the likeliest first."""
    scores: dict[CaseType, float] = dict.fromkeys(_FALLBACK, 0.0)
    named = _NAMES.get(name.lower()) or _NAMES.get(name.lower().rsplit("_", 1)[-1])
    if named is not None:
        scores[named] = scores.get(named, 0.0) + 2.0
    elif name.endswith("s") and len(name) > 2:
        scores[list_of(INT)] += 1.0
    if function is not None:
        for kind, weight in _uses(name, function):
            scores[kind] = scores.get(kind, 0.0) + weight
    order = list(scores)
    return sorted(scores, key=lambda kind: (-scores[kind], order.index(kind)))


def _uses(name: str, function: _Function) -> list[tuple[CaseType, float]]:
    found: list[tuple[CaseType, float]] = []
    items = {loop.target.id for loop in _loops(function) if _is(loop.iter, name) and isinstance(loop.target, ast.Name)}
    for node in ast.walk(function):
        found += _use(name, node)
        for item in items:
            found += [(list_of(kind), weight) for kind, weight in _use(item, node) if kind not in (list_of(INT),)]
    for loop in _loops(function):
        if _is(loop.iter, name) and isinstance(loop.target, ast.Tuple):
            found.append((list_of(CaseType(kind="tuple", args=(INT,) * len(loop.target.elts))), 3.0))
        if isinstance(loop.iter, ast.Name) and loop.iter.id in items:
            found += [(list_of(list_of(INT)), 2.0), (list_of(STR), 1.5)]
    return found


def _loops(function: _Function) -> list[ast.For | ast.comprehension]:
    return [node for node in ast.walk(function) if isinstance(node, (ast.For, ast.comprehension))]


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


_NUMBER_OPERATORS = (ast.Sub, ast.FloorDiv, ast.Pow, ast.RShift, ast.LShift, ast.BitAnd, ast.BitXor)


def _use(name: str, node: ast.AST) -> list[tuple[CaseType, float]]:
    """What one node of the syntax tree says of a name's type."""
    matrix, table = list_of(list_of(INT)), CaseType(kind="dict", args=(STR, INT))
    match node:
        case ast.Attribute(value=ast.Name(id=known), attr=method) if known == name:
            if method in _STRING_METHODS:
                return [(STR, 4.0)]
            if method in _LIST_METHODS:
                return [(list_of(INT), 3.0)]
            if method in _DICT_METHODS:
                return [(table, 4.0)]
            return [(CaseType(kind="set", args=(INT,)), 3.0)] if method in _SET_METHODS else []
        case ast.Subscript(value=ast.Subscript(value=ast.Name(id=known))) if known == name:
            return [(matrix, 3.0)]
        case ast.Subscript(value=ast.Name(id=known), slice=ast.Constant(value=str())) if known == name:
            return [(table, 3.0)]
        case ast.Subscript(value=ast.Name(id=known)) if known == name:
            return [(list_of(INT), 1.0), (STR, 0.7)]
        case ast.Call(func=ast.Name(id="range"), args=arguments) if any(_is(a, name) for a in arguments):
            return [(INT, 4.0)]
        case ast.Call(func=ast.Name(id="len"), args=[argument]) if _is(argument, name):
            return [(list_of(INT), 0.8), (STR, 0.6), (matrix, 0.2)]
        case ast.Call(func=ast.Name(id="sum" | "min" | "max" | "sorted"), args=[argument, *_]) if _is(argument, name):
            return [(list_of(INT), 2.0)]
        case ast.Call(func=ast.Attribute(attr="join"), args=[argument]) if _is(argument, name):
            return [(list_of(STR), 3.0)]
        case ast.For(iter=argument) | ast.comprehension(iter=argument) if _is(argument, name):
            return [(list_of(INT), 1.0), (STR, 0.6)]
        case ast.BinOp(left=left, op=op, right=right) if _is(left, name) or _is(right, name):
            if isinstance(op, _NUMBER_OPERATORS):
                return [(INT, 2.0)]
            if isinstance(op, ast.Div):
                return [(FLOAT, 1.5), (INT, 1.0)]
            other = right if _is(left, name) else left
            if isinstance(other, ast.Constant):
                return [(STR, 2.0)] if isinstance(other.value, str) else [(INT, 1.5)]
        case ast.Compare(left=left, comparators=others) if any(_is(each, name) for each in (left, *others)):
            return _compared([left, *others])
        case ast.arguments():
            return _default_of(name, node)
    return []


def _compared(sides: Sequence[ast.AST]) -> list[tuple[CaseType, float]]:
    for side in sides:
        if isinstance(side, ast.Constant):
            if isinstance(side.value, bool) or side.value is None:
                return []
            if isinstance(side.value, int):
                return [(INT, 1.5)]
            if isinstance(side.value, float):
                return [(FLOAT, 2.0)]
            if isinstance(side.value, str):
                return [(STR, 2.0)]
    return []


def _default_of(name: str, arguments: ast.arguments) -> list[tuple[CaseType, float]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    for argument, default in pairs:
        if argument.arg == name and isinstance(default, ast.Constant) and default.value is not None:
            kind = type(default.value).__name__
            if kind in ("int", "float", "str", "bool", "bytes"):
                return [(CaseType(kind=kind), 5.0)]
    return []
