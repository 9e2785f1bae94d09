"""The guess at a function's kind."""

from __future__ import annotations

import pytest

from perforch_core.routing.categories import CATEGORIES, MOST, guess


@pytest.mark.parametrize(
    ("code", "name", "docstring", "wanted"),
    [
        (
            "def f(n):\n    return math.gcd(n, 3) % 7",
            "largest_prime_factor",
            "The largest prime divisor.",
            "Number Theory",
        ),
        ("def f(xs):\n    return sorted(xs)[0]", "sort_by_age", "Sort in ascending order.", "Sorting"),
        ("def f(s):\n    return s.lower().split()", "split_words", "The words of a text.", "String"),
        (
            "def f(xs):\n    seen = set()\n    return [x for x in xs if x not in seen]",
            "dedupe",
            "Unique items",
            "Hash Table",
        ),
        (
            "def f(xs):\n    return list(itertools.combinations(xs, 2))",
            "all_pairs",
            "Every possible pair.",
            "Enumeration",
        ),
        ("def f(s, c):\n    return s.count(c)", "count_occurrences", "How many times c occurs.", "Counting"),
        ("func F(xs []int) int {\n\treturn xs[len(xs)-1]\n}", "LastElement", "The last element of an array.", "Array"),
        ("def f(a, b):\n    return math.sqrt(a * a + b * b)", "distance", "The distance.", "Math"),
        ("while q:\n    s = q.step(board)", "simulateGame", "Play the robot's moves on a grid.", "Simulation"),
        ("best = max(best, p)", "max_profit", "The maximum profit of a schedule.", "Greedy"),
    ],
)
def test_typical_functions(code: str, name: str, docstring: str, wanted: str) -> None:
    assert wanted in guess(code, name=name, docstring=docstring)


def test_few_and_known_and_none_for_nothing() -> None:
    found = guess("sorted(set(math.gcd(x[i], 2) for x in s.split()))" * 5, name="count_sorted_prime_words")
    assert 0 < len(found) <= MOST and set(found) <= set(CATEGORIES)
    assert guess("pass", name="f") == ()
