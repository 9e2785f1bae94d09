"""From an input on which two versions differ to a small one, and to text that a person can paste.

Delta debugging on wire data, after Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (2002):
larger cuts first, then smaller ones, until no single change keeps the difference or the time is up. The types decide
what may be changed: fixed tuples keep their length, literals and enums their values.
"""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from perforch_core.evidence import Counterexample
from perforch_core.languages.interface import Case, CaseType, Observation, Signature
from perforch_core.oracle.equivalence import has_identity, malformed
from perforch_core.oracle.generate import case_size, compact, private_parts
from perforch_core.values import Wire, integer_text, parse_integer, source_text

Node = list[Any]


async def shrink(
    case: Case, differs: Callable[[Case], Awaitable[bool]], *, signature: Signature, seconds: float
) -> Case:
    """The smallest case found within `seconds` on which `differs` still holds; the case itself if none is smaller.

    `differs` must hold for `case`; it is asked only about cases of the same types.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    best = replace(case, arguments=compact(case.arguments), expected=None)
    progress = True
    while progress and loop.time() < deadline:
        progress = False
        for smaller in _smaller(best, signature):
            if loop.time() >= deadline:
                break
            if await differs(smaller):
                best, progress = smaller, True
                break
        if not progress:
            closer = await _bisected(best, differs, signature, deadline)
            best, progress = closer, closer is not best
    return replace(best, size=case_size(best.arguments))


async def _bisected(
    case: Case, differs: Callable[[Case], Awaitable[bool]], signature: Signature, deadline: float
) -> Case:
    """Bring each integer as near to 0 as the difference allows, by halving the gap."""
    loop = asyncio.get_running_loop()
    kinds = _types(case, signature)
    inner = private_parts(case.arguments["nodes"])
    for index in range(len(case.arguments["nodes"])):
        node = case.arguments["nodes"][index]
        if node[0] != "int" or index in inner or (index in kinds and kinds[index].kind == "literal"):
            continue
        value = parse_integer(node[1])
        low, high, sign = 0, abs(value), -1 if value < 0 else 1
        while high - low > 1 and loop.time() < deadline:
            middle = (low + high) // 2
            smaller = _with_node(case, index, ["int", integer_text(sign * middle), *node[2:]])
            if await differs(smaller):
                high, case = middle, smaller
            else:
                low = middle
    return case


def counterexample(
    symbol: str,
    case: Case,
    expected: Observation,
    actual: Observation,
    words: str,
    *,
    signature: Signature | None = None,
) -> Counterexample:
    """A difference as source text. `words` is what `difference` said; it is added where the results look alike."""
    wanted, got = outcome_text(expected), outcome_text(actual)
    if wanted == got:
        got = f"{got}, but {words}"
    return Counterexample(
        call=call_text(symbol, case, signature=signature), expected=wanted, actual=got, traceback=actual.traceback
    )


def outcome_text(observation: Observation) -> str:
    """What a call did, in a line: its result, its exception, or why there is neither."""
    if observation.dead:
        return f"no answer: {observation.dead}"
    if observation.raised is not None:
        name, message = observation.raised
        return f"{name.rsplit('.', 1)[-1]}: {message}" if message else name.rsplit(".", 1)[-1]
    graph = observation.graph
    if graph is None or malformed(graph) or not graph["roots"]:
        return "an unreadable answer"
    return _shown(graph, graph["roots"][0])


def call_text(symbol: str, case: Case, *, signature: Signature | None = None) -> str:
    """The case as a call: ``dedupe([1, 1])``, ``Cart(items=[]).total()``, ``a = [1]; merge(a, a)``."""
    wire = case.arguments
    roots = list(wire["roots"])
    shared = [i for i in dict.fromkeys(roots) if roots.count(i) > 1 and has_identity(wire["nodes"][i])]
    names = {index: "abcdefgh"[number] for number, index in enumerate(shared[:8])}
    setup = "".join(f"{name} = {_shown(wire, index)}; " for index, name in names.items())
    texts = [names.get(index) or _shown(wire, index) for index in roots]
    name = symbol
    if signature is not None and signature.receiver is not None and texts:
        name = f"{texts.pop(0)}.{symbol.rsplit('.', 1)[-1]}"
    cut = len(texts) - len(case.keywords)
    texts[cut:] = [f"{key}={text}" for key, text in zip(case.keywords, texts[cut:], strict=True)]
    return f"{setup}{name}({', '.join(texts)})"


def argument_names(signature: Signature, case: Case) -> list[str]:
    """Words for the receiver and the arguments of a case, in the order of its roots."""
    count = len(case.arguments["roots"])
    names = ["self"] if signature.receiver is not None else []
    positional = [p.name for p in signature.parameters if p.kind == "positional"]
    variadic = next((p.name for p in signature.parameters if p.kind == "variadic"), "argument")
    for number in range(count - len(names) - len(case.keywords)):
        extra = number - len(positional)
        names.append(positional[number] if extra < 0 else f"{variadic}[{extra}]")
    return [*names, *case.keywords]


def _shown(wire: Wire, index: int) -> str:
    try:
        return source_text(wire, index)
    except (LookupError, ValueError, TypeError):  # text from a sandbox that no printer expects
        return "an unprintable value"


# --- smaller cases -----------------------------------------------------------------------------------------------


def _smaller(case: Case, signature: Signature) -> Iterator[Case]:
    """Cases with one thing made smaller, the largest steps first."""
    yield from _fewer_arguments(case, signature)
    wire = case.arguments
    kinds = _types(case, signature)
    inner = private_parts(wire["nodes"])
    order = sorted(set(range(len(wire["nodes"]))) - inner, key=lambda i: (-_weight(wire["nodes"][i]), i))
    for index in order:
        for node in _smaller_nodes(wire["nodes"][index], kinds.get(index)):
            yield _with_node(case, index, node)
    yield from _together(case, kinds)
    yield from _unshared(case)


def _fewer_arguments(case: Case, signature: Signature) -> Iterator[Case]:
    optional = {p.name for p in signature.parameters if p.has_default or p.kind == "variadic"}
    roots = case.arguments["roots"]
    for number, name in enumerate(case.keywords):
        if name in optional:
            at = len(roots) - len(case.keywords) + number
            yield _with_roots(case, [*roots[:at], *roots[at + 1 :]], [k for k in case.keywords if k != name])
    given = len(roots) - len(case.keywords)
    names = argument_names(signature, case)[:given]
    if names and names[-1].split("[")[0] in optional:
        yield _with_roots(case, [*roots[: given - 1], *roots[given:]], case.keywords)


def _with_roots(case: Case, roots: list[int], keywords: Sequence[str]) -> Case:
    wire: Wire = {"nodes": case.arguments["nodes"], "roots": roots}
    return replace(case, arguments=compact(wire), keywords=tuple(keywords))


def _with_node(case: Case, index: int, node: Node) -> Case:
    nodes = list(case.arguments["nodes"])
    nodes[index] = node
    return replace(case, arguments=compact({"nodes": nodes, "roots": case.arguments["roots"]}))


def _together(case: Case, kinds: dict[int, CaseType]) -> Iterator[Case]:
    """Equal scalars made smaller at once: that they are equal may be what matters."""
    nodes = case.arguments["nodes"]
    groups: dict[tuple[str, str], list[int]] = {}
    for index, node in enumerate(nodes):
        if node[0] in ("int", "float", "str"):
            groups.setdefault((node[0], node[1]), []).append(index)
    for places in groups.values():
        if len(places) < 2:
            continue
        for smaller in _smaller_nodes(nodes[places[0]], kinds.get(places[0])):
            changed = [smaller if index in places else node for index, node in enumerate(nodes)]
            yield replace(case, arguments=compact({"nodes": changed, "roots": case.arguments["roots"]}))


def _unshared(case: Case) -> Iterator[Case]:
    """A root that appears twice, as two equal objects: where the alias does not matter it only confuses."""
    nodes, roots = case.arguments["nodes"], case.arguments["roots"]
    for place, index in enumerate(roots):
        if index in roots[:place] and has_identity(nodes[index]):
            new = [*roots[:place], len(nodes), *roots[place + 1 :]]
            yield replace(case, arguments={"nodes": [*nodes, list(nodes[index])], "roots": new})


def _weight(node: Node) -> int:
    return len(node[1]) + 1 if isinstance(node[-1], (list, str)) and len(node) > 1 else 0


def _types(case: Case, signature: Signature) -> dict[int, CaseType]:
    """The declared type of each node, where it is known."""
    nodes = case.arguments["nodes"]
    by_name = {p.name: p.type for p in signature.parameters}
    found: dict[int, CaseType] = {}
    pending: list[tuple[int, CaseType]] = []
    for name, index in zip(argument_names(signature, case), case.arguments["roots"], strict=False):
        kind = signature.receiver if name == "self" and signature.receiver else by_name.get(name.split("[")[0])
        if kind is not None:
            pending.append((index, kind))
    while pending:
        index, kind = pending.pop()
        if index in found:
            continue
        node = nodes[index]
        kind = _chosen(kind, node)
        found[index] = kind
        pending += _parts(node, kind)
    return found


def _chosen(kind: CaseType, node: Node) -> CaseType:
    """The alternative of an optional or union that a node is; an optional's own kind is kept for its sake."""
    while kind.kind in ("optional", "union") and kind.args:
        if kind.kind == "optional":
            return kind
        kind = next((part for part in kind.args if part.kind == node[0]), CaseType(kind="any"))
    return kind


def _parts(node: Node, kind: CaseType) -> list[tuple[int, CaseType]]:
    inner = kind.args[0] if kind.kind == "optional" and kind.args else kind
    args = inner.args
    if node[0] in ("list", "set", "frozenset", "iterator") and len(args) == 1:
        return [(index, args[0]) for index in node[1]]
    if node[0] == "tuple" and args:
        kinds = args * len(node[1]) if inner.variadic else args
        return list(zip(node[1], kinds, strict=False))
    if node[0] == "dict" and len(args) == 2:
        return [(index, part) for pair in node[1] for index, part in zip(pair, args, strict=True)]
    if node[0] == "record":
        kinds_of = dict(inner.fields)
        return [(index, kinds_of[name]) for name, index in node[2] if name in kinds_of]
    return []


def _smaller_nodes(node: Node, kind: CaseType | None) -> Iterator[Node]:
    """Simpler nodes in place of one, the largest steps first."""
    if kind is not None and kind.kind in ("literal", "enum", "record", "opaque"):
        return
    if kind is not None and kind.kind == "optional" and node[0] != "none":
        yield ["none"]
    variadic = kind is not None and (kind.variadic or bool(kind.args and kind.args[0].variadic))
    if node[0] in ("list", "set", "frozenset", "dict", "iterator") or (node[0] == "tuple" and variadic):
        for items in _cuts(node[1]):
            yield [node[0], items, *node[2:]]
    elif node[0] == "int":
        for number in _smaller_integers(parse_integer(node[1])):
            yield ["int", integer_text(number), *node[2:]]
    elif node[0] == "float":
        for value in _simpler_floats(float(node[1])):
            yield ["float", repr(value), *node[2:]]
    elif node[0] == "str":
        for text in _simpler_texts(node[1]):
            yield ["str", text, *node[2:]]
    elif node[0] in ("bytes", "bytearray"):
        for part in _cuts(base64.b64decode(node[1])):
            yield [node[0], base64.b64encode(part).decode()]
    elif node[0] == "bool" and node[1]:
        yield ["bool", 0]


def _cuts(items: Any) -> Iterator[Any]:
    """Everything gone, then a half, a quarter, ... down to one item."""
    size = len(items)
    step = size
    while step:
        for start in range(0, size, step):
            yield items[:start] + items[start + step :]
        step //= 2


def _smaller_integers(value: int) -> Iterator[int]:
    if value < 0:
        yield -value
    size = abs(value)
    for number in dict.fromkeys((0, 1, 2, size // 2)):
        if number < size:
            yield -number if value < 0 else number


def _simpler_floats(value: float) -> Iterator[float]:
    choices = [0.0, 1.0]
    if math.isfinite(value):
        choices += [
            float(math.trunc(value)),
            float(round(value, 1)),
            value / 2,
            math.trunc(value / 2) + 0.0,
            abs(value),
        ]
        choices.append(float(math.trunc(value) - 1))
    mine = (len(repr(value)), abs(value) if not math.isnan(value) else math.inf, math.copysign(1.0, value) < 0)
    for other in choices:
        if (len(repr(other)), abs(other), math.copysign(1.0, other) < 0) < mine:
            yield other


def _simpler_texts(text: str) -> Iterator[str]:
    yield from _cuts(text)
    for at, letter in enumerate(text[:40]):
        for simple in "a0":
            if (letter > simple) and letter not in "a0":
                yield text[:at] + simple + text[at + 1 :]
