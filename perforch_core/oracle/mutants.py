"""Mutants: versions of the target with one small fault each. The share that an oracle kills is its strength.

Mutants that mean the same as the original cannot be killed by anything and would make a good oracle look weak. They are
set aside when they agree with the original on many inputs that are independent of the oracle's own (an approximation:
equivalence is undecidable). The sampling over operators and lines follows the findings on selective mutation
(Offutt et al., 1996) that a small spread-out sample says nearly as much as all mutants.
"""

from __future__ import annotations

import ast
import random
import re
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from perforch_core.evidence import Strength
from perforch_core.languages.edits import SmallEdit, apply, describe
from perforch_core.languages.edits.python import faults, meaning, meaning_after
from perforch_core.languages.interface import Function, Version

_WEIGHTS = {
    "compare-boundary": 3.0,
    "compare-negate": 3.0,
    "arithmetic": 3.0,
    "off-by-one": 3.0,
    "boundary": 3.0,
    "logic": 3.0,
    "negation": 2.0,
    "clause-removed": 3.0,
    "operand-removed": 2.0,
    "statement-removed": 2.0,
    "branch-removed": 2.0,
    "condition-removed": 2.0,
    "negation-removed": 2.0,
    "boolean": 2.0,
    "jump": 2.0,
    "function": 1.5,
    "method": 1.5,
    "arguments-swapped": 1.5,
    "items-swapped": 1.5,
    "operands-swapped": 1.5,
    "number": 1.0,
    "text": 1.0,
    "text-case": 1.0,
    "moved-out": 1.0,
    "moved-in": 1.0,
    "branches-swapped": 1.0,
    "return-removed": 1.0,
    "argument-removed": 0.7,
    "item-removed": 1.0,
    "sign": 1.0,
    "assignment": 1.0,
    "compare": 1.0,
    "empty-value": 0.5,
    "none": 0.5,
}
"""How much an operator's mutants say about an oracle; operators left out make faults nobody would make."""

_WORDING = frozenset({"text", "text-case", "items-swapped", "arguments-swapped", "argument-removed"})
"""Operators that only change what is said, when they act on a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """The whole file with one small fault in the target. `description` reads "line 12: `<` became `<=`"."""

    label: str
    text: str
    description: str
    operator: str
    line: int

    @property
    def version(self) -> Version:
        """As a harness starts it."""
        return Version(label=self.label, text=self.text)


def choose(
    text: str, function: Function, *, count: int = 20, seed: int, lines: frozenset[int] | None = None
) -> list[Mutant]:
    """At most `count` mutants of a Python function, spread over lines and operators, the same for the same arguments.

    `lines` are the 1-based lines of the file that ran: mutants on others are taken only when there are too few (nothing
    can kill a fault in code that never runs: that is the oracle's weakness, so they count). Left out are docstrings,
    annotations, and what obviously means the same. Empty for a text that does not parse.
    """
    original = meaning(text, function.start, function.end)
    if original is None:
        return []
    generator = random.Random(seed)
    pool = [e for e in faults(text, function) if e.operator in _WEIGHTS and not _means_the_same(text, e)]
    generator.shuffle(pool)
    chosen: list[SmallEdit] = []
    seen = {original}
    for wanted in _order(pool, lines):
        if len(chosen) >= count:
            break
        fingerprint = meaning_after(text, function, wanted)
        if fingerprint is not None and fingerprint not in seen:
            seen.add(fingerprint)
            if _compiles(apply(text, wanted)):
                chosen.append(wanted)
    return [_mutant(text, edit, number) for number, edit in enumerate(chosen, 1)]


async def measure_strength(
    kills: Callable[[Mutant], Awaitable[bool | None]],
    mutants: Sequence[Mutant],
    *,
    agrees: Callable[[Mutant], Awaitable[bool]] | None = None,
    seconds: float = 20.0,
    clock: Callable[[], float] = time.monotonic,
) -> Strength:
    """Try mutants one after the other until all are done or the time is spent; what was not tried is not counted.

    `kills` says whether the oracle notices the fault (a mutant that hangs or crashes is noticed); None means that it
    cannot be tried, or means the same beyond doubt: set aside. A survivor is asked about once more: when it `agrees`
    with the original on a larger, independent set of inputs it means the same, as far as anyone can tell, and is set
    aside. Without `agrees` every survivor counts against the oracle. The clock is looked at between mutants.

    The result's `canary` is None: the caller sets it.
    """
    deadline = clock() + seconds
    tried, survivors = 0, []
    for mutant in mutants:
        if clock() >= deadline:
            break
        killed = await kills(mutant)
        if killed is None:
            continue
        if not killed:
            if agrees is not None and await agrees(mutant):
                continue
            survivors.append(mutant.description)
        tried += 1
    return Strength(mutants=tried, killed=tried - len(survivors), survivors=tuple(survivors))


def with_canary(strength: Strength, canary: bool | None) -> Strength:
    """The same strength with what the canary showed."""
    return replace(strength, canary=canary)


def _order(pool: Sequence[SmallEdit], lines: frozenset[int] | None) -> Iterator[SmallEdit]:
    """Greedy: each next edit is the weightiest, where lines and operators already used often weigh less."""
    left = list(pool)
    by_line: dict[int, int] = {}
    by_operator: dict[str, int] = {}
    by_place: dict[tuple[int, int], int] = {}

    def worth(edit: SmallEdit) -> float:
        used = (1 + by_line.get(edit.line, 0)) * (1 + by_operator.get(edit.operator, 0))
        again = 1 + 3 * by_place.get((edit.start, edit.end), 0)
        ran = 1.0 if lines is None or edit.line in lines else 1e-6
        return _WEIGHTS[edit.operator] * ran / (used * again)

    while left:
        best = max(range(len(left)), key=lambda i: worth(left[i]))
        edit = left.pop(best)
        yield edit
        by_line[edit.line] = by_line.get(edit.line, 0) + 1
        by_operator[edit.operator] = by_operator.get(edit.operator, 0) + 1
        place = (edit.start, edit.end)
        by_place[place] = by_place.get(place, 0) + 1


def _compiles(text: str) -> bool:
    """Whether Python takes the file (a name declared `nonlocal` may have lost its binding): else anything kills it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(text.lstrip("\ufeff"), "mutant", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _mutant(text: str, edit: SmallEdit, number: int) -> Mutant:
    return Mutant(
        label=f"mutant {number}",
        text=apply(text, edit),
        description=describe(text, edit),
        operator=edit.operator,
        line=edit.line,
    )


def _means_the_same(text: str, edit: SmallEdit) -> bool:
    """Edits that change nothing anyone could see, or only what a person reads: `range(0, n)`, messages, logging."""
    old = text[edit.start : edit.end]
    if edit.operator == "argument-removed" and re.fullmatch(r"0,\s*", old):
        return True
    if edit.operator == "negation-number" or (edit.operator == "none" and edit.new in ("0", "False", '""', "[]")):
        return True
    before = text[text.rfind("\n", 0, edit.start) + 1 : edit.start].lstrip()
    message = before.startswith(("raise ", "print(", "logging.", "logger.", "log.", "warnings.", "assert "))
    if message and edit.operator in _WORDING:
        return True
    return edit.operator in ("statement-removed", "return-removed") and _does_nothing(old)


def _does_nothing(code: str) -> bool:
    """A docstring, `...`, a log line, an assertion, a bare `return` or `return None`."""
    try:
        statement = ast.parse(code.strip()).body[0]
    except (SyntaxError, IndexError):
        return False
    match statement:
        case ast.Expr(value=ast.Constant()) | ast.Assert() | ast.Pass():
            return True
        case ast.Return(value=None) | ast.Return(value=ast.Constant(value=None)):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="logging" | "logger" | "log")))):
            return True
    return False
