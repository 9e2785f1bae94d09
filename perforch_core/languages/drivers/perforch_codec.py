"""The tagged encoding (see perforch_core/values.py) inside the project's interpreter: real objects to wire and back.

Standard library only, valid for Python 3.8. Nothing here recurses, so nested or cyclic values cost no stack, and
nothing trusts what an object says of itself: exact types decide, and builtin containers are read by their own
type's methods, not by an override.
"""

from __future__ import annotations

import base64
import sys
import types

MAX_NODES = 2000000
MAX_ITERATED = 200000
BIG_INTEGER_BITS = 12000


class TooLarge(Exception):
    """The value has more parts than the encoding will carry."""


class CannotDecode(Exception):
    """The wire names a type that is not there, or a value cannot be built from its fields."""


_SPECIALS = {
    "decimal.Decimal": str,
    "fractions.Fraction": str,
    "uuid.UUID": str,
    "datetime.datetime": lambda v: v.isoformat(),
    "datetime.date": lambda v: v.isoformat(),
    "datetime.time": lambda v: v.isoformat(),
    "datetime.timedelta": lambda v: "%d,%d,%d" % (v.days, v.seconds, v.microseconds),
    "builtins.range": repr,
    "builtins.slice": repr,
    "re.Pattern": lambda v: "%d:%s" % (v.flags, v.pattern) if isinstance(v.pattern, str) else repr(v),
    "builtins.ellipsis": repr,
    "builtins.NotImplementedType": repr,
}
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
_ITERATORS = (
    types.GeneratorType,
    map,
    filter,
    zip,
    enumerate,
    reversed,
    type(iter([])),
    type(iter(())),
    type(iter({})),
    type(iter({}.values())),
    type(iter({}.items())),
    type(iter(set())),
    type(iter("")),
    type(iter(b"")),
    type(iter(range(0))),
    type(reversed([])),
)
_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))


def type_name(kind):
    """The qualified name of a type, e.g. "app.shapes.Point"."""
    module = type.__getattribute__(kind, "__module__")
    name = type.__getattribute__(kind, "__qualname__")
    return name if module == "builtins" else "%s.%s" % (module, name)


def is_iterator(value):
    """Whether the value is one that is used up by looking at it."""
    kind = type(value)
    return kind in _ITERATORS or (kind.__module__ == "itertools" and hasattr(kind, "__next__"))


def encode_graph(roots, max_nodes=MAX_NODES):
    """Encode any objects. What is not plain data becomes "opaque". Raises TooLarge."""
    nodes = []
    seen = {}
    keep = []
    pending = []

    def place(value):
        key = id(value)
        index = seen.get(key)
        if index is not None:
            return index
        index = len(nodes)
        if index >= max_nodes:
            raise TooLarge("more than %d values" % max_nodes)
        node, children = _node(value)
        nodes.append(node)
        if children is not None:
            seen[key] = index
            keep.append(value)
            pending.append((node, children))
        return index

    indices = [place(value) for value in roots]
    while pending:
        node, children = pending.pop()
        if not children:
            continue
        tag = node[0]
        if tag == "dict":
            node[1] = [[place(k), place(v)] for k, v in children]
        elif tag == "record":
            node[2] = [[name, place(v)] for name, v in children]
        else:
            node[1] = [place(v) for v in children]
    return {"nodes": nodes, "roots": indices}


_SCALARS = {
    bool: lambda v: ["bool", int(v)],
    float: lambda v: ["float", repr(v)],
    str: lambda v: ["str", v],
    complex: lambda v: ["complex", repr(v.real), repr(v.imag)],
    bytes: lambda v: ["bytes", base64.b64encode(v).decode("ascii")],
}


def _integer(value):
    return hex(value) if value.bit_length() > BIG_INTEGER_BITS else str(value)


def _node(value):
    """(node, children or None). Children are given as an iterable that the caller walks later."""
    if value is None:
        return ["none"], None
    kind = type(value)
    if kind is int:
        return ["int", _integer(value)], None
    make = _SCALARS.get(kind)
    if make is not None:
        return make(value), None
    if kind in (list, tuple, set, frozenset):
        return [kind.__name__, []], list(value)
    if kind is dict:
        return ["dict", []], list(value.items())
    if kind is bytearray:
        return ["bytearray", base64.b64encode(bytes(value)).decode("ascii")], ()  # () keeps its identity
    return _other(value, kind)


def _other(value, kind):
    name = type_name(kind)
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(kind, enum.Enum):
        return ["enum", name, str(getattr(value, "_name_", None))], None
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return ["record", name, []], list(zip(kind._fields, tuple.__iter__(value)))
    for base in (list, tuple, set, frozenset):
        if issubclass(kind, base):
            return [base.__name__, [], name], list(base.__iter__(value))
    if issubclass(kind, dict):
        return ["dict", [], name], list(dict.items(value))
    if name == "collections.deque":
        return ["list", [], name], list(value)
    if issubclass(kind, int):
        return ["int", _integer(int.__int__(value)), name], None
    if issubclass(kind, float):
        return ["float", repr(float.__float__(value)), name], None
    if issubclass(kind, str):
        return ["str", str.__str__(value), name], None
    special = _SPECIALS.get(name if "." in name else "builtins." + name)
    if special is not None:
        return ["special", name, special(value)], None
    if kind.__module__.startswith("pathlib") and kind.__name__ in _PATHS:
        return ["special", "pathlib." + kind.__name__, str(value)], None
    if kind.__module__ == "numpy":
        return _numpy(value, kind)
    if kind in _VIEWS:
        return ["iterator", [], name], list(value)
    if is_iterator(value):
        return ["iterator", []], _drain(value)
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
        return ["special", "function", "%s.%s" % (value.__module__, value.__qualname__)], None
    if isinstance(value, type):
        return ["special", "type", type_name(value)], None
    if isinstance(value, types.ModuleType):
        return ["special", "module", value.__name__], None
    fields = _fields(value, kind)
    if fields is not None:
        # A frozen dataclass is a value: whether two are the same object cannot matter to anyone.
        frozen = getattr(kind.__dict__.get("__dataclass_params__"), "frozen", False)
        return ["record", name, [], "frozen" if frozen else "state"], fields
    return ["opaque", name], None


def _drain(value):
    items = []
    for item in value:
        items.append(item)
        if len(items) > MAX_ITERATED:
            raise TooLarge("an iterator of more than %d items" % MAX_ITERATED)
    return items


def _fields(value, kind):
    """The state of an instance of a class written in Python, or None where there is none to see."""
    if not kind.__flags__ & (1 << 9):  # Py_TPFLAGS_HEAPTYPE: classes defined in Python
        return None
    fields = {}
    if isinstance(value, BaseException):
        fields["args"] = value.args
    for base in reversed(kind.__mro__):
        slots = base.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot in ("__dict__", "__weakref__"):
                continue
            name = "_%s%s" % (base.__name__.lstrip("_"), slot) if _private(slot) else slot
            try:
                fields[name] = object.__getattribute__(value, name)
            except AttributeError:
                pass
    try:
        fields.update(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        pass
    return sorted(fields.items(), key=lambda pair: str(pair[0]))


def _private(name):
    return name.startswith("__") and not name.endswith("__")


def _numpy(value, kind):
    name = kind.__name__
    if name == "ndarray" and not value.dtype.hasobject:
        data = base64.b64encode(value.tobytes()).decode("ascii")
        shape = ",".join(str(n) for n in value.shape)
        return ["special", "numpy.ndarray", "%s;%s;%s" % (value.dtype.str, shape, data)], ()
    if hasattr(value, "dtype"):
        return ["special", "numpy." + name, repr(value)], None
    return ["opaque", "numpy." + name], None


def decode_graph(wire, find_type):
    """Build the roots of a wire. `find_type(name)` gives the class of a record or enum. Raises CannotDecode."""
    nodes = wire["nodes"]
    quick = _decode_backwards(nodes, find_type)
    if quick is not None:
        return [quick[root] for root in wire["roots"]]
    values = [None] * len(nodes)
    done = [False] * len(nodes)
    for root in wire["roots"]:
        _build(root, nodes, values, done, find_type)
    return [values[root] for root in wire["roots"]]


def _decode_backwards(nodes, find_type):
    """All values in one pass from the last node to the first, or None where a node refers to one before it.

    Encoders put parents before their children, so only cycles and some shared values need the general way.
    """
    values = [None] * len(nodes)
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        tag = node[0]
        plain = len(node) == 2
        if plain and tag == "str":
            values[index] = node[1]
            continue
        if plain and tag == "int":
            values[index] = _plain_int(node[1])
            continue
        children = _children(node)
        if children and min(children) <= index:
            return None
        if plain and tag == "list":
            values[index] = [values[i] for i in children]
        elif plain and tag == "set":
            values[index] = {values[i] for i in children}
        elif plain and tag == "dict":
            values[index] = {values[k]: values[v] for k, v in node[1]}
        else:
            values[index] = _make(node, values, find_type)
    return values


_SHELLS = {"list": list, "dict": dict, "set": set}


def _build(root, nodes, values, done, find_type):
    stack = [root]
    opened = set()
    while stack:
        index = stack[-1]
        if done[index]:
            stack.pop()
            continue
        node = nodes[index]
        if index not in opened:
            opened.add(index)
            if node[0] in _SHELLS and len(node) == 2:
                values[index] = _SHELLS[node[0]]()
            children = [c for c in _children(node) if not done[c]]
            waiting = [c for c in children if c not in opened]
            if waiting:
                stack.extend(waiting)
                continue
        for child in _children(node):
            if not done[child] and values[child] is None:
                raise CannotDecode("a cycle through an immutable value")
        _fill(index, node, values, find_type)
        done[index] = True
        stack.pop()


def _children(node):
    tag = node[0]
    if tag in ("list", "tuple", "set", "frozenset", "iterator"):
        return node[1]
    if tag == "dict":
        return [i for pair in node[1] for i in pair]
    if tag == "record":
        return [i for _, i in node[2]]
    return ()


def _fill(index, node, values, find_type):
    tag = node[0]
    if tag in ("list", "set", "dict") and len(node) == 2:
        shell = values[index]
        if tag == "list":
            shell.extend([values[i] for i in node[1]])
        elif tag == "set":
            shell.update([values[i] for i in node[1]])
        else:
            shell.update([(values[k], values[v]) for k, v in node[1]])
        return
    values[index] = _make(node, values, find_type)


def _plain_int(text):
    return int(text, 16 if "x" in text[:3] else 10)


def _make(node, values, find_type):
    tag = node[0]
    if tag == "none":
        return None
    if tag == "bool":
        return bool(node[1])
    if tag == "int":
        number = _plain_int(node[1])
        return find_type(node[2])(number) if len(node) > 2 else number
    if tag == "float":
        return float(node[1])
    if tag == "complex":
        return complex(float(node[1]), float(node[2]))
    if tag == "str":
        return find_type(node[2])(node[1]) if len(node) > 2 else node[1]
    if tag == "bytes":
        return base64.b64decode(node[1])
    if tag == "bytearray":
        return bytearray(base64.b64decode(node[1]))
    if tag == "enum":
        return find_type(node[1])[node[2]]
    if tag == "iterator":
        return iter([values[i] for i in node[1]])
    if tag in ("list", "tuple", "set", "frozenset"):
        items = [values[i] for i in node[1]]
        kind = find_type(node[2]) if len(node) > 2 else {"tuple": tuple, "frozenset": frozenset}[tag]
        return kind(items)
    if tag == "dict":
        return _dict_subclass(node, values, find_type)
    if tag == "record":
        return _record(node, values, find_type)
    if tag == "special":
        return _special(node[1], node[2], find_type)
    raise CannotDecode("a value of type %s cannot be built" % (node[1] if len(node) > 1 else tag))


def _dict_subclass(node, values, find_type):
    kind = find_type(node[2])
    pairs = [(values[k], values[v]) for k, v in node[1]]
    if node[2] == "collections.defaultdict":
        # The factory is code and does not travel; the values tell what it most likely was.
        made = kind(type(pairs[0][1]) if pairs and type(pairs[0][1]) in (int, list, dict, set, str, float) else None)
    else:
        made = kind()
    dict.update(made, pairs)
    return made


def _record(node, values, find_type):
    kind = find_type(node[1])
    fields = [(name, values[i]) for name, i in node[2]]
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return kind(**dict(fields))
    try:
        if len(node) == 3:
            return kind(**dict(fields))
        made = kind.__new__(kind)
        for name, value in fields:
            if not (name == "args" and isinstance(made, BaseException)):
                object.__setattr__(made, name, value)
        return made
    except Exception as error:
        raise CannotDecode("%s could not be built: %s" % (node[1], error))


def _special(name, text, find_type):
    if name in ("decimal.Decimal", "fractions.Fraction", "uuid.UUID"):
        return find_type(name)(text)
    if name in ("datetime.datetime", "datetime.date", "datetime.time"):
        return find_type(name).fromisoformat(text)
    if name == "datetime.timedelta":
        days, seconds, micros = text.split(",")
        return find_type(name)(int(days), int(seconds), int(micros))
    if name in ("range", "slice"):
        parts = [None if p.strip() == "None" else int(p) for p in text[text.index("(") + 1 : -1].split(",")]
        return (range if name == "range" else slice)(*parts)
    if name == "re.Pattern":
        flags, pattern = text.split(":", 1)
        return __import__("re").compile(pattern, int(flags))
    if name.startswith("pathlib."):
        return find_type(name)(text)
    if name in ("type", "function"):
        return find_type(text)
    if name == "numpy.ndarray":
        numpy = __import__("numpy")
        dtype, shape, data = text.split(";")
        flat = numpy.frombuffer(base64.b64decode(data), dtype=dtype)
        return flat.reshape([int(n) for n in shape.split(",") if n]).copy()
    if name == "ellipsis":
        return Ellipsis
    raise CannotDecode("a value of type %s cannot be built" % name)


def find_type(name):
    """The object with this qualified name, importing its module where need be. Raises CannotDecode."""
    parts = name.split(".")
    if len(parts) == 1:
        parts = ["builtins"] + parts
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        module = sys.modules.get(module_name)
        if module is None:
            try:
                module = __import__(module_name, fromlist=["_"])
            except Exception:
                continue
        found = module
        for part in parts[cut:]:
            found = getattr(found, part, None)
            if found is None:
                break
        else:
            return found
    raise CannotDecode("there is no %s in the program" % name)
