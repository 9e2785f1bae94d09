"""Small edits of a Python function: right places, nothing else touched."""

from __future__ import annotations

import ast
import textwrap

import pytest

from perforch_core.languages.edits import SmallEdit, apply, describe
from perforch_core.languages.edits.python import edits, faults, meaning_after
from perforch_core.languages.interface import Function
from perforch_core.languages.python import find_functions


def function(text: str, symbol: str) -> Function:
    return next(f for f in find_functions(text) if f.symbol == symbol)


def results(text: str, symbol: str = "f") -> dict[str, set[str]]:
    """The edited functions, by meaning, with the operators that made them."""
    found: dict[str, set[str]] = {}
    for edit in edits(text, function(text, symbol)):
        after = apply(text, edit)
        if meaning_after(text, function(text, symbol), edit) is not None:
            found.setdefault(ast.dump(ast.parse(after)), set()).add(edit.operator)
    return found


CASES = [
    ("return a < b", "return a <= b", "compare-boundary"),
    ("return a < b", "return a >= b", "compare-negate"),
    ("return a in b", "return a not in b", "compare-negate"),
    ("return a is  not b", "return a is b", "compare-negate"),
    ("return ((a) < (b))", "return ((a) <= (b))", "compare-boundary"),
    ("return a // b", "return a % b", "arithmetic"),
    ("return a - b", "return b - a", "operands-swapped"),
    ("return a % 1.0 + 1.0", "return a % 1.0", "operand-removed"),
    ("return (-1) ** 2 * len(a)", "return (-1) ** len(a)", "operand-removed"),
    ("a += b", "a -= b", "arithmetic"),
    ("a = a + b", "a += a + b", "assignment"),
    ("return a and b", "return a or b", "logic"),
    ("return a and b and c", "return a or b or c", "logic"),
    ("return a and b and c", "return a and c", "clause-removed"),
    ("return not a", "return a", "negation-removed"),
    ("return -a", "return a", "negation-removed"),
    ("return 3", "return 4", "off-by-one"),
    ("return 3", "return 2", "off-by-one"),
    ("return a.split('--')", "return a.split('-')", "text-shortened"),
    ("return a == '('", "return a == ')'", "text-partner"),
    ("return a == 'x'", "return a == 'X'", "text-case"),
    ("return True", "return False", "boolean"),
    ("return range(a)", "return range(a + 1)", "boundary"),
    ("return range(len(a) - b)", "return range(len(a) - b + 1)", "boundary"),
    ("return range(1, a)", "return range(a)", "argument-removed"),
    ("return a[b]", "return a[b - 1]", "boundary"),
    ("return a[b:]", "return a[b + 1:]", "boundary"),
    ("return a[b:]", "return a[:b]", "slice"),
    ("return a[::-1]", "return a", "subscript-removed"),
    ("return [x for x in a]", "return [x for x in a][1:]", "slice-added"),
    ("return g(a)", "return g(a[:b])", "slice-by-name"),
    ("return a + b", "return a + c", "name"),
    ("a -= 1", "c -= 1", "assigned-name"),
    ("return g(a, b)", "return g(b, a)", "arguments-swapped"),
    ("return a / b", "return abs(a) / b", "call-added"),
    ("return sorted(a)", "return sorted(set(a))", "call-added"),
    ("return a", "return a.lower()", "method-added"),
    ("return a.strip()", "return a", "method-removed"),
    ("return abs(a - b)", "return a - b", "call-removed"),
    ("return 2 * abs(a - b)", "return 2 * (a - b)", "call-removed"),
    ("return min(a)", "return max(a)", "function"),
    ("return any(x for x in a)", "return all(x for x in a)", "function"),
    ("a.append(b)", "a.insert(0, b)", "method"),
    ("a.insert(0, b)", "a.append(b)", "method"),
    ("return g(a)", "return g(g(a))", "call-repeated"),
    ("return sorted(a)", "return sorted(a, reverse=True)", "ordering"),
    ("return a, b", "return b, a", "items-swapped"),
    ("return [x for x in a if x]", "return [x for x in a if not (x)]", "negation"),
    ("return a if b else c", "return c if b else a", "branches-swapped"),
    ("a.sort()\n    return b", "pass\n    return b", "statement-removed"),
    ("for x in a:\n        b += x\n        return b", "for x in a:\n        b += x\n    return b", "moved-out"),
    ("for x in a:\n        b += x\n    return b", "for x in a:\n        b += x\n        return b", "moved-in"),
    ("while a:\n        break", "while a:\n        continue", "jump"),
    ("a = 1\n    b = 2", "b = 2\n    a = 1", "statements-swapped"),
    ("if a:\n        return 1\n    else:\n        return 2", "if a:\n        return 2\n    else:\n        return 1",
     "branches-swapped"),
    ("if a:\n        return True\n    return False", "if a:\n        return False\n    return True", "returns-negated"),
    ("a, b = c\n    a = int(a)", "b, a = c\n    b = int(b)", "names-exchanged"),
    ("b.add(a)", "if a == b:\n        b.add(a)", "guard-added"),
    ("a = b[c]\n    b = 1", "a = b[c]\n    c -= 1\n    b = 1", "statement-added"),
    ("return a.sort()", "return a", "method-removed"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "operator"), CASES)
def test_each_fault_is_among_the_edits(before: str, after: str, operator: str) -> None:
    head = "def f(a, b, c):\n    "
    assert operator in results(f"{head}{before}\n")[ast.dump(ast.parse(f"{head}{after}\n"))]


CLASSY = textwrap.dedent('''\
    """Ünïcode module: a < b stays."""
    import functools


    class Wägen:
        """Keeps 1 < 2."""

        @functools.lru_cache(maxsize=8 + 1)
        def größe(self, ä: "int < 3" = 4, *, b: list[int] | None = None) -> "a < b":
            """Not 1 < 2 either."""
            é = "ß" * ä; ü = é + "ö"  # ü < ä
            def inner(x):
                "Nor 3 < 4."
                return (x  <  # why
                        self.limit + ä)
            return inner(len(ü)) and f"{ä < 1}"

        def other(self):
            return 1 < 2
    ''')


def test_methods_nested_functions_and_wide_characters() -> None:
    method = function(CLASSY, "Wägen.größe")
    for edit in edits(CLASSY, method):
        assert method.body < edit.start and edit.end <= method.end
        touched = CLASSY[edit.start : edit.end]
        assert (
            "Not 1" not in touched and "Nor 3" not in touched.replace('"Nor 3 < 4."', "") and "1}" not in edit.new[:4]
        )
    found = {apply(CLASSY, e): e for e in edits(CLASSY, method)}
    assert CLASSY.replace("(x  <  # why", "(x  <=  # why") in found
    assert CLASSY.replace('é = "ß" * ä;', 'é = "ß" + ä;') in found
    assert CLASSY.replace('ü = é + "ö"', "ü = é") in found
    line = CLASSY[: CLASSY.index("(x  <")].count("\n") + 1
    assert found[CLASSY.replace("(x  <  # why", "(x  <=  # why")].line == line


def test_a_nested_function_alone() -> None:
    inner = function(CLASSY, "Wägen.größe.inner")
    found = edits(CLASSY, inner)
    assert found and all(inner.body <= e.start and e.end <= inner.end for e in found)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_newlines_and_everything_outside_the_edit_stay(newline: str) -> None:
    text = CLASSY.replace("\n", newline)
    method = function(text, "Wägen.größe")
    for edit in edits(text, method):
        after = apply(text, edit)
        assert after.startswith(text[: edit.start]) and after.endswith(text[edit.end :])
        if newline == "\r\n":
            assert after.count("\n") == after.count("\r\n")


def test_edits_parse_but_for_a_handful() -> None:
    method = function(CLASSY, "Wägen.größe")
    found = edits(CLASSY, method)
    parsing = [e for e in found if meaning_after(CLASSY, method, e) is not None]
    assert len(parsing) >= 0.98 * len(found)
    for edit in parsing:
        ast.parse(apply(CLASSY, edit))


def test_a_byte_order_mark_shifts_nothing() -> None:
    text = "\ufeffdef f(a): return a < 1\n"
    whole = Function(symbol="f", start=1, header=1, body=11, end=len(text) - 1, line=1)
    assert "\ufeffdef f(a): return a <= 1\n" in {apply(text, e) for e in edits(text, whole)}


def test_lines_limit_the_edits() -> None:
    text = "def f(a):\n    b = a + 1\n    return b < 2\n"
    found = edits(text, function(text, "f"), lines=frozenset({3}))
    assert found and {e.line for e in found} == {3}


def test_faults_are_edits_and_leave_names_alone() -> None:
    text = "def f(a, b):\n    c = a + 1\n    return b < c\n"
    every = {apply(text, e) for e in edits(text, function(text, "f"))}
    few = {apply(text, e): e.operator for e in faults(text, function(text, "f"))}
    assert set(few) < every
    assert "name" not in few.values() and "call-added" not in few.values()


def test_a_file_that_does_not_parse_has_no_edits() -> None:
    whole = Function(symbol="f", start=0, header=0, body=0, end=9, line=1)
    assert edits("def f(:\n", whole) == []


def test_descriptions_and_overlap() -> None:
    text = "def f(a):\n    return a < 1\n"
    edit = next(e for e in edits(text, function(text, "f")) if e.operator == "compare-boundary")
    assert describe(text, edit) == "line 2: `<` became `<=`"
    with pytest.raises(ValueError, match="overlap"):
        apply(text, [SmallEdit(1, 5, "", "x", 1), SmallEdit(3, 8, "", "x", 1)])
