"""Examples read from docstrings and from users, and checked against outcomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perforch_core.languages import find_target
from perforch_core.languages.interface import Case, Observation, Version
from perforch_core.languages.python_harness import PythonHarness
from perforch_core.languages.python_project import find_project
from perforch_core.oracle.examples import check, confirmed_example, failing_examples, find_examples, user_example
from perforch_core.sandbox import Sandbox
from perforch_core.task import UserError
from perforch_core.values import Special, encode, source_text


def told(example: Any) -> str:
    """An example in one line: call, wanted outcome, and how it is compared."""
    roots = example.case.arguments["roots"]
    texts = [source_text(example.case.arguments, root) for root in roots]
    cut = len(texts) - len(example.case.keywords)
    texts[cut:] = [f"{k}={t}" for k, t in zip(example.case.keywords, texts[cut:], strict=True)]
    wanted = example.raises or source_text(example.case.expected, example.case.expected["roots"][0])
    marks = (" loose" if example.loose else "") + (f" {example.wrapped}" if example.wrapped else "")
    return f"({', '.join(texts)}) {wanted}{marks}"


READ: list[tuple[str, str, list[str], int]] = [
    ("doctest", ">>> f(1, 2)\n3", ["(1, 2) 3"], 0),
    ("several", ">>> f([1], 'a')\n{'a': [1]}\n>>> f([], '')\n{}", ["([1], 'a') {'a': [1]}", "([], '') {}"], 0),
    ("indented below text", "Do it.\n\n    >>> f(-1)\n    -2.5\n", ["(-1) -2.5"], 0),
    ("keywords", ">>> f(1, key=(2,))\nTrue", ["(1, key=(2,)) True"], 0),
    ("through the module", ">>> m.f(1)\n2", ["(1) 2"], 0),
    ("nothing printed", ">>> f(1)\n", ["(1) None"], 0),
    ("a variable", ">>> xs = [3, 1]\n>>> f(xs)\n[1, 3]", ["([3, 1]) [1, 3]"], 0),
    ("a variable that code has seen", ">>> xs = [3]\n>>> f(xs)\n1\n>>> f(xs)\n2", ["([3]) 1"], 1),
    ("one object twice", ">>> xs = [3]\n>>> f(xs, xs)\n1", ["([3], [3]) 1"], 0),
    (
        "exception",
        ">>> f(-1)\nTraceback (most recent call last):\n    ...\nValueError: negative",
        ["(-1) ValueError"],
        0,
    ),
    (
        "exception of a module",
        ">>> f(-1)\nTraceback (most recent call last):\napp.errors.Bad: x",
        ["(-1) Bad"],
        0,
    ),
    ("compared", ">>> f(1) == 2\nTrue", ["(1) 2 loose"], 0),
    ("identity", ">>> f(1) is None\nTrue", ["(1) None loose"], 0),
    ("compared, false", ">>> f(1) == 2\nFalse", [], 1),
    ("list of", ">>> list(f(3))\n[0, 1, 2]", ["(3) [0, 1, 2] list"], 0),
    ("sorted", ">>> sorted(f(3))\n[0, 1]", ["(3) [0, 1] sorted"], 0),
    ("rounded", ">>> round(f(3), 2)\n1.73", ["(3) 1.73 round 2"], 0),
    ("ellipsis", ">>> f(1)\n0.333...", [], 1),
    ("an ellipsis in a list", ">>> f(1)\n[1, ..., 3]", [], 1),
    ("code as argument", ">>> f(open('x'))\n1", [], 1),
    ("comprehension", ">>> f([i for i in range(3)])\n1", [], 1),
    ("printed", ">>> print(f(1))\n1", [], 1),
    ("skipped by its author", ">>> f(1)  # doctest: +SKIP\n2", [], 1),
    ("another function", ">>> g(1)\n2", [], 0),
    ("a name that only ends alike", ">>> elf(1)\n2\nelf(1) -> 2", [], 0),
    ("malformed", ">>>f(1)\n2", [], 0),
    ("arithmetic", ">>> f(10**3, [0] * 3, 'a' * 2)\n-2**2", ["(1000, [0, 0, 0], 'aa') -4"], 0),
    ("bombs", ">>> f('a' * 10**9)\n1\n>>> f(9**9**9)\n1", [], 2),
    ("special numbers", ">>> f(float('inf'), float('nan'))\nnan", ["(float('inf'), float('nan')) float('nan')"], 0),
    ("sets", ">>> f({1}, set(), frozenset())\n{2}", ["({1}, set(), frozenset({})) {2}"], 0),
    ("well-known types", ">>> f(Decimal('1.50'))\nDecimal('2')", ["(Decimal('1.50')) Decimal('2')"], 0),
    ("fractions", ">>> f(Fraction(2, 4))\nFraction(1, 2)", ["(Fraction('1/2')) Fraction('1/2')"], 0),
    ("range", ">>> f(range(3), list(range(2)))\n1", ["(range(0, 3), [0, 1]) 1"], 0),
    ("the same twice", ">>> f(1)\n2\n>>> f(1)\n2", ["(1) 2"], 0),
    ("prose", "f(1, 2) -> 3", ["(1, 2) 3 loose"], 0),
    ("prose, other arrows", "f(1) => 2\nf(2) ➞ 3\nf(3) → [4]", ["(1) 2 loose", "(2) 3 loose", "(3) [4] loose"], 0),
    ("prose, equals", "assert f('a)') == 'b', 'message'", ["('a)') 'b' loose"], 0),
    ("prose, in quotes", "For example, ``f([1, 2])`` returns ``{1: 2}``.", ["([1, 2]) {1: 2} loose"], 0),
    ("prose, with a reason", "* f(3) -> 6 because 1 + 2 + 3 = 6", ["(3) 6 loose"], 0),
    ("prose, with a comment", "f(3) == 6  # yes", ["(3) 6 loose"], 0),
    ("prose, a sentence", "f(3) returns the number 6", [], 1),
    ("prose, two results", "f(3) == 6 or 7", [], 1),
    ("prose, a bare tuple", "f(3) -> 6, 7", [], 1),
    ("prose, a tuple", "f(3) -> (6, 7)", ["(3) (6, 7) loose"], 0),
    ("prose, unequal", "f(3) != 6", [], 0),
    ("prose, negated", "not f(3) == 6", [], 1),
    ("prose, a variable", "f(x) -> 6", [], 1),
    ("prose, a definition", "def f(a=(1)) -> int:", [], 1),
    ("prose, open bracket", "f((1 -> 6", [], 1),
    ("nothing", "Does a thing.", [], 0),
]


@pytest.mark.parametrize(("text", "found", "skipped"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_examples_of_a_docstring(text: str, found: list[str], skipped: int) -> None:
    examples = find_examples(text, "m.f")
    assert [told(example) for example in examples.found] == found
    assert examples.skipped == skipped
    assert all(example.case.origin == "docs" for example in examples.found)


def test_methods_are_skipped() -> None:
    assert find_examples(">>> Cart([1]).f(2)\n3", "Cart.f").found == ()
    found = find_examples(">>> Cart.f(2)\n3\n\nf(1) -> 2", "Cart.f", method=True)
    assert (found.found, found.skipped) == ((), 2)


def test_one_object_twice_stays_one() -> None:
    (example,) = find_examples(">>> a = [1]\n>>> f(a, a)\n1", "f").found
    assert len(set(example.case.arguments["roots"])) == 1


def returned(value: Any) -> Observation:
    return Observation(graph=encode([value, "an argument"]))


CHECKED: list[tuple[str, str, Any, bool]] = [
    ("equal", ">>> f(1)\n[1, 2]", [1, 2], True),
    ("other", ">>> f(1)\n[1, 2]", [1, 3], False),
    ("a doctest is strict about types", ">>> f(1)\n1", 1.0, False),
    ("and about bool", ">>> f(1)\n1", True, False),
    ("and about the order of dicts", ">>> f(1)\n{1: 2, 3: 4}", {3: 4, 1: 2}, False),
    ("but not of sets", ">>> f(1)\n{1, 2, 3}", {3, 2, 1}, True),
    ("prose compares as == does", "f(1) -> 1", 1.0, True),
    ("with bool", "f(1) -> 1", True, True),
    ("dicts in any order", "f(1) -> {1: 2, 3: 4}", {3: 4, 1: 2}, True),
    ("list is not tuple", "f(1) -> [1]", (1,), False),
    ("another number", "f(1) -> 1", 2.0, False),
    ("a float's last digit", "f(1) == 0.3", 0.1 + 0.2, True),
    ("not its sixth", "f(1) == 0.3", 0.30001, False),
    ("sorted", ">>> sorted(f(1))\n[1, 2]", {2, 1}, True),
    ("sorted, more", ">>> sorted(f(1))\n[1, 2]", [2, 1, 1], False),
    ("list of", ">>> list(f(1))\n[1, 2]", (1, 2), True),
    ("list of, other order", ">>> list(f(1))\n[1, 2]", (2, 1), False),
    ("rounded", ">>> round(f(1), 2)\n1.73", 1.7320508, True),
    ("rounded wrongly", ">>> round(f(1), 2)\n1.73", 1.74, False),
    ("rounded text", ">>> round(f(1), 2)\n1.73", "1.73", False),
    ("none", ">>> f(1)\n", None, True),
    ("special", ">>> f(1)\nDecimal('1.50')", Special("decimal.Decimal", "1.50"), True),
]


@pytest.mark.parametrize(("text", "value", "holds"), [row[1:] for row in CHECKED], ids=[row[0] for row in CHECKED])
def test_checking(text: str, value: Any, holds: bool) -> None:
    (example,) = find_examples(text, "f").found
    assert (check(example, returned(value)) is None) == holds


def test_aliases_inside_a_result_do_not_count() -> None:
    row = [0]
    (example,) = find_examples(">>> f(1)\n[[0], [0]]", "f").found
    assert check(example, returned([row, row])) is None


def test_exceptions_and_missing_answers() -> None:
    (wants,) = find_examples(">>> f(1)\nTraceback (most recent call last):\nValueError: x", "f").found
    (value,) = find_examples(">>> f(1)\n2", "f").found
    raised = Observation(raised=("ValueError", "y"))
    assert check(wants, raised) is None
    assert check(wants, Observation(raised=("KeyError", "x"))) == "KeyError: x where ValueError is expected"
    assert check(wants, returned(3)) == "3 where ValueError is expected"
    assert check(value, raised) == "ValueError: y where 2 is expected"
    assert check(value, Observation(dead="wall time")) == "gave no answer (wall time)"
    assert check(value, Observation(graph={"nodes": [["list", [9]]], "roots": [0]})) is not None


def test_examples_of_a_user() -> None:
    assert told(user_example("f([1, 2]) == 3", "m.f")) == "([1, 2]) 3 loose"
    assert told(user_example("f(0) raises errors.Bad", "f")) == "(0) Bad"
    assert user_example("f(1) -> 2", "f").case.origin == "user"
    for text in ("f(x) == 3", "g(1) == 3", "f(1)", "", "f(1) raises", "f(1) == [", "\0"):
        with pytest.raises(UserError, match="write it as"):
            user_example(text, "f")


def test_a_confirmed_call() -> None:
    case = Case(arguments=encode([[1, 1]]))
    example = confirmed_example("dedupe", case, returned([1]))
    assert (example.text, example.case.origin) == ("dedupe([[1, 1]]) == [1]".replace("[[1, 1]]", "[1, 1]"), "user")
    assert check(example, returned([1])) is None
    assert check(example, returned([1.0])) is not None
    raised = Observation(raised=("m.Bad", ""))
    assert check(confirmed_example("f", case, raised), raised) is None
    with pytest.raises(ValueError, match="confirmed"):
        confirmed_example("f", case, Observation(dead="wall time"))


@given(
    st.text(max_size=60) | st.from_regex(r"\A(>>> )?f\([\[\](){}'\",1-3 *]{0,12}\)( -> |\n)[\[\](){}'\"1-3 .*]{0,10}\Z")
)
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_reader_and_what_it_reads_holds_for_itself(text: str) -> None:
    for example in find_examples(text, "f").found:
        assert check(example, Observation(graph=example.case.expected)) is None


async def test_failing_examples_of_a_real_version(project: Callable[..., Path], sandbox: Sandbox) -> None:
    doc = "Double.\n\n    >>> f(2)\n    4\n    >>> f(3)\n    7\n    >>> list(f(1))\n    [2]\n    "
    text = f'def f(n):\n    """{doc}"""\n    return n * 2\n'
    path = project({"app.py": text}) / "app.py"
    harness = PythonHarness(find_project(path), find_target(path, text, symbol="f"), sandbox)
    try:
        examples = find_examples(doc, "f").found

        async def start() -> Any:
            return await harness.start(Version(label="original", text=text))

        failed = await failing_examples(start, examples, symbol="f")
    finally:
        await harness.aclose()
    assert [(e.call, e.expected, e.actual) for e in failed] == [("f(3)", "7", "6"), ("f(1)", "[2]", "2")]
