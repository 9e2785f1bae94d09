"""Preconditions that the documentation states: a binary search owes nothing to a list that is not sorted.

Only clear wording counts, and what was taken for granted is always told with the evidence. What the original itself
rejects by raising needs no words here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from perforch_core.languages.interface import Case, Signature
from perforch_core.oracle.generate import case_size, compact
from perforch_core.oracle.shrink import argument_names
from perforch_core.values import Wire, parse_integer


@dataclass(frozen=True, slots=True)
class Condition:
    """What holds for an argument: `kind` is "sorted", "distinct", "non-empty", "positive" or "non-negative"."""

    parameter: str
    kind: str

    def __str__(self) -> str:
        return f"{self.parameter} {self.kind}"


_KINDS = {
    "sorted": r"(?:sorted|ascending|increasing order|non-decreasing)",
    "distinct": r"(?:distinct|unique|no duplicates|without duplicates)",
    "non-empty": r"(?:non-?empty|not empty|not be empty|at least one)",
    "positive": r"(?:a positive|positive)",
    "non-negative": r"(?:non-?negative)",
}
_SAYS = (
    r"(?:must be|must|is assumed to be|are assumed to be|assumed to be|should be|has to be|have to be|is|are|:|—|--|-)"
)
_SKIP = r"(?:\s+(?:be|an?|already|given|in))*(?:\s+(?:list|array|sequence)\s+of)?"
_LISTS = r"(?:lists?|arrays?|sequences?|tuples?|iterables?)"
_BEFORE = r"(?:in|of|over|through|within|from|given|takes|expects|requires|search|searches|merge|merges|two)"
_SORTED_LIST = re.compile(rf"\b{_BEFORE}\s+(?:an?\s+|the\s+|two\s+|both\s+)?(?:already\s+)?sorted\s+{_LISTS}\b")


def stated_conditions(text: str, signature: Signature) -> tuple[Condition, ...]:
    """The conditions on arguments that a docstring or specification states in clear words.

    "items must be sorted", "items: a sorted list", "binary search in a sorted list" (where one list, or every one, is
    meant); not "returns a sorted list", "unsorted" or "whether items is sorted".
    """
    plain = re.sub(r"[`'\"*]", "", text.lower())
    names = [p.name for p in signature.parameters]
    found: dict[Condition, None] = {}
    for sentence in re.split(r"[.;\n]", plain):
        if re.search(r"\b(whether|if|unless|may be|need not|not necessarily|unsorted|check|checks)\b", sentence):
            continue
        for name in names:
            subject = rf"\b{re.escape(name.lower())}\b(?:\s*\([^)]*\))?\s*{_SAYS}{_SKIP}"
            for kind, words in _KINDS.items():
                if re.search(rf"{subject}\s*{words}\b", sentence):
                    found[Condition(name, kind)] = None
        if _SORTED_LIST.search(sentence):
            lists = [p.name for p in signature.parameters if p.type.kind in ("list", "tuple")]
            if len(lists) == 1 or re.search(r"\b(two|both)\b", sentence):
                found.update(dict.fromkeys(Condition(name, "sorted") for name in lists))
    return tuple(found)


def imposed(conditions: Sequence[Condition], signature: Signature, case: Case) -> Case | None:
    """The case made to satisfy the conditions (sorted, without duplicates), or None where that cannot be done."""
    for condition in conditions:
        names = argument_names(signature, case)
        if condition.parameter not in names:
            continue
        changed = _imposed(condition.kind, case, names.index(condition.parameter))
        if changed is None:
            return None
        case = changed
    return case


def _imposed(kind: str, case: Case, place: int) -> Case | None:
    nodes, root = case.arguments["nodes"], case.arguments["roots"][place]
    node = nodes[root]
    if kind in ("positive", "non-negative"):
        least = 1 if kind == "positive" else 0
        numbers = [node] if node[0] in ("int", "float") else [nodes[i] for i in _items(node)]
        return case if all(_number(each) >= least for each in numbers if each[0] in ("int", "float")) else None
    items = _items(node)
    if kind == "non-empty":
        return case if items or (node[0] == "str" and node[1]) else None
    keys = [_sort_key(nodes[i]) for i in items]
    if any(key is None for key in keys) or len({key[0] for key in keys if key}) > 1:
        return case  # nothing that has an order we know of: left as it is
    pairs = sorted(zip(keys, items, strict=True), key=lambda pair: pair[0]) if kind == "sorted" else None
    if pairs is None:
        unlike = {repr(key): item for key, item in zip(reversed(keys), reversed(items), strict=True)}
        new = [item for item in items if item in unlike.values()]
    else:
        new = [item for _, item in pairs]
    changed = list(nodes)
    changed[root] = [node[0], new, *node[2:]]
    wire: Wire = compact({"nodes": changed, "roots": case.arguments["roots"]})
    return replace(case, arguments=wire, size=case_size(wire))


def _items(node: list[Any]) -> list[int]:
    return list(node[1]) if node[0] in ("list", "tuple") else []


def _number(node: list[Any]) -> float | int:
    return parse_integer(node[1]) if node[0] == "int" else float(node[1])


def _sort_key(node: list[Any]) -> Any:
    if node[0] in ("int", "float"):
        value = _number(node)
        return ("number", value) if value == value else None
    return (node[0], node[1]) if node[0] in ("str", "bool") else None
