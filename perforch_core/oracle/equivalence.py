"""Telling same from different: two observations of one call, compared as data on the trusted side.

Strict by default. Types count (True, 1 and 1.0 differ), so do -0.0 against 0.0, subclass names, the insertion order of
dicts, what was printed, arguments changed by the call, and which mutable objects are one and the same. Sets have no
order; nan equals nan; exceptions are compared by type.

The graphs come from a sandbox: they are checked node by node first, every walk is iterative, and each pair of nodes is
looked at once (union-find, after Hopcroft and Karp, "A linear algorithm for testing equivalence of finite automata",
1971), so the work stays linear in the size of the answers, whatever they hold.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from perforch_core.languages.interface import Case, Observation
from perforch_core.values import Wire, source_text

MAX_NODES = 4_000_000
MAX_ULPS = 1 << 16
"""The largest tolerance that is ever estimated: an original that reacts more strongly is compared at this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What may differ. The default is nothing.

    `ulps`: floats may be this many units in the last place apart. `unordered`: "items" compares the result's own items
    in any order, "deep" those of every list and tuple inside it as well. `messages`: exception messages must agree too.
    `printed`: what the call prints must agree.
    """

    ulps: int = 0
    unordered: Literal["", "items", "deep"] = ""
    messages: bool = False
    printed: bool = True


EXACT = Tolerance()


class Kind(StrEnum):
    """The outcome of comparing one call."""

    SAME = "same"
    DIFFERENT = "different"
    UNCOMPARABLE = "cannot be compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """`words` tells of the first difference, or why there is no telling. `notes`: differences that do not count."""

    kind: Kind
    words: str = ""
    notes: tuple[str, ...] = ()


def difference(
    expected: Observation, actual: Observation, *, tolerance: Tolerance = EXACT, names: Sequence[str] = ()
) -> str | None:
    """The first difference in words, or None when the two are the same. "cannot be compared: …" is a difference here.

    `names` are the words for the receiver and the arguments, in the order of the graph's roots.
    """
    found = compare(expected, actual, tolerance=tolerance, names=names)
    if found.kind is Kind.SAME:
        return None
    return found.words if found.kind is Kind.DIFFERENT else f"cannot be compared: {found.words}"


def compare(
    expected: Observation, actual: Observation, *, tolerance: Tolerance = EXACT, names: Sequence[str] = ()
) -> Agreement:
    """Compare what one call did in two versions. Never raises, whatever the observations hold."""
    if expected.dead:
        return Agreement(kind=Kind.UNCOMPARABLE, words=f"the original gave no answer ({expected.dead})")
    if actual.dead:
        return _differs(f"gave no answer ({_clip(actual.dead)})")
    printed = _printed(expected.stdout, actual.stdout) if tolerance.printed else None
    if expected.raised is not None or actual.raised is not None:
        found = _compare_raised(expected, actual, tolerance, names)
    else:
        found = _compare_graphs(expected.graph, actual.graph, tolerance, names)
    if found.kind is not Kind.DIFFERENT and (words := printed or _state_words(expected, actual, tolerance)):
        return replace(found, kind=Kind.DIFFERENT, words=words)
    return found


def _state_words(expected: Observation, actual: Observation, tolerance: Tolerance) -> str:
    """The first difference in what the calls made of the module's variables; "" for none."""
    for name in sorted({*expected.state, *actual.state}):
        if name not in actual.state:
            return f"leaves the module's {name} as it was"
        if name not in expected.state:
            return f"changes the module's {_clip(name)}"
        found = _compare_graphs(expected.state[name], actual.state[name], replace(tolerance, unordered=""), (name,))
        if found.kind is Kind.DIFFERENT:
            left, wanted = (_state_text(observation.state[name]) for observation in (actual, expected))
            return f"leaves {left} in the module's {name} where {wanted} is expected"
    return ""


def _state_text(wire: Wire) -> str:
    # It comes from a candidate's process: anything may be in it, no root at all too.
    if malformed(wire) or not wire["roots"]:
        return "something unreadable"
    return _clip(source_text(wire, wire["roots"][0], limit=100))


def ulps_between(left: Observation, right: Observation) -> int | None:
    """The largest distance, in units in the last place, between floats of two answers that are otherwise the same."""
    if left.graph is None or right.graph is None:
        return None
    walk = _Walk(left.graph, right.graph, Tolerance(ulps=1 << 64), ())
    if malformed(left.graph) or malformed(right.graph) or walk.run().kind is not Kind.SAME:
        return None
    return walk.worst_ulps


def nudged(case: Case, *, up: bool) -> Case | None:
    """The case with every finite float moved by one unit in the last place, or None where there is no float.

    Running the original on it tells how strongly it reacts: the bound for `Tolerance.ulps`.
    """
    nodes: list[list[Any]] = []
    changed = False
    for node in case.arguments["nodes"]:
        if node[0] == "float" and math.isfinite(value := float(node[1])) and value != 0.0:
            moved = math.nextafter(value, math.inf if up else -math.inf)
            nodes.append(["float", repr(moved), *node[2:]])
            changed = True
        else:
            nodes.append(node)
    if not changed:
        return None
    return replace(case, arguments={"nodes": nodes, "roots": case.arguments["roots"]}, expected=None)


def malformed(wire: Any) -> str | None:
    """Why this is not a wire graph, or None. One look at each node; never raises."""
    if not isinstance(wire, dict) or not isinstance(wire.get("nodes"), list) or not isinstance(wire.get("roots"), list):
        return "not a graph"
    nodes, roots = wire["nodes"], wire["roots"]
    count = len(nodes)
    if count > MAX_NODES or len(roots) > MAX_NODES:
        return f"more than {MAX_NODES:,} nodes"
    if not _all_indices(roots, count):
        return "a root that is no node"
    for number, node in enumerate(nodes):
        if not isinstance(node, list) or not node or not isinstance(node[0], str) or not _well_formed(node, count):
            return f"node {number} is not well formed"
    return None


def _compare_raised(
    expected: Observation, actual: Observation, tolerance: Tolerance, names: Sequence[str]
) -> Agreement:
    for raised in (expected.raised, actual.raised):
        if raised is not None and not _is_raised(raised):
            return _differs("an exception that cannot be read")
    if expected.raised is None:
        assert actual.raised is not None
        return _differs(f"raised {_clip(': '.join(actual.raised))} where {_result_text(expected)} is expected")
    if actual.raised is None:
        return _differs(f"returned {_result_text(actual)} where {expected.raised[0]} is expected")
    if expected.raised[0] != actual.raised[0]:
        return _differs(f"raised {_clip(actual.raised[0])} where {expected.raised[0]} is expected")
    if expected.graph is not None and actual.graph is not None:
        arguments = _compare_graphs(expected.graph, actual.graph, replace(tolerance, unordered=""), names)
        if arguments.kind is Kind.DIFFERENT:
            return replace(arguments, words=f"after {expected.raised[0]}, {arguments.words}")
    if expected.raised[1] == actual.raised[1]:
        return Agreement(kind=Kind.SAME)
    words = f"{expected.raised[0]} with another message: {_clip(actual.raised[1])!r} for {_clip(expected.raised[1])!r}"
    return _differs(words) if tolerance.messages else Agreement(kind=Kind.SAME, notes=(words,))


def _compare_graphs(
    expected: Wire | None, actual: Wire | None, tolerance: Tolerance, names: Sequence[str]
) -> Agreement:
    if expected is None or malformed(expected):
        return Agreement(kind=Kind.UNCOMPARABLE, words="the original's answer cannot be read")
    if expected == actual and expected["roots"] and _PLAIN.issuperset(node[0] for node in expected["nodes"]):
        return Agreement(kind=Kind.SAME)  # nearly always; the walk takes 50 microseconds a node
    problem = "no result" if actual is None else malformed(actual)
    if actual is None or problem:
        return _differs(f"the answer cannot be read ({problem})")
    if not expected["roots"] or len(expected["roots"]) != len(actual["roots"]):
        return _differs("the answer does not have the expected parts")
    return _Walk(expected, actual, tolerance, names).run()


def _differs(words: str) -> Agreement:
    return Agreement(kind=Kind.DIFFERENT, words=words)


def _is_raised(raised: Any) -> bool:
    return isinstance(raised, (tuple, list)) and len(raised) == 2 and all(isinstance(part, str) for part in raised)


def _result_text(observation: Observation) -> str:
    graph = observation.graph
    if graph is None or malformed(graph) or not graph["roots"]:
        return "an unreadable answer"
    return _show(graph, graph["roots"][0])


def _printed(expected: str, actual: str) -> str | None:
    if expected == actual:
        return None
    return f"printed {_clip(str(actual))!r} where {_clip(str(expected))!r} is expected"


def _clip(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _show(wire: Wire, index: int, limit: int = 80) -> str:
    try:
        return _clip(source_text(wire, index, limit=limit), limit + 40)
    except (LookupError, ValueError, TypeError):  # a hostile graph may hold text that no printer expects
        return f"<{wire['nodes'][index][0]}>"


# --- the shape of nodes ------------------------------------------------------------------------------------------

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*|0x[0-9a-f]+)\Z")
_SEQUENCES = frozenset({"list", "tuple", "set", "frozenset", "iterator"})
_SUBCLASSED = frozenset({"list", "tuple", "set", "frozenset", "dict", "int", "float", "str", "iterator"})
_TEXTS = {"opaque": 1, "enum": 2, "special": 2, "str": 1}
_UNORDERED = frozenset({"set", "frozenset"})
_PLAIN = frozenset({"none", "bool", "int", "float", "complex", "str", "bytes", "list", "tuple", "dict"})
"""Nodes that are the same when they are written the same."""


def _all_indices(items: Any, count: int) -> bool:
    return isinstance(items, list) and all(type(item) is int and 0 <= item < count for item in items)


def _well_formed(node: list[Any], count: int) -> bool:
    tag = node[0]
    arguments = node[1:]
    if tag in _SUBCLASSED and len(arguments) == 2 and not isinstance(arguments.pop(), str):
        return False
    if tag in _TEXTS:
        return len(arguments) == _TEXTS[tag] and all(isinstance(text, str) for text in arguments)
    if tag == "record":
        return (
            len(arguments) in (2, 3)
            and arguments[2:] in ([], ["state"], ["frozen"])
            and isinstance(arguments[0], str)
            and _are_fields(arguments[1], count)
        )
    if tag == "none":
        return not arguments
    if tag == "complex":
        return len(arguments) == 2 and all(_is_float(text) for text in arguments)
    if len(arguments) != 1:
        return False
    if tag in _SEQUENCES:
        return _all_indices(arguments[0], count)
    if tag == "dict":
        pairs = arguments[0]
        return isinstance(pairs, list) and all(_all_indices(pair, count) and len(pair) == 2 for pair in pairs)
    return _is_scalar(tag, arguments[0])


def _are_fields(fields: Any, count: int) -> bool:
    return isinstance(fields, list) and all(
        isinstance(field, list) and len(field) == 2 and isinstance(field[0], str) and _all_indices(field[1:], count)
        for field in fields
    )


def _is_scalar(tag: str, value: Any) -> bool:
    if tag == "bool":
        return value in (0, 1) and isinstance(value, int)
    if tag == "int":
        return isinstance(value, str) and _INTEGER.match(value) is not None
    if tag == "float":
        return _is_float(value)
    if tag in ("bytes", "bytearray"):
        return isinstance(value, str) and _is_base64(value)
    return False


def _is_float(text: Any) -> bool:
    if not isinstance(text, str) or len(text) > 64:
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _children(node: list[Any]) -> list[int]:
    if node[0] in _SEQUENCES:
        items: list[int] = node[1]
        return items
    if node[0] == "dict":
        return [index for pair in node[1] for index in pair]
    if node[0] == "record":
        return [index for _, index in node[2]]
    return []


def _is_closure(node: list[Any]) -> bool:
    # A function made at run time holds state that its name does not tell.
    return node[:2] == ["special", "function"] and "<" in node[2]


def _subclass(node: list[Any]) -> str:
    return node[2] if node[0] in _SUBCLASSED and len(node) > 2 else ""


def type_word(node: list[Any]) -> str:
    """The type of a node in a word for people: "int", "Point", "OrderedDict"."""
    tag: str = node[0]
    if tag == "none":
        return "None"
    name = node[1] if tag in ("record", "enum", "special", "opaque") else _subclass(node) or tag
    return _clip(name.rsplit(".", 1)[-1], 60)


# --- floats ------------------------------------------------------------------------------------------------------


def _ulps(left: str, right: str) -> int | None:
    """Units in the last place between two floats given as text; None where no number of them makes one the other."""
    a, b = float(left), float(right)
    if math.isnan(a) or math.isnan(b):
        return 0 if math.isnan(a) and math.isnan(b) else None
    if math.isinf(a) or math.isinf(b):
        return 0 if a == b else None
    return abs(_ordinal(a) - _ordinal(b))


def _ordinal(value: float) -> int:
    # -0.0 comes just below 0.0, so that the two are one unit apart and stay different at zero tolerance.
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits if bits >= 0 else -1 - (bits & 0x7FFF_FFFF_FFFF_FFFF)


# --- digests, for what has no order ------------------------------------------------------------------------------


class _Digests:
    """Content digests of the nodes of one graph, by an iterative post-order walk; None where a cycle is inside."""

    def __init__(self, wire: Wire, *, sort_sequences: bool = False, sort_pairs: bool = False) -> None:
        self._nodes = wire["nodes"]
        self._known: dict[int, bytes | None] = {}
        self._sorting = _UNORDERED | {"list", "tuple", "iterator"} if sort_sequences else _UNORDERED
        self._sort_pairs = sort_pairs or sort_sequences

    def of(self, root: int) -> bytes | None:
        """The digest of what hangs on this node."""
        known, nodes = self._known, self._nodes
        stack, open_nodes = [root], set[int]()
        while stack:
            index = stack[-1]
            if index in known:
                stack.pop()
                continue
            if index in open_nodes:
                known[index] = self._combine(nodes[index])
                open_nodes.discard(index)
                stack.pop()
                continue
            open_nodes.add(index)
            for child in _children(nodes[index]):
                if child in open_nodes:
                    known.update(dict.fromkeys(open_nodes))  # all on the way here lead into the cycle
                    return None
                if child not in known:
                    stack.append(child)
        return known[root]

    def _combine(self, node: list[Any]) -> bytes | None:
        tag = node[0]
        parts = [self._known.get(child) for child in _children(node)]
        if any(part is None for part in parts):
            return None
        whole = hashlib.blake2b(digest_size=16)
        if tag == "float":
            head: Any = ["float", "nan" if math.isnan(float(node[1])) else float(node[1]).hex(), *node[2:]]
        elif tag == "complex":
            head = ["complex", *("nan" if math.isnan(float(t)) else float(t).hex() for t in node[1:])]
        elif tag == "record":
            head = ["record", node[1], [name for name, _ in node[2]], *node[3:]]
        elif tag in _SEQUENCES or tag == "dict":
            head = [tag, len(node[1]), *node[2:]]
        else:
            head = node
        whole.update(repr(head).encode("utf-8", "surrogatepass"))
        known_parts = [part for part in parts if part is not None]
        if tag in self._sorting:
            known_parts.sort()
        if tag == "dict" and self._sort_pairs:
            known_parts = sorted(a + b for a, b in zip(known_parts[::2], known_parts[1::2], strict=True))
        for part in known_parts:
            whole.update(part)
        return whole.digest()


def content_digest(wire: Wire, root: int, *, ordered_dicts: bool = True) -> bytes | None:
    """A digest of what hangs on a node, aliases aside; None where a cycle is inside. The wire must be well formed."""
    return _Digests(wire, sort_pairs=not ordered_dicts).of(root)


# --- the walk over pairs of nodes --------------------------------------------------------------------------------

_MUTABLE = frozenset({"list", "dict", "set", "bytearray", "iterator"})


def has_identity(node: list[Any]) -> bool:
    """Whether a change to the value would show wherever else the same object is held.

    Of the records those that carry state count (instances of classes); named tuples do not.
    """
    if node[0] == "record":
        return len(node) > 3 and node[3] == "state"
    return node[0] in _MUTABLE or (node[0] == "special" and node[1] == "numpy.ndarray")


_Path = tuple[Any, str | tuple[str, int]] | None
"""Where a node is: the path to its parent, and a label; ("[{}]", n) stands for the text of the expected side's node n,
which is only made when there is something to tell."""


class _Walk:
    def __init__(self, expected: Wire, actual: Wire, tolerance: Tolerance, names: Sequence[str]) -> None:
        self.left, self.right = expected, actual
        self.tolerance = tolerance
        self.names = names
        self.worst_ulps = 0
        self._to_right: dict[int, int] = {}
        self._to_left: dict[int, int] = {}
        self._first: tuple[dict[int, _Path], dict[int, _Path]] = ({}, {})
        self._parent: dict[int, int] = {}
        self._left_digests = _Digests(expected)
        self._right_digests = _Digests(actual)
        self._unclear = ""
        self._stack: list[tuple[int, int, _Path]] = []

    def run(self) -> Agreement:
        """Walk from the roots, the result first; stop at the first difference."""
        pairs = list(zip(self.left["roots"], self.right["roots"], strict=False))
        paths: list[_Path] = [(None, self._root_name(number)) for number in range(len(pairs))]
        self._stack = [(i, j, path) for (i, j), path in zip(pairs, paths, strict=True)][::-1]
        if self.tolerance.unordered:
            i, j, path = self._stack.pop()
            if words := self._unordered_result(i, j, path):
                return _differs(words)
        while self._stack:
            i, j, path = self._stack.pop()
            if words := self._pair(i, j, path):
                return _differs(words)
        if self._unclear:
            return Agreement(kind=Kind.UNCOMPARABLE, words=self._unclear)
        return Agreement(kind=Kind.SAME)

    def _root_name(self, number: int) -> str:
        if number == 0:
            return "result"
        return self.names[number - 1] if number <= len(self.names) else f"argument {number}"

    def _pair(self, i: int, j: int, path: _Path) -> str | None:
        a, b = self.left["nodes"][i], self.right["nodes"][j]
        if words := self._head(i, j, a, b, path):
            return words
        tag = a[0]
        if has_identity(a):
            seen, words = self._alias(i, j, path)
            if words or seen:
                return words
        elif not self._unite(i, j):
            return None
        if tag in _UNORDERED:
            return self._sets(a[1], b[1], path)
        if tag == "dict":
            return self._dicts(a[1], b[1], path)
        if tag == "record":
            return self._records(a[2], b[2], path)
        if tag in _SEQUENCES:
            return self._sequences(i, j, path)
        return None

    def _head(self, i: int, j: int, a: list[Any], b: list[Any], path: _Path) -> str | None:
        """Compare everything of two nodes but their children."""
        if a[0] != b[0] or type_word(a) != type_word(b) or _subclass(a) != _subclass(b):
            return self._unlike(i, j, a, b, path)
        if a[0] in ("record", "opaque") and (a[1] != b[1] or len(a) != len(b)):
            return self._unlike(i, j, a, b, path)
        if a[0] == "opaque" or _is_closure(a):
            self._unclear = self._unclear or f"{self._text(path)} is a {type_word(a)}, which has no data form"
            return None
        if a[0] in ("float", "complex"):
            return self._floats(i, j, a, b, path)
        if a[0] in ("int", "bool", "str", "bytes", "bytearray", "enum", "special") and a[1:] != b[1:]:
            return self._other_value(i, j, path)
        return None

    def _floats(self, i: int, j: int, a: list[Any], b: list[Any], path: _Path) -> str | None:
        for left, right in zip(a[1:], b[1:], strict=True):
            if left == right:
                continue
            distance = _ulps(left, right) if _is_float(left) and _is_float(right) else None
            if distance is None or distance > self.tolerance.ulps:
                apart = f" ({distance} ulp apart)" if distance is not None and distance < 1 << 20 else ""
                return self._other_value(i, j, path) + apart
            self.worst_ulps = max(self.worst_ulps, distance)
        return None

    def _unlike(self, i: int, j: int, a: list[Any], b: list[Any], path: _Path) -> str:
        types = f"{type_word(b)} instead of {type_word(a)}"
        return f"{self._text(path)}: expected {_show(self.left, i)}, got {_show(self.right, j)} ({types})"

    def _other_value(self, i: int, j: int, path: _Path) -> str:
        return f"{self._text(path)}: expected {_show(self.left, i)}, got {_show(self.right, j)}"

    def _alias(self, i: int, j: int, path: _Path) -> tuple[bool, str | None]:
        """Keep the bijection between mutable nodes. (seen before, words on a difference)."""
        partner, other = self._to_right.get(i), self._to_left.get(j)
        if partner == j and other == i:
            return True, None
        if partner is None and other is None:
            self._to_right[i], self._to_left[j] = j, i
            self._first[0][i] = self._first[1][j] = path
            return False, None
        if partner is not None:
            shared = self._text(self._first[0][i])
            return True, f"{self._text(path)}: expected the same object as {shared}, got another one"
        shared = self._text(self._first[1][j])
        return True, f"{self._text(path)}: expected an object of its own, got the same object as {shared}"

    def _unite(self, i: int, j: int) -> bool:
        """Merge the classes of two nodes; False when they were one already, so that nothing is left to compare."""
        a, b = self._find(i), self._find(-1 - j)
        if a == b:
            return False
        self._parent[a] = b
        return True

    def _find(self, item: int) -> int:
        parent = self._parent
        while (up := parent.get(item, item)) != item:
            parent[item] = parent.get(up, up)
            item = up
        return item

    def _sequences(self, i: int, j: int, path: _Path) -> str | None:
        a, b = self.left["nodes"][i][1], self.right["nodes"][j][1]
        if len(a) != len(b):
            return f"{self._other_value(i, j, path)} ({_items(len(b))} instead of {len(a)})"
        for number in range(len(a) - 1, -1, -1):
            self._stack.append((a[number], b[number], (path, f"[{number}]")))
        return None

    def _records(self, a: list[Any], b: list[Any], path: _Path) -> str | None:
        if [name for name, _ in a] != [name for name, _ in b]:
            left, right = {name for name, _ in a}, {name for name, _ in b}
            if left == right:
                return f"{self._text(path)}: the same fields in another order"
            return f"{self._text(path)}: other fields ({_clip(', '.join(sorted(left ^ right)))})"
        for (name, i), (_, j) in reversed(list(zip(a, b, strict=True))):
            self._stack.append((i, j, (path, f".{name}")))
        return None

    def _dicts(self, a: list[Any], b: list[Any], path: _Path) -> str | None:
        keys, others = self._both_digests([k for k, _ in a], [k for k, _ in b], path)
        if keys is None or others is None:
            return None
        if keys != others:
            if sorted(keys) == sorted(others) and len(set(keys)) == len(keys):
                return f"{self._text(path)}: the same keys in another order"
            return self._extra_or_missing("key", (a, keys), (b, others), path)
        for (key, i), (other, j) in reversed(list(zip(a, b, strict=True))):
            self._stack.append((i, j, (path, ("[{}]", key))))
            self._stack.append((key, other, (path, (" key {}", key))))
        return None

    def _sets(self, a: list[int], b: list[int], path: _Path) -> str | None:
        mine, other = self._both_digests(a, b, path)
        if mine is None or other is None:
            return None
        if Counter(mine) != Counter(other):
            if self.tolerance.ulps and (pairs := self._floats_by_size(a, b)):
                self._stack.extend((i, j, (path, " item")) for i, j in pairs)
                return None
            return self._extra_or_missing("item", ([[i] for i in a], mine), ([[j] for j in b], other), path)
        # Items whose content is unique go on into the walk, so that mutable parts inside them keep their aliases.
        once = {digest for digest, count in Counter(mine).items() if count == 1}
        place = dict(zip(other, b, strict=True))
        self._stack.extend((i, place[d], (path, " item")) for i, d in zip(a, mine, strict=True) if d in once)
        return None

    def _floats_by_size(self, a: list[int], b: list[int]) -> list[tuple[int, int]]:
        left, right = self.left["nodes"], self.right["nodes"]
        if len(a) != len(b) or any(left[i][0] != "float" for i in a) or any(right[j][0] != "float" for j in b):
            return []
        first = sorted(a, key=lambda i: float(left[i][1]))
        second = sorted(b, key=lambda j: float(right[j][1]))
        return list(zip(first, second, strict=True))

    def _both_digests(
        self, a: Iterable[int], b: Iterable[int], path: _Path
    ) -> tuple[list[bytes] | None, list[bytes] | None]:
        mine = [self._left_digests.of(i) for i in a]
        other = [self._right_digests.of(j) for j in b]
        if None in mine or None in other:
            self._unclear = self._unclear or f"{self._text(path)} holds itself"
            return None, None
        return mine, other  # type: ignore[return-value]

    def _extra_or_missing(
        self, word: str, mine: tuple[list[Any], list[bytes]], other: tuple[list[Any], list[bytes]], path: _Path
    ) -> str:
        extra, missing = Counter(other[1]) - Counter(mine[1]), Counter(mine[1]) - Counter(other[1])
        if missing:
            index = mine[0][mine[1].index(next(iter(missing)))][0]
            return f"{self._text(path)}: {word} {_show(self.left, index, 60)} is missing"
        index = other[0][other[1].index(next(iter(extra)))][0]
        return f"{self._text(path)}: {word} {_show(self.right, index, 60)} is too many"

    def _unordered_result(self, i: int, j: int, path: _Path) -> str | None:
        """Compare the result as declared: its items (or all that is inside) in any order. Aliases are not looked at."""
        a, b = self.left["nodes"][i], self.right["nodes"][j]
        if words := self._head(i, j, a, b, path):
            return words
        deep = self.tolerance.unordered == "deep"
        if deep:
            self._left_digests = _Digests(self.left, sort_sequences=True)
            self._right_digests = _Digests(self.right, sort_sequences=True)
        try:
            if a[0] == "dict":
                return self._unordered_dict(a[1], b[1], path)
            if a[0] in _SEQUENCES:
                return self._sets(a[1], b[1], path) if not deep else self._same_multiset(a[1], b[1], path)
            return self._pair(i, j, path)
        finally:
            if deep:
                self._left_digests, self._right_digests = _Digests(self.left), _Digests(self.right)

    def _same_multiset(self, a: list[int], b: list[int], path: _Path) -> str | None:
        mine, other = self._both_digests(a, b, path)
        if mine is None or other is None or Counter(mine) == Counter(other):
            return None
        return self._extra_or_missing("item", ([[i] for i in a], mine), ([[j] for j in b], other), path)

    def _unordered_dict(self, a: list[Any], b: list[Any], path: _Path) -> str | None:
        keys, others = self._both_digests([k for k, _ in a], [k for k, _ in b], path)
        if keys is None or others is None:
            return None
        if Counter(keys) != Counter(others):
            return self._extra_or_missing("key", (a, keys), (b, others), path)
        place = dict(zip(others, b, strict=True))
        if self.tolerance.unordered == "deep":
            values = [i for _, i in a]
            partners = [place[digest][1] for digest in keys]
            mine, other = self._both_digests(values, partners, path)
            if mine is None or other is None or mine == other:
                return None
            return f"{self._text(path)}: other values behind the same keys"
        for (key, i), digest in zip(a, keys, strict=True):
            self._stack.append((i, place[digest][1], (path, ("[{}]", key))))
        return None

    def _text(self, path: _Path) -> str:
        labels: list[str] = []
        while path is not None:
            path, label = path
            labels.append(label if isinstance(label, str) else label[0].format(_show(self.left, label[1], 30)))
        labels.reverse()
        if len(labels) > 12:
            labels[6:-5] = ["…"]
        return "".join(labels)


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"
