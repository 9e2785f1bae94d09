"""The tagged encoding: plain data of any supported language as a flat graph that JSON carries without loss.

A *wire* value is ``{"nodes": [...], "roots": [...]}``. A node is a list ``[tag, ...]`` that refers to other nodes by
index, so aliases and cycles are kept, nothing is ever decoded recursively, and depth costs nothing. Tags:

    none | bool 0/1 | int "decimal" or "0x…" beyond 4,000 digits | float "repr" | complex "re" "im" | str "…" |
    bytes "base64" | bytearray "base64" | list [i…] | tuple [i…] | set [i…] | frozenset [i…] | dict [[k, v]…] |
    record "type" [["field", i]…] ["state" | "frozen"] | enum "type" "NAME" | special "type" "text" | iterator [i…] |
    opaque "type"

``list``, ``tuple``, ``set``, ``frozenset``, ``dict``, ``int``, ``float`` and ``str`` nodes may carry one more item, the
name of the subclass. ``special`` holds well-known value types by their canonical text (decimal.Decimal,
fractions.Fraction, datetime.*, uuid.UUID, pathlib.*, range, slice, re.Pattern, numpy arrays).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

BIG_INTEGER_DIGITS = 4000


class Wire(TypedDict):
    """An encoded graph with its roots."""

    nodes: list[list[Any]]
    roots: list[int]


@dataclass(frozen=True, slots=True)
class Record:
    """A value built field by field; `type` is its qualified name in the target's program."""

    type: str
    fields: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class EnumMember:
    """A member of an enum, by name."""

    type: str
    name: str


@dataclass(frozen=True, slots=True)
class Special:
    """A well-known value type by its canonical text; `type` is e.g. "decimal.Decimal"."""

    type: str
    text: str


def integer_text(value: int) -> str:
    """Decimal, or hexadecimal where decimal would be slow and refused by Python's own digit limit."""
    return hex(value) if value.bit_length() > BIG_INTEGER_DIGITS * 3 else str(value)


def parse_integer(text: str) -> int:
    """The inverse of `integer_text`. Raises ValueError."""
    return int(text, 16 if "x" in text[:3] else 10)


def encode(roots: Sequence[Any]) -> Wire:
    """Encode trusted values (Python's plain types, Record, EnumMember, Special). Raises TypeError for others.

    Mutable containers that are the same object become one node; cycles are kept.
    """
    nodes: list[list[Any]] = []
    seen: dict[int, int] = {}
    keep: list[Any] = []
    pending: list[tuple[Any, list[Any]]] = []

    def place(value: Any) -> int:
        key = id(value)
        if key in seen and isinstance(value, (list, dict, set, bytearray)):
            return seen[key]
        index = len(nodes)
        node = _leaf(value)
        nodes.append(node)
        if isinstance(value, (list, dict, set, bytearray)):
            seen[key] = index
            keep.append(value)
        if node[0] in _CONTAINERS:
            pending.append((value, node))
        return index

    indices = [place(value) for value in roots]
    while pending:
        value, node = pending.pop()
        if isinstance(value, dict):
            node[1] = [[place(k), place(v)] for k, v in value.items()]
        elif isinstance(value, Record):
            node[2] = [[name, place(v)] for name, v in value.fields]
        else:
            node[1] = [place(v) for v in value]
    return {"nodes": nodes, "roots": indices}


_CONTAINERS = frozenset({"list", "tuple", "set", "frozenset", "dict", "record"})


def _leaf(value: Any) -> list[Any]:
    match value:
        case None:
            return ["none"]
        case bool():
            return ["bool", int(value)]
        case int():
            return ["int", integer_text(value)]
        case float():
            return ["float", repr(value)]
        case complex():
            return ["complex", repr(value.real), repr(value.imag)]
        case str():
            return ["str", value]
        case bytearray():
            return ["bytearray", base64.b64encode(value).decode()]
        case bytes():
            return ["bytes", base64.b64encode(value).decode()]
        case list():
            return ["list", []]
        case tuple():
            return ["tuple", []]
        case set():
            return ["set", []]
        case frozenset():
            return ["frozenset", []]
        case dict():
            return ["dict", []]
        case Record():
            return ["record", value.type, []]
        case EnumMember():
            return ["enum", value.type, value.name]
        case Special():
            return ["special", value.type, value.text]
    raise TypeError(f"cannot encode a value of type {type(value).__name__}")


# Not recursive: what comes from a sandbox may be nested to any depth.
def source_text(wire: Wire, root: int, *, limit: int = 2000) -> str:
    """The value at node `root` as Python-like source text for people, cut at about `limit` characters."""
    nodes = wire["nodes"]
    pieces: list[str] = []
    length = 0
    stack: list[Any] = [root]
    open_nodes: list[int] = []
    while stack:
        item = stack.pop()
        if item is _LEAVE:
            open_nodes.pop()
            continue
        if isinstance(item, str):
            pieces.append(item[: limit - length])
            length += len(item)
            if length > limit:
                pieces.append("…")
                break
            continue
        node = nodes[item]
        if item in open_nodes:
            stack.append("<cycle>")
            continue
        parts = _source_parts(node)
        if isinstance(parts, str):
            stack.append(parts)
            continue
        open_nodes.append(item)
        stack.append(_LEAVE)
        stack.extend(reversed(parts))
    return "".join(pieces)


_LEAVE = object()
"""Marks on the stack where a node ends; an object of its own, so that no text can pass for it."""


def _source_parts(node: list[Any]) -> str | list[Any]:
    match node[0]:
        case "none":
            return "None"
        case "bool":
            return "True" if node[1] else "False"
        case "int":
            return str(node[1])
        case "float":
            return f"float({node[1]!r})" if node[1] in ("nan", "inf", "-inf") else str(node[1])
        case "complex":
            return f"complex({node[1]}, {node[2]})"
        case "str":
            return repr(node[1])
        case "bytes":
            return repr(base64.b64decode(node[1]))
        case "bytearray":
            return f"bytearray({base64.b64decode(node[1])!r})"
        case "enum":
            return f"{_short(node[1])}.{node[2]}"
        case "special":
            return _special_text(node[1], node[2])
        case "opaque":
            return f"<{node[1]}>"
        case "record":
            return [f"{_short(node[1])}(", *_joined([[f"{name}=", i] for name, i in node[2]]), ")"]
        case "dict":
            inner = ["{", *_joined([[k, ": ", v] for k, v in node[1]]), "}"]
            return [f"{_short(node[2])}(", *inner, ")"] if len(node) > 2 else inner
    items = _joined([[i] for i in node[1]])
    opening, closing = {
        "list": ("[", "]"),
        "tuple": ("(", ",)" if len(node[1]) == 1 else ")"),
        "set": ("{", "}") if node[1] else ("set(", ")"),
        "frozenset": ("frozenset({", "})"),
        "iterator": ("iter([", "])"),
    }.get(node[0], (f"{node[0]}(", ")"))
    inner = [opening, *items, closing]
    return [f"{_short(node[2])}(", *inner, ")"] if len(node) > 2 else inner


def _special_text(kind: str, text: str) -> str:
    if kind in ("range", "slice"):
        return text
    if kind in ("datetime.date", "datetime.time", "datetime.datetime"):
        return f"{_short(kind)}.fromisoformat({text!r})"
    if kind == "datetime.timedelta":
        return "timedelta({}, {}, {})".format(*text.split(","))
    if kind == "re.Pattern":
        flags, _, pattern = text.partition(":")
        return f"re.compile({pattern!r}, {flags})"
    return f"{_short(kind)}({text!r})"


def _joined(groups: list[list[Any]]) -> list[Any]:
    out: list[Any] = []
    for number, group in enumerate(groups):
        if number:
            out.append(", ")
        out.extend(group)
    return out


def _short(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def canonical_digest(wire: Wire) -> str:
    """A SHA-256 over the graph as seen from its roots: equal graphs give equal digests, sets in any order.

    Aliases of mutable nodes count (by first visit); numbering does not. A malformed graph gets a digest of its own.
    """
    try:
        return hashlib.sha256(_canonical(wire).encode("utf-8", "surrogatepass")).hexdigest()
    except (TypeError, ValueError, IndexError, KeyError, AttributeError):
        return "malformed"


def _canonical(wire: Wire) -> str:
    nodes = wire["nodes"]
    order: dict[int, int] = {}
    out: list[str] = []
    stack: list[Any] = list(reversed(wire["roots"]))
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
            continue
        node = nodes[item]
        children = children_of(node)
        if node[0] in ("list", "dict", "set", "record", "bytearray"):
            if item in order:
                out.append(f"@{order[item]}")
                continue
            order[item] = len(order)
        if node[0] in ("set", "frozenset"):
            # Items of sets are hashable, so they hold no cycle through a mutable node of ours.
            keys = sorted(_canonical({"nodes": nodes, "roots": [c]}) for c in children)
            out.append(f"{node[0]}{node[2:]}{{{','.join(keys)}}}")
        elif children:
            out.append(f"{node[0]}{_labels(node)}(")
            stack.append(")")
            stack.extend(reversed(children))
        else:
            out.append(repr(node))
    return "\n".join(out)


def _labels(node: list[Any]) -> str:
    if node[0] == "record":
        return repr([node[1], [name for name, _ in node[2]]])
    return repr(node[2:])


def children_of(node: list[Any]) -> list[int]:
    """The indices that a node refers to, in order."""
    match node[0]:
        case "list" | "tuple" | "set" | "frozenset" | "iterator":
            return node[1]
        case "dict":
            return [index for pair in node[1] for index in pair]
        case "record":
            return [index for _, index in node[2]]
    return []
