"""A rough guess of what kind of value an expression has, to leave out edits that could only raise TypeError."""

from __future__ import annotations

import ast

from perforch_core.languages.edits.python_source import Source

UNKNOWN = ""
NUMBERS = frozenset({"int", "float", "bool"})
SIZED = frozenset({"str", "list", "tuple", "set", "dict"})

_CALLS = {
    "len": "int", "int": "int", "ord": "int", "sum": "int", "round": "int", "abs": "int", "float": "float",
    "str": "str", "chr": "str", "repr": "str", "bin": "str", "hex": "str", "input": "str", "sorted": "list",
    "list": "list", "tuple": "tuple", "set": "set", "frozenset": "set", "dict": "dict", "bool": "bool", "any": "bool",
    "all": "bool", "isinstance": "bool", "range": "list", "enumerate": "list", "zip": "list", "map": "list",
    "filter": "list", "reversed": "list", "divmod": "tuple", "Counter": "dict", "defaultdict": "dict",
}  # fmt: skip
_METHODS = {
    "lower": "str", "upper": "str", "strip": "str", "lstrip": "str", "rstrip": "str", "join": "str", "replace": "str",
    "swapcase": "str", "capitalize": "str", "title": "str", "split": "list", "splitlines": "list", "keys": "list",
    "values": "list", "items": "list", "count": "int", "index": "int", "find": "int", "rfind": "int",
    "startswith": "bool", "endswith": "bool", "isdigit": "bool", "isalpha": "bool", "isupper": "bool",
    "islower": "bool", "isalnum": "bool", "isspace": "bool", "union": "set", "intersection": "set", "bit_length": "int",
}  # fmt: skip
_ANNOTATIONS = {
    "int": "int", "float": "float", "bool": "bool", "str": "str", "list": "list", "List": "list", "Sequence": "list",
    "Iterable": "list", "tuple": "tuple", "Tuple": "tuple", "set": "set", "Set": "set", "frozenset": "set",
    "dict": "dict", "Dict": "dict", "Mapping": "dict", "bytes": "bytes",
}  # fmt: skip
_DISPLAYS = {
    ast.List: "list", ast.ListComp: "list", ast.GeneratorExp: "list", ast.Tuple: "tuple", ast.Set: "set",
    ast.SetComp: "set", ast.Dict: "dict", ast.DictComp: "dict", ast.JoinedStr: "str", ast.Compare: "bool",
    ast.Lambda: "function",
}  # fmt: skip

Kinds = dict[str, str]


def kinds_of_names(source: Source) -> Kinds:
    """The kind of each local name, from annotations and from what is assigned to it; names left out are unknown."""
    kinds: Kinds = {}
    arguments = source.function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        guess = annotated(argument.annotation)
        if guess:
            kinds[argument.arg] = guess
    for _ in range(2):
        for part in source.parts:
            _learn(part.node, kinds)
    return kinds


def kind(node: ast.AST, kinds: Kinds) -> str:
    """The kind of an expression, "" when unknown."""
    if type(node) in _DISPLAYS:
        return _DISPLAYS[type(node)]
    match node:
        case ast.Constant(value=value):
            return "none" if value is None else type(value).__name__
        case ast.Name(id=name):
            return kinds.get(name, UNKNOWN)
        case ast.Call(func=ast.Name(id=name)):
            return _CALLS.get(name, UNKNOWN)
        case ast.Call(func=ast.Attribute(attr=name)):
            return _METHODS.get(name, UNKNOWN)
        case ast.UnaryOp(op=ast.Not()):
            return "bool"
        case ast.UnaryOp(operand=operand):
            return kind(operand, kinds)
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(kind(left, kinds), op, kind(right, kinds))
        case ast.BoolOp(values=values):
            found = {kind(v, kinds) for v in values}
            return found.pop() if len(found) == 1 else UNKNOWN
        case ast.IfExp(body=body, orelse=orelse):
            return kind(body, kinds) or kind(orelse, kinds)
        case ast.Subscript(value=value, slice=index):
            whole = kind(value, kinds)
            return whole if isinstance(index, ast.Slice) or whole == "str" else UNKNOWN
    return UNKNOWN


def annotated(annotation: ast.AST | None) -> str:
    """The kind an annotation promises."""
    match annotation:
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)) | ast.Attribute(attr=name):
            return _ANNOTATIONS.get(name, UNKNOWN)
        case ast.Subscript(value=ast.Attribute(attr=name)):
            return _ANNOTATIONS.get(name, UNKNOWN)
    return UNKNOWN


def fit(first: str, second: str) -> bool:
    """Whether a value of one kind could stand where one of the other kind does."""
    return not first or not second or first == second or {first, second} <= NUMBERS


def _binary(left: str, op: ast.operator, right: str) -> str:
    if isinstance(op, ast.Mod) and left == "str":
        return "str"
    if isinstance(op, ast.Div):
        return "float"
    if {left, right} <= NUMBERS:
        return "float" if "float" in (left, right) else "int"
    if isinstance(op, ast.Mult):
        return next((k for k in (left, right) if k in SIZED), UNKNOWN)
    if isinstance(op, ast.Add):
        return left or right
    return left if left == right or left in NUMBERS else (right if right in NUMBERS else UNKNOWN)


def _learn(node: ast.AST, kinds: Kinds) -> None:
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                _bind(target, value, kinds)
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
            kinds.setdefault(name, annotated(annotation))
        case ast.For(target=target, iter=iterable) | ast.comprehension(target=target, iter=iterable):
            _iterate(target, iterable, kinds)


def _bind(target: ast.AST, value: ast.AST, kinds: Kinds) -> None:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for left, right in zip(target.elts, value.elts, strict=True):
            _bind(left, right, kinds)
    elif isinstance(target, ast.Name) and not kinds.get(target.id):
        guess = kind(value, kinds)
        if guess and guess != "none":
            kinds[target.id] = guess


def _iterate(target: ast.AST, iterable: ast.AST, kinds: Kinds) -> None:
    match target, iterable:
        case ast.Name(id=name), ast.Call(func=ast.Name(id="range")):
            kinds.setdefault(name, "int")
        case ast.Name(id=name), _ if kind(iterable, kinds) == "str":
            kinds.setdefault(name, "str")
        case ast.Tuple(elts=[ast.Name(id=index), item]), ast.Call(func=ast.Name(id="enumerate"), args=[inner, *_]):
            kinds.setdefault(index, "int")
            _iterate(item, inner, kinds)
