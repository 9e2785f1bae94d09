"""What a loaded target says of its signature, as plain data (see CaseType in perforch_core/languages/interface.py).

Standard library only, valid for Python 3.8.
"""

from __future__ import annotations

import collections
import collections.abc
import enum
import inspect
import sys
import typing

import perforch_codec as codec

_SCALARS = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    bytes: "bytes",
    complex: "complex",
    type(None): "none",
    bytearray: "bytes",
    object: "any",
}
_ABC = collections.abc
_LISTS = (list, _ABC.Sequence, _ABC.Iterable, _ABC.Collection, _ABC.MutableSequence, _ABC.Reversible, _ABC.Container)
_SETS = (set, _ABC.Set, _ABC.MutableSet)
_DICTS = (dict, _ABC.Mapping, _ABC.MutableMapping, collections.OrderedDict, collections.defaultdict)
_BUILTIN_VALUES = (list, tuple, set, frozenset, dict, str, bytes, bytearray, int, float, complex, collections.deque)
_ITERATORS = (_ABC.Iterator, _ABC.Generator)
MAX_DEPTH = 6


def case_type(kind, args=(), **more):
    """One CaseType as plain data."""
    made = {"kind": kind, "args": list(args), "name": "", "fields": [], "members": [], "values": [], "variadic": False}
    made.update(more)
    return made


ANY = case_type("any")


def describe(module, function, owner, kind, problem):
    """The signature of a resolved target. Never raises: what cannot be told is "any" or a problem."""
    if problem:
        return {"parameters": [], "receiver": None, "is_async": False, "is_generator": False, "problem": problem}
    raw = inspect.unwrap(function)
    flags = {
        "is_async": inspect.iscoroutinefunction(raw) or inspect.isasyncgenfunction(raw),
        "is_generator": inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw),
    }
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        return dict(flags, parameters=[], receiver=None, problem="its signature cannot be read: %s" % error)
    hints = hints_of(raw)
    names = list(signature.parameters.values())
    receiver = None
    if owner is not None and names:
        names = names[1:]
        receiver = receiver_type(owner)
    parameters = [parameter(p, hints) for p in names]
    return dict(flags, parameters=parameters, receiver=receiver, problem="")


def hints_of(function):
    """Resolved type hints; one unresolvable annotation does not spoil the others."""
    try:
        return typing.get_type_hints(function)
    except Exception:
        pass
    scope = dict(vars(typing))
    scope.update(getattr(function, "__globals__", {}))
    hints = {}
    for name, hint in getattr(function, "__annotations__", {}).items():
        try:
            hints[name] = eval(hint, scope) if isinstance(hint, str) else hint
        except Exception:
            pass
    return hints


def parameter(found, hints):
    """One parameter as plain data."""
    kinds = {found.KEYWORD_ONLY: "keyword", found.VAR_POSITIONAL: "variadic", found.VAR_KEYWORD: "keywords"}
    has_default = found.default is not found.empty
    if found.name in hints:
        kind = of(hints[found.name], 0)
    elif has_default and found.default is not None:
        kind = of(type(found.default), 0)
    else:
        kind = ANY
    return {"name": found.name, "type": kind, "kind": kinds.get(found.kind, "positional"), "has_default": has_default}


def receiver_type(owner):
    """How to make the receiver: a record of its constructor's parameters."""
    return record(owner, 0)


def of(hint, depth):
    """The CaseType of a type hint."""
    if depth > MAX_DEPTH:
        return ANY
    if hint is typing.Any or hint is inspect.Parameter.empty or hint is None:
        return case_type("none") if hint is None else ANY
    if isinstance(hint, typing.TypeVar):
        choices = hint.__constraints__ or ((hint.__bound__,) if hint.__bound__ is not None else (int,))
        return of(choices[0], depth + 1)
    if hasattr(hint, "__supertype__"):
        return of(hint.__supertype__, depth + 1)
    if hint in _SCALARS if _hashable(hint) else False:
        return case_type(_SCALARS[hint])
    origin = typing.get_origin(hint)
    if origin is not None:
        return generic(hint, origin, typing.get_args(hint), depth)
    if isinstance(hint, type):
        return plain_class(hint, depth)
    return ANY


def _hashable(hint):
    try:
        hash(hint)
    except TypeError:
        return False
    return True


def generic(hint, origin, args, depth):
    """A parametrised hint: list[int], Optional[str], Literal["a"], ..."""
    if str(origin) == "typing.Annotated" or hasattr(hint, "__metadata__"):
        return of(args[0], depth + 1)
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        parts = [of(a, depth + 1) for a in args if a is not type(None)]
        inner = parts[0] if len(parts) == 1 else case_type("union", parts)
        return case_type("optional", [inner]) if type(None) in args else inner
    literal = getattr(typing, "Literal", None)
    if literal is not None and origin is literal:
        return case_type("literal", values=[codec.encode_graph([value]) for value in args])
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return case_type("tuple", [of(args[0], depth + 1)], variadic=True)
        return case_type("tuple", [of(a, depth + 1) for a in args])
    if origin is _ABC.Callable:
        return case_type("callable")
    return container(origin, [of(a, depth + 1) for a in args])


def container(origin, args):
    """A container by its origin class; missing item types are "any"."""
    if origin is collections.Counter:
        return case_type("dict", [args[0] if args else ANY, case_type("int")])
    for kinds, kind, arity in (
        (_ITERATORS, "iterator", 1),
        (_DICTS, "dict", 2),
        (_SETS, "set", 1),
        ((frozenset,), "frozenset", 1),
        ((tuple,), "tuple", 0),
        (_LISTS, "list", 1),
    ):
        if origin in kinds:
            if kind == "tuple":
                return case_type("tuple", [ANY], variadic=True)
            return case_type(kind, (args + [ANY] * arity)[:arity])
    return case_type("opaque", name=codec.type_name(origin)) if isinstance(origin, type) else ANY


def plain_class(kind, depth):
    """A class without parameters: an enum, a bare container, or a record built by its constructor."""
    if issubclass(kind, enum.Enum):
        return case_type("enum", name=codec.type_name(kind), members=[str(m) for m in kind.__members__])
    if kind in _LISTS + _SETS + _DICTS + _ITERATORS + (frozenset, tuple, collections.Counter):
        return container(kind, [])
    if kind.__module__ in ("builtins", "typing", "io", "socket", "threading", "numpy", "collections.abc", "_io"):
        return case_type("opaque", name=codec.type_name(kind))
    special = codec.type_name(kind)
    if special in codec._SPECIALS or kind.__module__.startswith("pathlib"):
        return case_type("opaque", name=special)
    # Its constructor's parameters do not tell what it holds: a Tags(list) made by them is always empty.
    if issubclass(kind, _BUILTIN_VALUES) and not hasattr(kind, "_fields"):
        return case_type("opaque", name=special)
    return record(kind, depth)


def record(kind, depth):
    """A record by the parameters of its constructor; opaque where those cannot be told."""
    name = codec.type_name(kind)
    if "<locals>" in name or inspect.isabstract(kind) or getattr(kind, "_is_protocol", False):
        return case_type("opaque", name=name)
    try:
        found = list(inspect.signature(kind).parameters.values())
    except (TypeError, ValueError):
        return case_type("opaque", name=name)
    hints = {}
    for base in reversed(kind.__mro__):
        if base.__module__ in sys.modules:
            hints.update(hints_of(base) if getattr(base, "__annotations__", None) else {})
    hints.update(hints_of(kind.__init__) if kind.__init__ is not object.__init__ else {})
    fields = []
    for item in found:
        if item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD):
            continue
        if item.name in hints:
            fields.append([item.name, of(hints[item.name], depth + 1)])
        elif item.default is item.empty:
            fields.append([item.name, ANY])
        elif item.default is not None and type(item.default) in _SCALARS:
            fields.append([item.name, of(type(item.default), depth + 1)])
    return case_type("record", name=name, fields=fields)
