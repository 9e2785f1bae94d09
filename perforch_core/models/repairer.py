"""The rule-based repairer: tries every small edit of a failing Python function, the likeliest first.

It knows no fault by heart: it orders the edits of languages/edits by how much the failing tests point at their lines
(spectrum-based fault localisation; `suspicion`, by Ochiai's measure: Abreu et al., 2007) times how often faults
of that kind are made, and then pairs of them. Whether an edit repairs anything is for the oracle to say.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from perforch_core.languages.edits import SmallEdit, apply, describe
from perforch_core.languages.edits.python import edits, meaning
from perforch_core.languages.interface import Function
from perforch_core.languages.python import find_functions
from perforch_core.models.interface import Hints, Rewrite
from perforch_core.task import Stage, Target

PRIORS = {
    "operand-removed": 10.0,
    "off-by-one": 8.0,
    "compare-negate": 4.5,
    "compare-flip": 4.0,
    "compare-boundary": 5.0,
    "boundary": 5.0,
    "logic": 4.0,
    "arithmetic": 5.0,
    "name": 5.0,
    "expression": 4.0,
    "text": 4.0,
    "text-partner": 2.0,
    "text-everywhere": 1.5,
    "operands-swapped": 3.0,
    "returns-negated": 3.0,
    "method": 3.0,
    "slice-by-name": 2.0,
    "number": 3.0,
    "items-swapped": 2.0,
    "assigned-name": 2.0,
    "boolean": 2.0,
    "argument-removed": 2.0,
    "arguments-swapped": 2.0,
    "clause-removed": 2.0,
    "item-removed": 2.0,
    "call-removed": 2.0,
    "function": 2.0,
    "call-added": 2.0,
    "method-added": 1.5,
    "method-removed": 1.5,
    "absolute": 2.0,
    "name-unquoted": 3.0,
    "call-repeated": 1.0,
    "guard-added": 1.0,
    "branches-swapped": 2.0,
    "names-exchanged": 1.5,
    "spelling": 2.0,
    "statement-added": 1.0,
    "slice-added": 1.5,
    "slice": 1.5,
    "compare": 2.0,
    "negation": 1.5,
    "negation-removed": 1.5,
    "statement-removed": 1.0,
    "moved-out": 1.5,
    "moved-in": 1.0,
    "jump": 1.5,
    "returned-name": 1.0,
    "ordering": 1.0,
    "sign": 1.5,
}
"""How often a fault is mended by this operator, relative to each other; the operators not named count 0.5.

Counted on the even-numbered Python problems of HumanEvalPack, smoothed by hand.
"""

_OTHER = 0.5
_SPREAD = 4.0
_FLOOR = 0.03
_LONG = 2500
"""Functions longer than this many characters are edited on their suspicious lines only."""
_PAIRED = 150
_CALLS = ("len", "str", "int", "abs", "set", "sorted", "bin", "list", "ord", "max", "min", "sum")
_CALL_SCORE = 0.02


@dataclass(frozen=True, slots=True)
class _Scored:
    edit: SmallEdit
    score: float


def suspicion(passed: Sequence[bool], lines: Sequence[Collection[int]]) -> dict[int, float]:
    """How much failing runs point at each line, 0..1 (Ochiai), for `Hints.suspicion`.

    `passed` tells of each run (a test, a case) whether it passed, `lines` which lines it ran. Lines that no failing run
    reached are left out.
    """
    failing = sum(not ok for ok in passed)
    ran = Counter(line for seen in lines for line in set(seen))
    failed = Counter(line for ok, seen in zip(passed, lines, strict=True) if not ok for line in set(seen))
    return {line: failed[line] / math.sqrt(failing * ran[line]) for line in failed}


class Repairer:
    """A RewriteModel for the fix stage (see models/interface.py)."""

    name = "repairer"
    stages = frozenset({Stage.FIX})
    languages = frozenset({"python"})

    def propose(self, target: Target, hints: Hints) -> Iterator[Rewrite]:
        """Single edits, most likely first, then pairs of the most likely ones; each parses and differs from the rest.

        Without suspicion in the hints all lines are equally suspect. Ends after some 10,000 rewrites at most.
        """
        function = _function(target)
        if function is None:
            return
        ranked = _ranked(target, function, hints)
        seen = {meaning(target.text, function.start, function.end)}
        for made in itertools.chain(([s.edit] for s in ranked), _pairs(ranked[:_PAIRED])):
            text = apply(target.text, made)
            grown = len(text) - len(target.text)
            fingerprint = meaning(text, function.start, function.end + grown)
            if fingerprint is not None and fingerprint not in seen:
                seen.add(fingerprint)
                yield _rewrite(target.text, text, made)


def _function(target: Target) -> Function | None:
    return next((f for f in find_functions(target.text) if f.start == target.start and f.symbol == target.symbol), None)


def _ranked(target: Target, function: Function, hints: Hints) -> list[_Scored]:
    lines = None
    if hints.suspicion and function.end - function.start > _LONG:
        lines = frozenset(line for line, value in hints.suspicion.items() if value > 0)
    found = edits(target.text, function, lines=lines)
    counts = Counter(e.operator for e in found)
    scored = [_Scored(e, _score(e, target.text, counts, hints)) for e in found]
    return sorted(scored, key=lambda s: -s.score)


def _score(edit: SmallEdit, text: str, counts: Counter[str], hints: Hints) -> float:
    """The chance of this edit among all: the operator's share, divided among its edits here, times the suspicion."""
    share = PRIORS.get(edit.operator, _OTHER) / (counts[edit.operator] + _SPREAD)
    if not hints.suspicion:
        return share
    first = text.count("\n", 0, edit.start) + 1
    last = first + text.count("\n", edit.start, edit.end)
    suspicion = max(hints.suspicion.get(line, 0.0) for line in {edit.line, *range(first, last + 1)})
    return share * (_FLOOR + suspicion)


def _pairs(ranked: Sequence[_Scored]) -> Iterator[list[SmallEdit]]:
    """Two edits at once, the likeliest first: of places that do not touch, or another name and a call around it.

    The same kind of change made twice counts more.
    """
    found: list[tuple[float, int, list[SmallEdit]]] = []
    for a, b in itertools.combinations(ranked, 2):
        if a.edit.end <= b.edit.start or b.edit.end <= a.edit.start:
            twice = 10.0 if a.edit.operator == b.edit.operator else 1.0
            found.append((-a.score * b.score * twice, len(found), [a.edit, b.edit]))
    for a in ranked:
        if a.edit.operator == "name":
            for call in _CALLS:
                edit = replace(a.edit, new=f"{call}({a.edit.new})", operator="name+call-added")
                found.append((-a.score * _CALL_SCORE, len(found), [edit]))
    heapq.heapify(found)
    while found:
        yield heapq.heappop(found)[2]


def _rewrite(before: str, after: str, made: Sequence[SmallEdit]) -> Rewrite:
    title = "; ".join(describe(before, e) for e in sorted(made, key=lambda e: e.start))
    rule = "+".join(e.operator for e in made)
    words = " and ".join(dict.fromkeys(o.replace("-", " ") for o in rule.split("+")))
    amount = "one small edit" if "+" not in rule else "two small edits"
    return Rewrite(text=after, rule=rule, title=title, why=f"Mended by {amount} ({words}), found by trying.")
