"""Inputs of a wanted size: made from the types of a signature, or by rescaling calls that are known to work.

What holds for all sample calls is kept when they are rescaled: sorted or distinct items, ranges, alphabets, the type of
keys, shapes of matrices, edges that name keys of the same graph, equal lengths of several arguments, and a scalar that
is an item of a container argument or an index into it. What the samples do not show cannot be kept, so there are
several *styles*; whoever uses the inputs takes the first on which the original returns, or one that keeps it busier.
"""

from __future__ import annotations

import base64
import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from perforch_core.languages.interface import Case, CaseType, Signature
from perforch_core.values import EnumMember, Record, Special, Wire, encode, parse_integer

FREE, WITHIN, TILED, CLOSE, BOUNDED, DECLARED = range(6)
STYLES = 6
"""FREE: new items, ranges widened to keep as many distinct as in the samples. WITHIN: items within what was seen.
TILED: whole sample values one after the other. CLOSE: like FREE, but the numbers of one pair or record stay as far from
each other as in the samples (short intervals). BOUNDED: like FREE, but all integers are below n and a single one is n
(numbers of nodes, of which there are n). DECLARED: from the declared types alone, where they say all."""

WIDE = (FREE, CLOSE, BOUNDED, DECLARED)

SHAPES = ("plain", "duplicates", "early exit")

SPARSE = 40
"""In the style CLOSE integers are drawn from a range so many times as large as there are items: few of them meet."""

DEEPEST = 12
NEAR = 9
"""So far from each other are made-up numbers of one pair at most in the style CLOSE."""

WORDS = "abcdefghijklmnopqrstuvwxyz"

Draw = Callable[[int], Any]
"""Makes one value; the argument is the size for containers and ignored by scalars."""


class Unsuitable(Exception):
    """No inputs can be made: the message says why."""


def sized_cases(
    signature: Signature,
    *,
    n: int,
    count: int,
    seed: int,
    samples: Sequence[Case] = (),
    shape: str = "plain",
    style: int = 0,
) -> list[Case]:
    """`count` different calls of size `n`. The same arguments give the same calls. Raises Unsuitable.

    `samples` are calls on which the original returned normally. The size is the length of the longest container; for
    a function of integers alone it is the value itself. "duplicates" draws from few distinct items, "early exit" puts
    equal items first and looks for the first item.
    """
    layout = _layout(signature, _telling(signature, samples, style))
    rng = random.Random(f"{n} {seed} {shape} {style}")
    seen: set[str] = set()
    cases: list[Case] = []
    for _ in range(count * 4):
        maker = _Maker(rng, n=n, shape=shape, style=style, loose=not layout.rows)
        arguments = encode(_arguments(layout, maker, n))
        key = repr(arguments) if n <= 64 else str(len(cases))
        # Few values may be possible at all (booleans, tiny sizes): then calls repeat rather than being missing.
        if key in seen and len(seen) > 1:
            seen.discard(key)
            continue
        seen.add(key)
        cases.append(Case(arguments=arguments, keywords=layout.keywords, size=n))
        if len(cases) == count:
            return cases
    while cases and len(cases) < count:
        cases.append(cases[len(cases) % max(1, len(seen))])
    return cases


@dataclass(frozen=True, slots=True)
class _Layout:
    """The arguments of a call: per position what is known of its values, and the names passed by keyword."""

    columns: tuple[_Column, ...]
    keywords: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class _Column:
    """One argument position: the values that the samples have there, or its type where there are none."""

    values: tuple[Any, ...]
    type: CaseType = field(default_factory=lambda: CaseType(kind="any"))


def _telling(signature: Signature, samples: Sequence[Case], style: int) -> Sequence[Case]:
    """The samples to learn from. Generated ones show the generator's habits, so full types go before them."""
    known = all(map(_is_full, (p.type for p in signature.parameters if not p.has_default)))
    generated = all(case.origin in ("generated", "boundary") for case in samples)
    untold = style == DECLARED or (style in WIDE and generated)
    return () if untold and known and signature.parameters and not signature.problem else samples


def _is_full(kind: CaseType) -> bool:
    parts = (*kind.args, *(part for _, part in kind.fields))
    bare = kind.kind in ("list", "dict", "set", "frozenset", "tuple") and not kind.args
    return kind.kind not in ("any", "opaque", "callable") and not bare and all(map(_is_full, parts))


def _layout(signature: Signature, samples: Sequence[Case]) -> _Layout:
    rows = [(case.keywords, values) for case in samples if (values := _decoded(case.arguments)) is not None]
    if rows:
        shapes = [(keywords, len(values)) for keywords, values in rows]
        usual = max(dict.fromkeys(shapes), key=shapes.count)
        kept = tuple(values for keywords, values in rows if (keywords, len(values)) == usual)
        declared = _declared(signature, usual[0], usual[1])
        columns = tuple(_Column(_unless_empty(row[i] for row in kept), declared[i]) for i in range(usual[1]))
        return _Layout(columns, usual[0], kept)
    if signature.problem:
        raise Unsuitable(signature.problem)
    needed = [p for p in signature.parameters if p.kind != "variadic" and not p.has_default]
    needed.sort(key=lambda p: p.kind == "keyword")
    types = [p.type for p in needed]
    if signature.receiver is not None:
        types.insert(0, signature.receiver)
    keywords = tuple(p.name for p in needed if p.kind == "keyword")
    return _Layout(tuple(_Column((), t) for t in types), keywords, ())


def _unless_empty(values: Iterable[Any]) -> tuple[Any, ...]:
    """The values, or none where all are empty: an empty list does not say what a full one holds."""
    found = tuple(values)
    return () if found and all(_length(value) == 0 for value in found) else found


def _declared(signature: Signature, keywords: tuple[str, ...], count: int) -> list[CaseType]:
    """The declared types by position of a call's arguments, receiver first; "any" where nothing is declared."""
    unknown = CaseType(kind="any")
    by_name = {p.name: p.type for p in signature.parameters}
    positional = [p.type for p in signature.parameters if p.kind != "keyword"]
    if signature.receiver is not None:
        positional.insert(0, signature.receiver)
    types = (positional + [unknown] * count)[: count - len(keywords)]
    return [*types, *(by_name.get(name, unknown) for name in keywords)]


def _arguments(layout: _Layout, maker: _Maker, n: int) -> list[Any]:
    """One call's arguments: containers first, then the scalars that refer to them."""
    columns = layout.columns
    lengths = [_is_sized(column) and not _is_item(layout, i) for i, column in enumerate(columns)]
    if not any(lengths):
        return _scalars_only(columns, maker, n)
    made: dict[int, Any] = {}
    for i, column in enumerate(columns):
        if lengths[i]:
            made[i] = maker.value(column.values, column.type, _size_of(layout, i, lengths, n))
    for i in range(len(columns)):
        if not lengths[i]:
            made[i] = _related(layout, i, made, maker)
    return [made[i] for i in range(len(columns))]


def _is_sized(column: _Column) -> bool:
    if column.values:
        return any(_length(value) is not None for value in column.values)
    return _container_type(column.type)


def _is_item(layout: _Layout, i: int) -> bool:
    """Whether a string argument is an item or key of another argument rather than a thing to grow."""
    column = layout.columns[i]
    if layout.rows:
        others = [j for j in range(len(layout.columns)) if j != i]
        pairs = [(row[i], row[j]) for row in layout.rows for j in others if not isinstance(row[j], str)]
        return isinstance(layout.rows[0][i], str) and 2 * sum(_contains(c, v) for v, c in pairs) >= len(layout.rows)
    others_hold = any(
        other.type.kind in ("list", "set", "frozenset", "dict") and other.type.args and other.type.args[0].kind == "str"
        for other in layout.columns
    )
    return column.type.kind == "str" and others_hold


def _container_type(kind: CaseType) -> bool:
    if kind.kind in ("optional", "union"):
        return any(map(_container_type, kind.args))
    if kind.kind == "record":
        return any(_container_type(part) for _, part in kind.fields)
    if kind.kind == "tuple" and not kind.variadic:
        return any(map(_container_type, kind.args))
    return kind.kind in ("list", "tuple", "set", "frozenset", "dict", "str", "bytes", "iterator", "any")


def _length(value: Any) -> int | None:
    if isinstance(value, Record):
        inner = [size for _, part in value.fields if (size := _length(part)) is not None]
        return max(inner, default=None)
    return len(value) if isinstance(value, (list, tuple, set, frozenset, dict, str, bytes, bytearray)) else None


def _size_of(layout: _Layout, i: int, sized: Sequence[bool], n: int) -> int:
    """The longest container gets size n; one that is always shorter than it keeps its proportion.

    An empty one shows none: tests often leave out what they are not about.
    """
    if not layout.rows:
        return n
    shares = []
    for row in layout.rows:
        longest = max((_length(value) or 0 for j, value in enumerate(row) if sized[j]), default=0)
        own = _length(row[i])
        if longest and own:
            shares.append(own / longest)
    shares.sort()
    return max(1, round(n * shares[len(shares) // 2])) if shares else n


def _scalars_only(columns: Sequence[_Column], maker: _Maker, n: int) -> list[Any]:
    """For a function of scalars the value grows: all integers in style 0, only the first in the others."""
    grown = 0
    out: list[Any] = []
    for column in columns:
        whole = all(type(v) is int for v in column.values) if column.values else column.type.kind in ("int", "any")
        if whole and (maker.style in WIDE or not grown):
            grown += 1
            out.append(maker.rng.randint(max(1, n - n // 8), n))
        else:
            out.append(maker.value(column.values, column.type, n))
    return out


def _related(layout: _Layout, i: int, made: dict[int, Any], maker: _Maker) -> Any:
    """A scalar argument: an item of a container argument, an index into it, or a value of its own."""
    column, rng = layout.columns[i], maker.rng
    whole = all(type(v) is int for v in column.values) if column.values else column.type.kind == "int"
    bound = whole and maker.style == BOUNDED
    for j, container in made.items():
        items = _items(container)
        if not items:
            continue
        if not layout.rows:
            if bound:
                return maker.n
            if column.type.kind == "int" and maker.style in (WITHIN, TILED):
                return rng.randrange(len(items)) if maker.style == WITHIN else rng.randint(1, min(8, len(items)))
            if type(items[0]).__name__ == column.type.kind:
                return items[0] if maker.shape == "early exit" else rng.choice(items)
            continue
        pairs = [(row[i], row[j]) for row in layout.rows]
        if sum(_contains(c, v) for v, c in pairs) * 2 >= len(pairs):
            return items[0] if maker.shape == "early exit" else rng.choice(items)
        if not bound and len(pairs) > 1 and all(type(v) is int and 0 <= v <= (_length(c) or 0) for v, c in pairs):
            value, of = rng.choice(pairs)
            return min(len(items) - 1 if value < (_length(of) or 0) else len(items), max(value, 0))
    return maker.n if bound else maker.value(column.values, column.type, 1)


def _items(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return list(container)
    return list(container) if isinstance(container, (list, tuple, set, frozenset, str)) else []


def _contains(container: Any, value: Any) -> bool:
    return any(type(item) is type(value) and item == value for item in _items(container))


@dataclass(slots=True)
class _Maker:
    """Makes values like those seen, or of a type, under one shape and style.

    `loose`: what is seen was made up from a type, so nothing is to be learnt from its order.
    """

    rng: random.Random
    n: int
    shape: str
    style: int
    loose: bool

    def value(self, seen: Sequence[Any], kind: CaseType, size: int) -> Any:
        if seen:
            return self.like(seen, size)
        return self.like(self.typical(kind, 0), size)

    def typical(self, kind: CaseType, depth: int) -> list[Any]:
        """A few small values of a type, to be rescaled like samples."""
        rng = self.rng
        inner = [self.typical(part, depth + 1) for part in kind.args] if depth < 4 else []
        match kind.kind:
            case "int":
                return [rng.randrange(1000) for _ in range(8)]
            case "float":
                return [rng.uniform(0, 1000) for _ in range(8)]
            case "complex":
                return [complex(rng.random(), rng.random()) for _ in range(4)]
            case "bool":
                return [True, False]
            case "str":
                words = ["".join(rng.choice(WORDS) for _ in range(rng.randint(3, 9))) for _ in range(24)]
                # An argument that is text is most likely several words; an item of a list is one.
                return words[:8] if depth else [" ".join(words[i : i + 3]) for i in range(0, 24, 3)]
            case "bytes":
                return [rng.randbytes(8) for _ in range(4)]
            case "list" | "iterator":
                parts = inner[0] if inner else self.typical(CaseType(kind="int"), depth + 1)
                return [parts[:5], parts[-4:]]
            case "tuple" if kind.variadic or not inner:
                parts = inner[0] if inner else self.typical(CaseType(kind="int"), depth + 1)
                return [tuple(parts[:5]), tuple(parts[-4:])]
            case "tuple":
                return [tuple(rng.choice(part) for part in inner) for _ in range(8)]
            case "set" | "frozenset":
                parts = inner[0] if inner else self.typical(CaseType(kind="int"), depth + 1)
                return [set(parts[:5]) if kind.kind == "set" else frozenset(parts[:5])]
            case "dict":
                keys = inner[0] if inner else self.typical(CaseType(kind="str"), depth + 1)
                values = inner[1] if len(inner) > 1 else self.typical(CaseType(kind="int"), depth + 1)
                if len(kind.args) > 1 and kind.args[1].kind == "list" and kind.args[1].args == kind.args[:1]:
                    values = [rng.sample(keys[:5], 2) for _ in range(5)]  # most likely a graph: neighbours by node
                return [dict(zip(keys[:5], (rng.choice(values) for _ in range(5)), strict=False))]
            case "optional":
                return inner[0] if inner else [None]
            case "union":
                return max(inner, key=lambda values: _length(values[0]) is not None) if inner else [None]
            case "enum" if kind.members:
                return [EnumMember(kind.name, name) for name in kind.members]
            case "record" if kind.fields:
                parts = [(name, self.typical(part, depth + 1)) for name, part in kind.fields]
                return [Record(kind.name, tuple((name, rng.choice(part)) for name, part in parts)) for _ in range(4)]
            case "literal" if kind.values:
                decoded = [found[0] for wire in kind.values if (found := _decoded(wire))]
                return decoded or [None]
            case "none":
                return [None]
            case "any":
                return [[rng.randrange(1000) for _ in range(5)]] if depth == 0 else [rng.randrange(1000)]
        raise Unsuitable(f"values of type {kind.name or kind.kind} cannot be made; give a workload of your own")

    def like(self, seen: Sequence[Any], size: int) -> Any:
        """One value like those in `seen` (never empty), containers of `size` items."""
        usual = self._usual(seen)
        first = usual[0]
        if isinstance(first, (list, set, frozenset)) or (isinstance(first, tuple) and not _is_fixed(usual)):
            return type(first)(self.items([list(v) for v in usual], size, distinct=isinstance(first, (set, frozenset))))
        if isinstance(first, tuple):
            return tuple(self.like(column, size) for column in zip(*usual, strict=True))
        if isinstance(first, dict):
            return self.mapping(usual, size)
        if isinstance(first, Record):
            columns = zip(*(v.fields for v in usual), strict=True)
            return Record(
                first.type, tuple((column[0][0], self.like([v for _, v in column], size)) for column in columns)
            )
        if isinstance(first, str):
            return self.text(usual, size)
        if isinstance(first, (bytes, bytearray)):
            pool = b"".join(usual) or b"\0"
            return type(first)(self.rng.choices(pool, k=size))
        return self.draw(usual, 1)(0)

    def _usual(self, seen: Sequence[Any]) -> list[Any]:
        """The values of one type: that of a container if there is one, else of a random value."""
        sized = [v for v in seen if _length(v)]
        chosen = sized or [v for v in seen if _length(v) is not None]
        kind = type(self.rng.choice(chosen or list(seen)))
        usual = [v for v in (chosen or seen) if type(v) is kind]
        if kind is Record:
            name = usual[0].type
            return [v for v in usual if v.type == name and len(v.fields) == len(usual[0].fields)]
        return usual

    def text(self, seen: Sequence[str], size: int) -> str:
        if self.style == TILED and any(seen):
            return self._tiled([list(v) for v in seen if v], size, joined=True)
        pool = "".join(seen) or WORDS
        if self.shape == "duplicates":
            pool = pool[:2]
        out = self.rng.choices(pool, k=size)
        if self.shape == "early exit" and size > 1:
            out[1] = out[0]
        return "".join(out)

    def items(self, seen: Sequence[list[Any]], size: int, *, distinct: bool) -> list[Any]:
        """The items of a sequence of `size`, with what holds for all the sequences seen."""
        flat = [item for items in seen for item in items]
        if not flat:
            flat, seen = list(range(10)), [[0, 0]]
        if self.style == TILED:
            return self._tiled([v for v in seen if v], size)
        if isinstance(flat[0], (list, set, frozenset, dict)) or (isinstance(flat[0], tuple) and not _is_fixed(flat)):
            return self.nested(seen, flat, size)
        unique = distinct or (not self.loose and _all_hold(seen, _is_distinct, likely=5.0))
        share = 1.0 if unique or self.loose else _distinct_share(seen)
        if self.shape == "duplicates" and not unique:
            share = 1 / math.sqrt(max(1, size))
        if self.style == WITHIN and _all_hold(seen, lambda v: all(type(x) is int and 0 <= x < len(v) for x in v)):
            out = [self.rng.randrange(max(1, size)) for _ in range(size)]
        elif unique and not isinstance(flat[0], (tuple, Record)):
            out = self._unique(flat, size)
        else:
            draw = self.element(flat, max(2, math.ceil(size * share)))
            out = [draw() for _ in range(size)]
            if self.shape == "early exit" and size > 1:
                out[1] = out[0]
        return self.ordered(seen, out)

    def nested(self, seen: Sequence[list[Any]], flat: list[Any], size: int) -> list[Any]:
        """Items that are containers: short ones of one length keep it, matrices their form, others their lengths."""
        widths = {len(v) for v in flat}
        square = all(len(v) == len(v[0]) for v in seen if v and v[0])
        rectangular = self.style in WIDE if self.loose else all(len({len(row) for row in v}) <= 1 for v in seen)
        if isinstance(flat[0], list) and rectangular:
            if len(widths) == 1 and widths <= {1, 2, 3} and not square:
                width = widths.pop()
                return self.ordered(seen, [self.like(flat, width) for _ in range(size)])
            side = max(1, math.isqrt(size))
            return [self.like(flat, side) for _ in range(side)]
        mean = max(1, round(sum(map(len, flat)) / len(flat)))
        draw = self.element(flat, size)
        return self.ordered(seen, [draw() for _ in range(max(1, size // mean))])

    def element(self, seen: Sequence[Any], distinct: int) -> Callable[[], Any]:
        """Makes items like those seen, of their own sizes; scalars from about `distinct` different ones."""
        usual = self._usual(seen)
        first = usual[0]
        if isinstance(first, tuple) and _is_fixed(usual):
            row = self.row([list(column) for column in zip(*usual, strict=True)], distinct)
            return lambda: tuple(row())
        if isinstance(first, Record):
            names = [name for name, _ in first.fields]
            row = self.row(
                [[v for _, v in column] for column in zip(*(v.fields for v in usual), strict=True)], distinct
            )
            return lambda: Record(first.type, tuple(zip(names, row(), strict=True)))
        if isinstance(first, (list, tuple, set, frozenset, dict)):
            widths = [len(v) for v in usual]
            return lambda: self.like(usual, self.rng.choice(widths))
        draw = self.draw(usual, distinct)
        return lambda: draw(0)

    def row(self, columns: Sequence[list[Any]], distinct: int) -> Callable[[], list[Any]]:
        """Makes the fields of one tuple or record from the values seen of each."""
        makers = [self.element(column, distinct) for column in columns]
        numeric = [i for i, column in enumerate(columns) if all(type(v) in (int, float) for v in column)]
        if self.style != CLOSE or len(numeric) < 2:
            return lambda: [make() for make in makers]
        lead = numeric[0]
        steps = range(1, NEAR + 1)
        gaps = {
            i: steps if self.loose else [b - a for a, b in zip(columns[lead], columns[i], strict=True)]
            for i in numeric[1:]
        }

        def make_row() -> list[Any]:
            made = [make() for make in makers]
            for i, differences in gaps.items():
                made[i] = made[lead] + self.rng.choice(differences)
            return made

        return make_row

    def ordered(self, seen: Sequence[list[Any]], out: list[Any]) -> list[Any]:
        """`out` sorted, if all sequences seen are."""
        return out if self.loose else _ordered(seen, out)

    def mapping(self, seen: Sequence[dict[Any, Any]], size: int) -> dict[Any, Any]:
        keys = [key for v in seen for key in v]
        values = [value for v in seen for value in v.values()]
        if not keys:
            return dict.fromkeys(range(size), 0)
        if self.style == TILED and size <= len(keys):
            return dict(list(seen[0].items())[:size])
        names = self._unique(keys, size)
        if all(_is_graph(v) for v in seen):
            degrees = [len(v) for v in values]
            kind = type(values[0])
            return {name: kind(self.rng.choices(names, k=min(size, self.rng.choice(degrees)))) for name in names}
        make = self.element(values, size)
        return {name: make() for name in names}

    def draw(self, seen: Sequence[Any], distinct: int) -> Draw:
        """Draws scalars (and short strings) like those seen, from about `distinct` different ones."""
        rng, seen = self.rng, list(seen)
        kinds = {type(v) for v in seen}
        if kinds == {int}:
            if self.style == BOUNDED:
                return lambda _: rng.randrange(max(1, self.n))
            low, high = min(seen), max(seen)
            if self.style == CLOSE:
                high = max(high, low + SPARSE * distinct)
            elif self.style in WIDE and high > 1 and distinct > high - low:
                # Few repeats among those seen: leave room for as few. Many: exactly so many different ones.
                high = low + (4 * distinct if len(set(seen)) > 0.7 * len(seen) else distinct)
            if self.shape == "duplicates":
                high = min(high, low + max(1, distinct))
            return lambda _: rng.randint(low, high)
        if kinds == {float}:
            finite = [v for v in seen if math.isfinite(v)] or [0.0]
            low, high = min(finite), max(finite)
            if self.shape == "duplicates" and distinct > 1:
                pool = [rng.uniform(low, high) for _ in range(min(distinct, 1000))]
                return lambda _: rng.choice(pool)
            return lambda _: (
                float(round(rng.uniform(low, high))) if all(map(float.is_integer, finite)) else rng.uniform(low, high)
            )
        if kinds == {str} and self.style in WIDE and distinct > len(set(seen)):
            letters, lengths = "".join(seen) or WORDS, [len(v) for v in seen]
            more = math.ceil(math.log(distinct + 1, max(2, len(set(letters)))))
            words = [
                "".join(rng.choices(letters, k=max(rng.choice(lengths), more))) for _ in range(min(distinct, 20_000))
            ]
            return lambda _: rng.choice(words)
        return lambda _: rng.choice(seen)

    def _unique(self, flat: list[Any], size: int) -> list[Any]:
        """`size` different items, or fewer where no more exist."""
        draw = self.draw(flat, size * 2)
        out = dict.fromkeys(draw(0) for _ in range(size))
        for _ in range(6):
            if len(out) >= size:
                break
            out.update(dict.fromkeys(draw(0) for _ in range(size)))
        names = list(out)[:size]
        if len(names) < size and self.style in WIDE:
            names = _extended(names, size)
        return names

    def _tiled(self, seen: Sequence[list[Any]], size: int, *, joined: bool = False) -> Any:
        """Whole sample values one after the other, from a random start, until there are about `size` items."""
        out: list[Any] = []
        while len(out) < size and seen:
            out.extend(self.rng.choice(seen))
        if not joined:
            return self.ordered(seen, out)
        return "".join(out)


def _extended(names: list[Any], size: int) -> list[Any]:
    """More different keys of the same kind: integers go on counting, strings get a number."""
    if all(type(v) is int for v in names):
        top = max(names, default=0)
        return names + list(range(top + 1, top + 1 + size - len(names)))
    if all(type(v) is str for v in names):
        return names + [f"{names[i % len(names)]}{i}" for i in range(size - len(names))]
    return names


def _all_hold(seen: Sequence[list[Any]], what: Callable[[list[Any]], bool], *, likely: float = 3.0) -> bool:
    """Whether something holds for all sequences, and for enough items to be no accident.

    By chance a sequence of k items is sorted once in k! times; `likely` is the logarithm of how rare it must be.
    """
    telling = [v for v in seen if len(v) >= 3]
    weight = sum(math.lgamma(len(v) + 1) for v in telling)
    return weight > likely and all(map(what, telling))


def _is_distinct(items: list[Any]) -> bool:
    try:
        return len(set(items)) == len(items)
    except TypeError:
        return False


def _distinct_share(seen: Sequence[list[Any]]) -> float:
    try:
        return sum(len(set(v)) for v in seen) / max(1, sum(map(len, seen)))
    except TypeError:
        return 1.0


def _ordered(seen: Sequence[list[Any]], out: list[Any]) -> list[Any]:
    """`out` sorted, if all sequences seen are."""
    try:
        if _all_hold(seen, lambda v: all(a <= b for a, b in itertools.pairwise(v))):
            return sorted(out)
        if _all_hold(seen, lambda v: all(a >= b for a, b in itertools.pairwise(v))):
            return sorted(out, reverse=True)
    except TypeError:
        pass
    return out


def _is_fixed(seen: Sequence[tuple[Any, ...]]) -> bool:
    """A tuple of one length throughout, short or of mixed types: a record without names rather than a sequence."""
    lengths = {len(v) for v in seen}
    if len(lengths) != 1 or lengths == {0}:
        return False
    return lengths <= {1, 2, 3} or len({type(item) for item in seen[0]}) > 1


def _is_graph(mapping: dict[Any, Any]) -> bool:
    """Whether all values are collections of keys of the same mapping, and some are not empty."""
    if not all(isinstance(v, (list, set, tuple, frozenset)) for v in mapping.values()):
        return False
    try:
        return any(mapping.values()) and all(item in mapping for v in mapping.values() for item in v)
    except TypeError:
        return False


def _decoded(wire: Wire) -> tuple[Any, ...] | None:
    """The values of a wire graph, or None where it holds what cannot be rescaled (cycles, unknown types)."""
    try:
        return tuple(_value(wire["nodes"], root, 0) for root in wire["roots"])
    except (Unsuitable, TypeError, ValueError, IndexError, KeyError):
        return None


def _value(nodes: Sequence[list[Any]], index: int, depth: int) -> Any:
    if depth > DEEPEST:
        raise Unsuitable("nested too deeply")
    tag, *rest = nodes[index]

    def parts() -> list[Any]:
        return [_value(nodes, i, depth + 1) for i in rest[0]]

    match tag:
        case "none":
            return None
        case "bool":
            return bool(rest[0])
        case "int":
            return parse_integer(rest[0])
        case "float":
            return float(rest[0])
        case "complex":
            return complex(float(rest[0]), float(rest[1]))
        case "str":
            return rest[0]
        case "bytes":
            return base64.b64decode(rest[0])
        case "bytearray":
            return bytearray(base64.b64decode(rest[0]))
        case "list" | "iterator" if len(rest) == 1:
            return parts()
        case "tuple" if len(rest) == 1:
            return tuple(parts())
        case "set" if len(rest) == 1:
            return set(parts())
        case "frozenset" if len(rest) == 1:
            return frozenset(parts())
        case "dict" if len(rest) == 1:
            return {_value(nodes, k, depth + 1): _value(nodes, v, depth + 1) for k, v in rest[0]}
        case "record":
            return Record(rest[0], tuple((name, _value(nodes, i, depth + 1)) for name, i in rest[1]))
        case "enum":
            return EnumMember(rest[0], rest[1])
        case "special":
            return Special(rest[0], rest[1])
    raise Unsuitable(f"cannot rescale {tag}")
