"""Preconditions read from documentation, and cases that keep them."""

from __future__ import annotations

from typing import Any

import pytest

from perforch_core.languages.interface import Case, CaseType, Parameter, Signature
from perforch_core.oracle.conditions import Condition, imposed, stated_conditions
from perforch_core.values import encode, source_text

INT = CaseType(kind="int")
INTS = CaseType(kind="list", args=(INT,))


def signature(**types: CaseType) -> Signature:
    return Signature(parameters=tuple(Parameter(name=name, type=kind) for name, kind in types.items()))


ONE = signature(items=INTS, n=INT)
TWO = signature(a=INTS, b=INTS)
STATED: list[tuple[str, Signature, set[str]]] = [
    ("Items must be sorted.", ONE, {"items sorted"}),
    ("`items` is already sorted", ONE, {"items sorted"}),
    ("items: a sorted list of integers", ONE, {"items sorted"}),
    ("items (list[int]): sorted in ascending order", ONE, {"items sorted"}),
    ("Binary search in a sorted list.", ONE, {"items sorted"}),
    ("Return the position of n in the sorted array, or -1.", ONE, {"items sorted"}),
    ("Merge two sorted lists into one.", TWO, {"a sorted", "b sorted"}),
    ("n must be positive; items is a non-empty list", ONE, {"n positive", "items non-empty"}),
    ("n is a non-negative integer", ONE, {"n non-negative"}),
    ("items: list of distinct integers", ONE, {"items distinct"}),
    ("items are distinct", ONE, {"items distinct"}),
    ("Return a sorted list of the items.", ONE, set()),
    ("Returns a new list sorted by size.", ONE, set()),
    ("Sort the items.", ONE, set()),
    ("items: an unsorted list", ONE, set()),
    ("Tell whether items is sorted.", ONE, set()),
    ("If items is sorted this is quick.", ONE, set()),
    ("Search a sorted list.", TWO, set()),
    ("The result is sorted.", ONE, set()),
    ("n is the number of positive items", ONE, set()),
]


@pytest.mark.parametrize(("text", "target", "found"), STATED, ids=[row[0] for row in STATED])
def test_conditions_in_words(text: str, target: Signature, found: set[str]) -> None:
    assert {str(condition) for condition in stated_conditions(text, target)} == found


IMPOSED: list[tuple[str, list[Any], str | None]] = [
    ("sorted", [3, -1, 2], "[-1, 2, 3]"),
    ("sorted", [2.5, 1, float("inf")], "[1, 2.5, float('inf')]"),
    ("sorted", ["b", "a"], "['a', 'b']"),
    ("sorted", [1, "a"], "[1, 'a']"),
    ("sorted", [float("nan"), 1.0], "[float('nan'), 1.0]"),
    ("sorted", [], "[]"),
    ("distinct", [1, 2, 1, 1], "[1, 2]"),
    ("non-empty", [], None),
    ("non-empty", [0], "[0]"),
    ("positive", [1, 0], None),
    ("non-negative", [1, 0], "[1, 0]"),
]


@pytest.mark.parametrize(("kind", "items", "wanted"), IMPOSED)
def test_cases_made_to_keep_a_condition(kind: str, items: list[Any], wanted: str | None) -> None:
    case = Case(arguments=encode([items, 5]))
    found = imposed([Condition("items", kind)], ONE, case)
    assert (found and source_text(found.arguments, found.arguments["roots"][0])) == wanted


def test_a_condition_on_an_argument_left_out_is_kept() -> None:
    case = Case(arguments=encode([[1]]))
    assert imposed([Condition("n", "positive")], ONE, case) == case
