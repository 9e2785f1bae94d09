"""Cases for a signature: a deterministic mixture that reaches boundaries, branches and shared arguments.

Random values come from Hypothesis strategies built from the parameter types; boundary values, values related to each
other (an item of the list that is searched), aliased arguments and perturbed samples are added by plain code. All work
is on trusted values or wire data; nothing of the target runs here.
"""

from __future__ import annotations

import base64
import copy
import json
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import platformdirs
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from perforch_core.languages.interface import Case, CaseType, Observation, Signature
from perforch_core.oracle.equivalence import has_identity
from perforch_core.oracle.guess import infer_type
from perforch_core.values import EnumMember, Record, Special, Wire, encode, integer_text, parse_integer

# Left alone, Hypothesis writes a folder of its own into the user's working directory.
set_hypothesis_home_dir(platformdirs.user_cache_path("perforch", appauthor=False) / "hypothesis")

Strategy = st.SearchStrategy[Any]

BOUNDARY_SHARE = 0.25
SAMPLE_SHARE = 0.25
RAISING_SHARE = 0.2
"""Of the cases kept by `informative`, at most this share raises in the original."""

_BOUNDARY_INTEGERS = (0, 1, -1, 2, 3, 10, -2, 100, 255, -(2**31), 2**31, 2**63, 2**64 + 1, -(2**63), 10**30)
_BOUNDARY_FLOATS = (
    0.0, 1.0, -1.0, 0.5, -0.0, 0.1, 1e-9, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan"), 9e15,
)  # fmt: skip
_BOUNDARY_STRINGS = (
    "", "a", " ", "ab", "aa", "0", "-1", "A", "aBc", "\n", "a b", "  a  ", "é", "e\u0301", "ß", "İ",
    "\U0001f600", "\U0001f469\u200d\U0001f4bb", "日本", "\x00", "aaaaaaaaaaaaaaaaaaaa", "racecar",
    "()", "1,2", "a\tb\r\n", "%s", "{}",
)  # fmt: skip
_BOUNDARY_BYTES = (b"", b"a", b"\x00", b"\xff\xfe", b"ab" * 8)
_ALPHABETS = ("ab", "abc ", "0123456789", "()[]{}", "aAbB 1_-.,", "abcdefghijklmnopqrstuvwxyz", " \t\nab")
_SPECIALS: dict[str, tuple[str, ...]] = {
    "decimal.Decimal": ("0", "1", "-1.50", "1E+3", "0.1", "NaN", "-0", "123456789.987654321"),
    "fractions.Fraction": ("0", "1", "-1/3", "22/7", "1/2", "1000000007/3"),
    "uuid.UUID": ("00000000-0000-0000-0000-000000000000", "12345678-1234-5678-1234-567812345678"),
    "datetime.date": ("1970-01-01", "2000-02-29", "1999-12-31", "2024-01-31", "9999-12-31", "0001-01-01"),
    "datetime.datetime": ("1970-01-01T00:00:00", "2000-02-29T23:59:59.999999", "2024-03-10T02:30:00"),
    "datetime.time": ("00:00:00", "23:59:59.999999", "12:00:00"),
    "datetime.timedelta": ("0,0,0", "1,0,0", "-1,86399,999999", "0,3600,0", "30,0,1"),
    "pathlib.Path": ("a", ".", "a/b.txt", "/a/../b", "a.tar.gz"),
}
_CALLABLES = (
    Special("type", "str"), Special("function", "builtins.abs"), Special("function", "operator.neg"),
    Special("type", "bool"), Special("function", "builtins.len"), Special("function", "operator.add"),
)  # fmt: skip
_OPEN_ENDED = frozenset({"int", "float", "str", "list", "dict"})
_ITERATOR = "\0iterator"  # how an iterator travels through `encode`, which knows none


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """Values known to matter: literals of the source and values seen in samples."""

    integers: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    strings: tuple[str, ...] = ()
    bytes: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class _Scale:
    items: int
    reach: int


_SMALL, _MEDIUM = _Scale(5, 10), _Scale(25, 1000)


@dataclass(frozen=True, slots=True)
class _Slot:
    """One argument that a case may give. `named` goes by keyword; `extra` may be repeated (``*args``)."""

    name: str
    type: CaseType
    optional: bool
    named: bool
    extra: bool
    pool: _Pool = field(compare=False)


def generate_cases(
    signature: Signature, *, count: int, seed: int, samples: Sequence[Case] = (), constants: Sequence[Any] = ()
) -> list[Case]:
    """Up to `count` different cases for a signature, the same for the same arguments.

    `samples` are known calls (captured, from the docs): types not declared are learnt from them, and a quarter of the
    cases are samples with one thing changed. `constants` are literals of the target's source, so that branches on them
    are reached. Fewer cases, or none, come back where the types allow no more (an opaque argument without samples).
    """
    if signature.problem or count <= 0:
        return []
    rng = random.Random(seed)
    slots = _slots(signature, samples, constants)
    made: dict[str, Case] = {_key(sample): sample for sample in samples}
    known = len(made)

    def add(case: Case) -> None:
        if len(made) - known < count:
            made.setdefault(_key(case), case)

    wanted = round(count * SAMPLE_SHARE) if samples else 0
    if slots is None:
        wanted = count
    for _ in range(wanted * 3):
        if len(made) - known >= wanted:
            break
        add(_perturbed(rng.choice(samples), rng)) if samples else None
    if slots is not None:
        _generate_from_types(slots, count=count, seed=seed, rng=rng, add=add, full=lambda: len(made) - known >= count)
    kinds = [slot.type for slot in slots or ()]
    if any(kind.kind in _OPEN_ENDED for kind in kinds) and not any(_holds_literals(kind) for kind in kinds):
        for case in list(made.values())[known:] * 2:
            add(_perturbed(case, rng))
    return list(made.values())[known:]


def informative(cases: Sequence[Case], observations: Sequence[Observation]) -> list[int]:
    """The positions of the cases worth keeping, in order: those on which the original returns, and a few that raise.

    Of the raising ones, those whose exception type is new come first; they make up at most `RAISING_SHARE` (at least
    one of every exception type, up to five). Cases without an answer are dropped.
    """
    returning = [i for i, o in enumerate(observations) if not o.dead and o.raised is None]
    raising = [i for i, o in enumerate(observations) if not o.dead and o.raised is not None]
    if not returning:
        return raising
    kinds: dict[str, int] = {}
    rank = {}
    for i in raising:
        raised = observations[i].raised
        name = raised[0] if raised else ""
        rank[i] = kinds[name] = kinds.get(name, -1) + 1
    room = max(min(5, len(kinds)), int(len(returning) * RAISING_SHARE / (1 - RAISING_SHARE)))
    kept = sorted(raising, key=lambda i: (rank[i], i))[:room]
    return sorted(returning + kept)


def _holds_literals(kind: CaseType) -> bool:
    parts = kind.args + tuple(part for _, part in kind.fields)
    return kind.kind == "literal" or any(_holds_literals(part) for part in parts)


def case_size(wire: Wire) -> int:
    """The length of the longest container or text among the arguments."""
    longest = 0
    for node in wire["nodes"]:
        if node[0] in ("list", "tuple", "set", "frozenset", "dict", "iterator", "str", "bytes", "bytearray"):
            longest = max(longest, len(node[1]))
    return longest


# --- from types --------------------------------------------------------------------------------------------------


def _slots(signature: Signature, samples: Sequence[Case], constants: Sequence[Any]) -> list[_Slot] | None:
    """What a case may give; None where an argument that it must give has a type no value can be made for."""
    learnt = _learnt(signature, samples)
    slots: list[_Slot] = []
    if signature.receiver is not None:
        if _strategy(signature.receiver, _SMALL, _Pool()) is None:
            return None
        slots.append(_Slot("self", signature.receiver, False, False, False, _pool(constants, samples, None)))
    by_name = False
    for parameter in signature.parameters:
        if parameter.kind == "keywords":
            continue
        kind, column = learnt.get(parameter.name, (parameter.type, None))
        kind = _merged(parameter.type, kind)
        extra = parameter.kind == "variadic"
        if _strategy(kind, _SMALL, _Pool()) is None:
            if not (parameter.has_default or extra):
                return None
            by_name = True  # what comes after a gap can only go by keyword
            continue
        if extra and by_name:
            continue
        named = by_name or parameter.kind == "keyword"
        pool = _pool(constants, samples, column)
        slots.append(_Slot(parameter.name, kind, parameter.has_default or extra, named, extra, pool))
    return slots


def _learnt(signature: Signature, samples: Sequence[Case]) -> dict[str, tuple[CaseType, list[tuple[Wire, int]]]]:
    """For each parameter that samples give: its type as seen, and the values."""
    columns: dict[str, list[tuple[Wire, int]]] = {}
    first = 1 if signature.receiver is not None else 0
    positional = [p.name for p in signature.parameters if p.kind == "positional"]
    variadic = next((p.name for p in signature.parameters if p.kind == "variadic"), None)
    for case in samples:
        roots = case.arguments["roots"][first:]
        cut = len(roots) - len(case.keywords)
        for number, root in enumerate(roots):
            if number >= cut:
                name: str | None = case.keywords[number - cut]
            else:
                name = positional[number] if number < len(positional) else variadic
            if name is not None:
                columns.setdefault(name, []).append((case.arguments, root))
    return {name: (infer_type(column), column) for name, column in columns.items()}


def _merged(declared: CaseType, learnt: CaseType) -> CaseType:
    """The declared type, with what it leaves open ("any", inside too) filled in from the learnt one."""
    if declared.kind == "any":
        return learnt
    if declared.kind == learnt.kind and declared.args and len(declared.args) == len(learnt.args):
        parts = tuple(_merged(a, b) for a, b in zip(declared.args, learnt.args, strict=True))
        return replace(declared, args=parts)
    return declared


def _pool(constants: Sequence[Any], samples: Sequence[Case], column: Sequence[tuple[Wire, int]] | None) -> _Pool:
    integers: dict[int, None] = {}
    floats: dict[float, None] = {}
    strings: dict[str, None] = {}
    octets: dict[bytes, None] = {}
    for value in constants:
        match value:
            case bool():
                pass
            case int():
                integers.update(dict.fromkeys((value, value + 1, value - 1)))
            case float():
                floats[value] = None
            case str():
                strings[value] = None
            case bytes():
                octets[value] = None
    wires = [wire for wire, _ in column] if column is not None else [case.arguments for case in samples]
    for wire in wires[:50]:
        for node in wire["nodes"][:200]:
            if node[0] == "int":
                integers[parse_integer(node[1])] = None
            elif node[0] == "float":
                floats[float(node[1])] = None
            elif node[0] == "str":
                strings[node[1]] = None
    return _Pool(
        integers=tuple(integers)[:60], floats=tuple(floats)[:40], strings=tuple(strings)[:40], bytes=tuple(octets)[:20]
    )


def _generate_from_types(
    slots: Sequence[_Slot], *, count: int, seed: int, rng: random.Random, add: Callable[[Case], None],
    full: Callable[[], bool],
) -> None:  # fmt: skip
    if not slots:
        add(_build([], []))
        return
    wanted = count // 2 + 8
    rows = {scale: _rows(slots, scale, count=wanted, seed=seed + scale.items) for scale in (_SMALL, _MEDIUM)}
    boundary = list(_boundary_rows(slots, rows[_SMALL], rng))
    for row in boundary[: max(8, round(count * BOUNDARY_SHARE))]:
        add(_assembled(slots, row, rng, all_given=True, origin="boundary"))
    for number, row in enumerate(rows[_SMALL][: max(6, count // 12)]):
        if (shared := _aliased(slots, row, rng, number)) is not None:
            add(_assembled(slots, shared, rng, all_given=True))
    stocks = [_stock(row[place] for row in rows[_MEDIUM]) for place in range(len(slots))]
    for number, row in enumerate(rows[_MEDIUM][: max(4, count // 12)]):
        larger = [
            _enlarged(value, slot.type, stock if number % 2 else {}, rng)
            for value, slot, stock in zip(row, slots, stocks, strict=True)
        ]
        add(_assembled(slots, larger, rng))
    for small, medium in zip(*rows.values(), strict=False):
        for row in (small, medium):
            add(_assembled(slots, _related(slots, row, rng) if rng.random() < 0.5 else row, rng))
        if full():
            return
    for row in [*rows[_MEDIUM], *rows[_SMALL], *boundary]:
        add(_assembled(slots, _related(slots, row, rng), rng))


def _rows(slots: Sequence[_Slot], scale: _Scale, *, count: int, seed: int) -> list[list[Any]]:
    parts = [strategy for slot in slots if (strategy := _strategy(slot.type, scale, slot.pool)) is not None]
    return [list(row) for row in _draw(st.tuples(*parts), count=count, seed=seed)]


def _draw(strategy: Strategy, *, count: int, seed: int) -> list[Any]:
    found: list[Any] = []

    @hypothesis_seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def _boundary_rows(slots: Sequence[_Slot], rows: Sequence[list[Any]], rng: random.Random) -> Iterator[list[Any]]:
    """One argument at a boundary, the others ordinary, in turn; every now and then all of them."""
    tables = [list(_boundaries(slot.type, slot.pool)) for slot in slots]
    for step in range(max(map(len, tables), default=0)):
        if step < 3:
            yield [t[step % len(t)] if t else rng.choice(rows)[place] for place, t in enumerate(tables)]
        for place, table in enumerate(tables):
            if step < len(table):
                row = list(rows[rng.randrange(len(rows))])
                row[place] = table[step]
                yield row


def _assembled(
    slots: Sequence[_Slot],
    row: Sequence[Any],
    rng: random.Random,
    *,
    all_given: bool = False,
    origin: str = "generated",
) -> Case:
    """Choose which optional arguments to give, and build the case."""
    positional: list[Any] = []
    named: list[tuple[str, Any]] = []
    short = False
    for slot, value in zip(slots, row, strict=True):
        given_now = not slot.optional or all_given or rng.random() < 0.6
        if slot.extra:
            if not short:
                positional += [value, *(copy.deepcopy(value) for _ in range(rng.randrange(3)))] if given_now else []
        elif slot.named:
            if given_now:
                named.append((slot.name, value))
        elif short or not given_now:
            short = True
        else:
            positional.append(value)
    return _build(positional, named, origin=origin)


def _build(positional: Sequence[Any], named: Sequence[tuple[str, Any]], *, origin: str = "generated") -> Case:
    wire = _finished(encode([*positional, *(value for _, value in named)]))
    return Case(arguments=wire, keywords=tuple(name for name, _ in named), origin=origin, size=case_size(wire))


def _finished(wire: Wire) -> Wire:
    """Turn stand-ins into iterators, and put sets in an order that does not depend on this process's hash seed."""
    nodes = wire["nodes"]
    for node in nodes:
        if node[0] == "record" and node[1] == _ITERATOR:
            node[:] = ["iterator", list(nodes[node[2][0][1]][1])]
        elif node[0] in ("set", "frozenset"):
            node[1].sort(key=lambda index: _shape(nodes, index))
    return compact(wire)


def compact(wire: Wire) -> Wire:
    """The wire without the nodes that no root reaches, numbered in the order in which they are reached."""
    nodes = wire["nodes"]
    place: dict[int, int] = {}
    order: list[int] = []

    def visit(index: int) -> int:
        if index not in place:
            place[index] = len(order)
            order.append(index)
        return place[index]

    roots = [visit(index) for index in wire["roots"]]
    made: list[list[Any]] = []
    at = 0
    while at < len(order):
        node = nodes[order[at]]
        if node[0] in ("list", "tuple", "set", "frozenset", "iterator"):
            node = [node[0], [visit(i) for i in node[1]], *node[2:]]
        elif node[0] == "dict":
            node = [node[0], [[visit(k), visit(v)] for k, v in node[1]], *node[2:]]
        elif node[0] == "record":
            node = [node[0], node[1], [[name, visit(i)] for name, i in node[2]], *node[3:]]
        made.append(node)
        at += 1
    return {"nodes": made, "roots": roots}


def _shape(nodes: list[list[Any]], index: int, depth: int = 0) -> str:
    node = nodes[index]
    if depth > 8 or node[0] not in ("tuple", "frozenset", "record"):
        return json.dumps(node)
    children = [i for _, i in node[2]] if node[0] == "record" else node[1]
    texts = [_shape(nodes, child, depth + 1) for child in children]
    return node[0] + json.dumps(sorted(texts) if node[0] == "frozenset" else texts)


def _key(case: Case) -> str:
    return json.dumps([case.arguments, case.keywords])


# --- strategies --------------------------------------------------------------------------------------------------


def _strategy(kind: CaseType, scale: _Scale, pool: _Pool, depth: int = 0) -> Strategy | None:
    """Values of a type; None where none can be made."""
    make = _MAKERS.get(kind.kind)
    if make is None or depth > 8:
        return None
    return make(kind, _Scale(max(2, scale.items >> max(0, depth - 1)), scale.reach), pool, depth + 1)


_Maker = Callable[[CaseType, _Scale, _Pool, int], "Strategy | None"]


def _integers(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy:
    choices: list[Strategy] = [st.integers(-3, scale.reach), st.integers(-scale.reach, scale.reach), st.integers(0, 5)]
    if pool.integers:
        choices.append(st.sampled_from(pool.integers))
        low, high = min(pool.integers), max(pool.integers)
        if high - low < 1 << 32:
            choices.append(st.integers(low, high))
    if scale is _MEDIUM and depth > 1:
        choices.append(st.integers(-(2**70), 2**70))  # inside containers a huge value costs no time
    return st.one_of(*choices)


def _floats(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy:
    reach = float(scale.reach)
    choices: list[Strategy] = [
        st.floats(-reach, reach, allow_nan=False),
        st.integers(-scale.reach, scale.reach).map(float),
        st.integers(-400, 400).map(lambda n: n / 4),
    ]
    if pool.floats or pool.integers:
        choices.append(st.sampled_from([*pool.floats, *(float(n) for n in pool.integers if abs(n) < 1 << 53)] or [0.5]))
    return st.one_of(*choices)


def _strings(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy:
    longest = scale.items if depth > 1 else scale.items * 3
    choices: list[Strategy] = [st.text(alphabet, max_size=longest) for alphabet in _ALPHABETS]
    choices.append(st.text(max_size=scale.items))
    if pool.strings:
        known = st.sampled_from(pool.strings)
        choices += [known, known, st.builds(lambda a, b, c: a + b + c, known, st.text("ab 1", max_size=3), known)]
        choices += [st.lists(known, max_size=scale.items).map(glue.join) for glue in ("", "", " ")]
    return st.one_of(*choices)


def _bytes(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy:
    few = st.lists(st.sampled_from(b"ab\x00\xff"), max_size=scale.items * 2).map(bytes)
    return st.one_of(st.binary(max_size=scale.items * 2), few, st.sampled_from(pool.bytes or _BOUNDARY_BYTES))


def _lists(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    part = kind.args[0] if kind.args else CaseType(kind="any")
    item = _strategy(part, scale, pool, depth)
    if item is None:
        return None
    plain = st.lists(item, max_size=scale.items)
    few = st.builds(_chosen, st.lists(item, min_size=1, max_size=3), st.lists(st.integers(0, 2), max_size=scale.items))
    choices: list[Strategy] = [plain, plain, few]
    if _ordered(part):
        choices += [plain.map(sorted), few.map(sorted), plain.map(lambda items: sorted(items, reverse=True))]
    if part.kind == "tuple" and len(part.args) > 1 and len(set(part.args)) == 1 and _ordered(part.args[0]):
        choices.append(plain.map(lambda items: [tuple(sorted(each)) for each in items]))
    if part.kind in ("list", "str") and (part.kind == "str" or part.args):
        choices += _rectangles(part, scale, pool, depth)
    return st.one_of(*choices)


def _rectangles(part: CaseType, scale: _Scale, pool: _Pool, depth: int) -> list[Strategy]:
    """Rows of one length (a matrix, a grid of characters): random rows hardly ever are."""
    if part.kind == "str":
        rows = st.integers(0, 5).flatmap(lambda n: st.lists(st.text("ab", min_size=n, max_size=n), max_size=5))
        return [rows]
    cell = _strategy(part.args[0], _Scale(2, scale.reach), pool, depth + 1)
    if cell is None:
        return []
    side = min(6, scale.items)

    def square(n: int) -> Strategy:
        return st.lists(st.lists(cell, min_size=n, max_size=n), min_size=n, max_size=n)

    def oblong(n: int) -> Strategy:
        return st.lists(st.lists(cell, min_size=n, max_size=n), min_size=1, max_size=side)

    return [st.integers(1, min(4, side)).flatmap(square), st.integers(1, side).flatmap(oblong)]


def _chosen(items: list[Any], picks: list[int]) -> list[Any]:
    return [copy.deepcopy(items[pick % len(items)]) for pick in picks]


def _ordered(kind: CaseType) -> bool:
    return kind.kind in ("int", "float", "str", "bytes", "bool") or (
        kind.kind == "tuple" and bool(kind.args) and all(_ordered(part) for part in kind.args)
    )


def _hashable(kind: CaseType) -> bool:
    if kind.kind in ("list", "set", "dict", "iterator"):
        return False
    parts = kind.args + tuple(part for _, part in kind.fields)
    return all(_hashable(part) for part in parts)


def _tuples(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    if kind.variadic:
        items = _lists(replace(kind, kind="list"), scale, pool, depth)
        return None if items is None else items.map(tuple)
    parts = [_strategy(part, scale, pool, depth) for part in kind.args]
    known = [part for part in parts if part is not None]
    return st.tuples(*known) if len(known) == len(parts) else None


def _sets(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    part = _keyed(kind.args[0] if kind.args else CaseType(kind="any"))
    item = _strategy(part, scale, pool, depth) if _hashable(part) else None
    if item is None:
        return None
    build = frozenset if kind.kind == "frozenset" else set
    return st.lists(item, max_size=scale.items).map(build)


def _keyed(kind: CaseType) -> CaseType:
    """What stands for an unknown type where values must be hashable."""
    return CaseType(kind="int") if kind.kind == "any" else kind


def _dicts(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    key, part = kind.args if len(kind.args) == 2 else (CaseType(kind="str"), CaseType(kind="any"))
    if key.kind == "any":
        key = CaseType(kind="str")
    keys = _strategy(key, _Scale(min(3, scale.items), scale.reach), pool, depth) if _hashable(key) else None
    items = _strategy(part, scale, pool, depth)
    if keys is None or items is None:
        return None
    plain = st.lists(st.tuples(keys, items), max_size=min(scale.items, 12)).map(dict)
    if part.kind in ("list", "set") and part.args and part.args[0] == key:
        links = st.lists(st.lists(st.integers(0, 7), max_size=3), max_size=8)
        build = list if part.kind == "list" else set
        return st.one_of(plain, st.builds(lambda k, rows: _graph(k, rows, build), st.lists(keys, max_size=8), links))
    return plain


def _graph(keys: list[Any], rows: list[list[int]], build: Callable[[Any], Any]) -> dict[Any, Any]:
    """An adjacency table in which every neighbour is a key."""
    keys = list(dict.fromkeys(keys))
    rows = rows + [[]] * len(keys)
    return {key: build([keys[n % len(keys)] for n in row]) for key, row in zip(keys, rows, strict=False)}


def _optionals(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    inner = _strategy(kind.args[0], scale, pool, depth)
    return st.none() if inner is None else st.one_of(st.none(), inner, inner, inner)


def _unions(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    parts = [strategy for part in kind.args if (strategy := _strategy(part, scale, pool, depth)) is not None]
    return st.one_of(*parts) if parts else None


def _records(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    parts = [(name, _strategy(part, scale, pool, depth)) for name, part in kind.fields]
    known = [(name, part) for name, part in parts if part is not None]
    if len(known) < len(parts):
        return None
    names = [name for name, _ in known]
    values = st.tuples(*(part for _, part in known))
    return values.map(lambda row: Record(kind.name, tuple(zip(names, row, strict=True))))


def _enums(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    members = [EnumMember(kind.name, name) for name in kind.members]
    return st.sampled_from(members) if members else None


def _literals(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    values = _literal_values(kind)
    return st.sampled_from(values) if values else None


def _literal_values(kind: CaseType) -> list[Any]:
    found: list[Any] = []
    for wire in kind.values:
        node = wire["nodes"][wire["roots"][0]]
        match node[0]:
            case "none":
                found.append(None)
            case "bool":
                found.append(bool(node[1]))
            case "int":
                found.append(parse_integer(node[1]))
            case "str":
                found.append(node[1])
            case "bytes":
                found.append(base64.b64decode(node[1]))
            case "enum":
                found.append(EnumMember(node[1], node[2]))
    return found


def _iterators(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    items = _lists(kind, scale, pool, depth)
    return None if items is None else items.map(lambda values: Record(_ITERATOR, (("items", values),)))


def _opaques(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy | None:
    if kind.name == "numpy.ndarray":
        return _arrays(scale)
    name = "pathlib.Path" if kind.name.startswith("pathlib.") else kind.name
    texts = _SPECIALS.get(name)
    return st.sampled_from([Special(kind.name, text) for text in texts]) if texts else None


def _arrays(scale: _Scale) -> Strategy:
    number = st.one_of(st.integers(-scale.reach, scale.reach).map(float), st.floats(-100, 100, allow_nan=False))
    flat = st.lists(number, max_size=scale.items)
    rows = st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(number, min_size=n, max_size=n), min_size=1, max_size=4)
    )
    return st.one_of(flat.map(array_of), rows.map(array_of))


def array_of(values: list[Any]) -> Special:
    """A numpy array of 64-bit floats in its canonical text: dtype, shape and data."""
    nested = bool(values) and isinstance(values[0], list)
    numbers = [n for row in values for n in row] if nested else values
    shape = f"{len(values)},{len(values[0])}" if nested else str(len(values))
    data = base64.b64encode(struct.pack(f"<{len(numbers)}d", *numbers)).decode()
    return Special("numpy.ndarray", f"<f8;{shape};{data}")


def _anything(kind: CaseType, scale: _Scale, pool: _Pool, depth: int) -> Strategy:
    integer, string = CaseType(kind="int"), CaseType(kind="str")
    parts = [_integers(integer, scale, pool, depth), _strings(string, scale, pool, depth)]
    if depth < 3:
        parts.append(st.lists(parts[0], max_size=scale.items))
    return st.one_of(*parts)


_MAKERS: dict[str, _Maker] = {
    "none": lambda *_: st.none(),
    "bool": lambda *_: st.booleans(),
    "int": _integers,
    "float": _floats,
    "complex": lambda k, s, p, d: st.builds(complex, _floats(k, s, p, d), _floats(k, s, p, d)),
    "str": _strings,
    "bytes": _bytes,
    "list": _lists,
    "tuple": _tuples,
    "set": _sets,
    "frozenset": _sets,
    "dict": _dicts,
    "optional": _optionals,
    "union": _unions,
    "enum": _enums,
    "record": _records,
    "literal": _literals,
    "iterator": _iterators,
    "callable": lambda *_: st.sampled_from(_CALLABLES),
    "opaque": _opaques,
    "any": _anything,
}


# --- boundary values ---------------------------------------------------------------------------------------------


def _boundaries(kind: CaseType, pool: _Pool, depth: int = 0) -> list[Any]:
    """Boundary values of a type, the most telling first. Never empty for a type that has values."""
    inner = [_boundaries(part, pool, depth + 1) for part in kind.args] if depth < 4 else []
    first = inner[0] if inner else [0, 1, 2]
    match kind.kind:
        case "int":
            # Huge numbers by themselves are often sizes or counts, on which a call takes for ever: few of them.
            numbers = [*_BOUNDARY_INTEGERS[:9], *pool.integers[:12], *_BOUNDARY_INTEGERS[9:12]]
            return numbers if depth == 0 else [*numbers, *_BOUNDARY_INTEGERS[12:]]
        case "float":
            return [*_BOUNDARY_FLOATS, *pool.floats[:12]]
        case "complex":
            return [0j, 1j, complex(-0.0, 1.5), complex(float("inf"), 0.0)]
        case "bool":
            return [False, True]
        case "str":
            return [*_BOUNDARY_STRINGS[:6], *pool.strings[:15], *_BOUNDARY_STRINGS[6:]]
        case "bytes":
            return [*_BOUNDARY_BYTES, *pool.bytes[:8]]
        case "list" | "iterator":
            rows = _boundary_lists(first)
            return rows if kind.kind == "list" else [Record(_ITERATOR, (("items", row),)) for row in rows]
        case "tuple" if kind.variadic:
            return [tuple(row) for row in _boundary_lists(first)]
        case "tuple":
            return _boundary_products(inner, tuple) if kind.args else [()]
        case "set" | "frozenset":
            build = set if kind.kind == "set" else frozenset
            hashable = _hashable(_keyed(kind.args[0])) if kind.args else True
            return [build(), *(build(row) for row in _boundary_lists(first) if row)] if hashable else [build()]
        case "dict":
            return _boundary_dicts(kind, inner)
        case "optional":
            return [None, *first]
        case "union":
            return [value for row in zip(*inner, strict=False) for value in row]
        case "none":
            return [None]
        case "record":
            fields = [_boundaries(part, pool, depth + 1) for _, part in kind.fields] if depth < 4 else []
            names = [name for name, _ in kind.fields][: len(fields)]
            products = _boundary_products(fields, tuple) if fields else [()]
            return [Record(kind.name, tuple(zip(names, row, strict=True))) for row in products]
        case "literal":
            return _literal_values(kind)
        case "enum":
            return [EnumMember(kind.name, name) for name in kind.members]
        case "callable":
            return list(_CALLABLES)
        case "opaque" if kind.name == "numpy.ndarray":
            return [array_of(row) for row in ([], [0.0], [-0.0, float("nan")], [1.0, 1.0], [[1.0, 2.0], [3.0, 4.0]])]
        case "opaque":
            name = "pathlib.Path" if kind.name.startswith("pathlib.") else kind.name
            return [Special(kind.name, text) for text in _SPECIALS.get(name, ())]
    return [0, "", [], [1, 2, 2], "ab"]


def _boundary_lists(items: list[Any]) -> list[list[Any]]:
    if not items:  # of something no value can be made for
        return [[]]
    a = items[0]
    b = items[1] if len(items) > 1 else a
    c = items[3] if len(items) > 3 else b
    rows = [[], [a], [b], [a, a], [a, b], [b, a], [a, b, a], [b, b, b, b], [c, b, a, c], [a, b, c], [*items[:8]]]
    rows += [[item] for item in items[2:]] + [[a, item, b] for item in items[4:]]
    rows += [[b] * 17, [*items, *items], [*reversed(items)], items[1:6] * 7]
    return [[copy.deepcopy(item) for item in row] for row in rows]


def _boundary_products(columns: list[list[Any]], build: Callable[[Any], Any]) -> list[Any]:
    if not all(columns):
        return []
    longest = max((len(column) for column in columns), default=0)
    rows = [build([column[min(step, len(column) - 1)] for column in columns]) for step in range(longest) if columns]
    for place, column in enumerate(columns):
        rows += [
            build([c[1 % len(c)] if n != place else value for n, c in enumerate(columns)]) for value in column[2:6]
        ]
    return rows


def _boundary_dicts(kind: CaseType, inner: list[list[Any]]) -> list[Any]:
    key = kind.args[0] if kind.args else CaseType(kind="str")
    keys = inner[0] if inner and key.kind != "any" else list(_BOUNDARY_STRINGS[:8])
    values = inner[1] if len(inner) > 1 else [0, 1, 2]
    if not _hashable(key) or not values:
        return [{}]
    pairs = [(k, values[n % len(values)]) for n, k in enumerate(keys)]
    rows = [{}, dict(pairs[:1]), dict(pairs[:2]), dict(reversed(pairs[:2])), dict(pairs[1:4]), dict(pairs)]
    rows += [dict.fromkeys(keys[:3], value) for value in values[:4]]
    return [copy.deepcopy(row) for row in rows]


# --- arguments that have to do with each other -------------------------------------------------------------------


def _related(slots: Sequence[_Slot], row: Sequence[Any], rng: random.Random) -> list[Any]:
    """Make one argument depend on another: an item or a position of it, a part or a rearrangement of it."""
    row = list(row)
    pairs = [
        (i, j) for i in range(len(row)) for j in range(len(row)) if i != j and _can_relate(slots[i], slots[j], row[j])
    ]
    if pairs:
        i, j = rng.choice(pairs)
        row[i] = _taken_from(slots[i].type, row[j], rng)
    return row


def _can_relate(slot: _Slot, other: _Slot, value: Any) -> bool:
    if not isinstance(value, (list, str, tuple, dict, set, bytes)) or not value:
        return False
    kind, source = slot.type.kind, other.type
    parts = source.args[:1]
    if kind == "int":
        return True
    return slot.type == source or slot.type in parts or (kind == "str" and source.kind == "str")


def _taken_from(kind: CaseType, value: Any, rng: random.Random) -> Any:
    items = sorted(value, key=repr) if isinstance(value, (set, dict)) else list(value)
    if kind.kind == "int" and (not isinstance(items[0], int) or rng.random() < 0.4):
        return rng.choice([len(items), len(items) - 1, rng.randrange(len(items)), len(items) + 1, len(items) // 2])
    if isinstance(value, str) and kind.kind == "str":
        start = rng.randrange(len(value))
        cut = value[start : start + rng.randint(1, max(1, len(value) // 2))]
        return rng.choice([cut, cut, value, value[::-1], "".join(rng.sample(items, len(items))), value[:-1]])
    if isinstance(value, list) and kind.kind == "list" and (not items or not isinstance(items[0], list)):
        start = rng.randrange(len(items))
        part = rng.choice([items[start:], items[:start], rng.sample(items, len(items)), items[::-1], list(items)])
        return copy.deepcopy(part)
    same = type(value) in (list, tuple, set, dict) and kind.kind == type(value).__name__
    return copy.deepcopy(value if same else rng.choice(items))


def _aliased(slots: Sequence[_Slot], row: Sequence[Any], rng: random.Random, number: int) -> list[Any] | None:
    """The same object as two arguments, or as two items of one; None where no argument is mutable.

    All pairs have their turn by `number`. Where a third argument is of the same type, its items come twice: what the
    function has put into the shared object then meets it again.
    """
    mutable = [i for i, slot in enumerate(slots) if slot.type.kind in ("list", "dict", "set")]
    twins = [(i, j) for i in mutable for j in mutable if i < j and slots[i].type == slots[j].type]
    row = list(row)
    if twins:
        i, j = twins[number % len(twins)]
        row[j] = row[i]
        if number // len(twins) % 2:
            for k in mutable:
                if k not in (i, j) and slots[k].type == slots[i].type and isinstance(row[k], list):
                    row[k] = [*row[k], *row[k]]
        return row
    nested = [i for i in mutable if isinstance(row[i], list) and row[i] and isinstance(row[i][0], (list, dict, set))]
    if not nested:
        return None
    i = rng.choice(nested)
    row[i] = [*row[i], row[i][0]]
    return row


def _unlike(item: Any, number: int) -> Any:
    """The item made different by a number, where its type tells how."""
    match item:
        case bool() | None:
            return item
        case int() | float():
            return item + number
        case str():
            return item + _letters(number)
        case tuple() if item:
            return (_unlike(item[0], number), *item[1:])
        case Record() if item.fields:
            name, value = item.fields[0]
            return Record(item.type, ((name, _unlike(value, number)), *item.fields[1:]))
    return item


def _letters(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 26)
        text += "abcdefghijklmnopqrstuvwxyz"[digit]
    return text


def _stock(values: Iterable[Any]) -> dict[type, list[Any]]:
    """The items (of dicts, the pairs) of many values of one argument, by the type of the value they came from, for
    making large ones of mostly unlike items."""
    stock: dict[type, list[Any]] = {}
    for value in values:
        if isinstance(value, dict):
            stock.setdefault(dict, []).extend(value.items())
        elif isinstance(value, list):
            stock.setdefault(list, []).extend(value)
        elif isinstance(value, (set, frozenset)):
            # Their own order depends on the process' hash seed.
            stock.setdefault(type(value), []).extend(sorted(value, key=repr))
    return stock


def _enlarged(value: Any, kind: CaseType, stocks: Mapping[type, Sequence[Any]], rng: random.Random) -> Any:
    """A longer value of the same make: small inputs never leave the small-input paths of an algorithm.

    With a stock for its type the items are taken from it, mostly unlike each other; without, from the value itself,
    over and over.
    """
    size = rng.randint(50, 300)
    if stock := stocks.get(type(value), ()):
        taken = copy.deepcopy([rng.choice(stock) for _ in range(size)])
        if not isinstance(value, dict):
            taken = [_unlike(item, rng.randint(0, size)) if rng.random() < 0.8 else item for item in taken]
        return type(value)(taken)
    if kind.kind not in ("list", "str") or not value or isinstance(value[0], list):
        return value
    items = [copy.deepcopy(rng.choice(value)) for _ in range(size)]
    if isinstance(value, str):
        return "".join(items)
    if kind.args and kind.args[0].kind == "int":
        items = [rng.randint(-size, size) if rng.random() < 0.7 else item for item in items]
        return sorted(items) if rng.random() < 0.3 else items
    return items


# --- samples with one thing changed ------------------------------------------------------------------------------


def _perturbed(case: Case, rng: random.Random) -> Case:
    """The sample with one reachable node changed, at wire level: what it cannot understand it leaves alone."""
    wire: Wire = copy.deepcopy(case.arguments)
    nodes = wire["nodes"]
    inner = private_parts(nodes)
    places = [
        index
        for index in range(len(nodes))
        if index not in inner and nodes[index][0] in _CHANGES and _changeable(nodes[index])
    ]
    if places:
        index = rng.choice(places)
        nodes[index] = _CHANGES[nodes[index][0]](nodes[index], nodes, rng)
    return Case(arguments=wire, keywords=case.keywords, origin="generated", size=case_size(wire))


def private_parts(nodes: Sequence[list[Any]]) -> set[int]:
    """The nodes below objects captured with their private fields: a change there makes a state that cannot arise."""
    pending = [
        part
        for node in nodes
        if node[0] == "record" and any(name.startswith("_") for name, _ in node[2])
        for _, part in node[2]
    ]
    found: set[int] = set()
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending += _parts(nodes[index])
    return found


def _parts(node: list[Any]) -> list[int]:
    if node[0] in ("list", "tuple", "set", "frozenset", "iterator"):
        return list(node[1])
    if node[0] == "dict":
        return [index for pair in node[1] for index in pair]
    return [index for _, index in node[2]] if node[0] == "record" else []


def _changeable(node: list[Any]) -> bool:
    return node[0] in ("int", "float", "bool") or bool(node[1])


def _change_integer(node: list[Any], nodes: list[list[Any]], rng: random.Random) -> list[Any]:
    value = parse_integer(node[1])
    new = rng.choice([value + 1, value - 1, -value, 0, value * 2, value // 2, value + rng.randint(-10, 10)])
    return ["int", integer_text(new), *node[2:]]


def _change_float(node: list[Any], nodes: list[list[Any]], rng: random.Random) -> list[Any]:
    value = float(node[1])
    return ["float", repr(rng.choice([-value, value + 1, value / 2, 0.0, value + rng.random()])), *node[2:]]


def _change_text(node: list[Any], nodes: list[list[Any]], rng: random.Random) -> list[Any]:
    text = node[1]
    at = rng.randrange(len(text))
    other = rng.choice(text)
    before, after = text[:at], text[at + 1 :]
    new = rng.choice([before + after, before + other + text[at:], before + other + after, text * 2])
    return ["str", new, *node[2:]]


def _change_items(node: list[Any], nodes: list[list[Any]], rng: random.Random) -> list[Any]:
    items = list(node[1])
    at, to = rng.randrange(len(items)), rng.randrange(len(items))
    match rng.randrange(5):
        case 0:
            del items[at]
        case 1:
            items[at], items[to] = items[to], items[at]
        case 2:
            items.reverse()
        case 3:
            items = items[: at + 1]
        case _:
            # An item once more, but no mutable one: that would be an alias, which is another matter.
            if node[0] == "list" and not has_identity(nodes[items[at]]):
                items.insert(to, items[at])
            else:
                del items[at]
    return [node[0], items, *node[2:]]


_CHANGES: dict[str, Callable[[list[Any], list[list[Any]], random.Random], list[Any]]] = {
    "int": _change_integer,
    "float": _change_float,
    "bool": lambda node, nodes, rng: ["bool", 1 - node[1]],
    "str": _change_text,
    "list": _change_items,
    "dict": _change_items,
}
