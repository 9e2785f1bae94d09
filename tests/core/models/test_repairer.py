"""The rule-based repairer: order, laziness, and that the true repair is among what it proposes."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

from perforch_core.languages.python import find_functions
from perforch_core.models.interface import Hints
from perforch_core.models.repairer import Repairer, suspicion
from perforch_core.task import Stage, Target

PATH = Path("/project/code.py")


def target(text: str, symbol: str) -> Target:
    function = next(f for f in find_functions(text) if f.symbol == symbol)
    return Target(
        path=PATH, symbol=symbol, language="python", root=PATH.parent, text=text, start=function.start, end=function.end
    )


BOUNDS = '''\
class Shelf:
    """Keeps things."""

    def first(self, items, limit):
        """The first item up to the limit."""
        best = None
        for item in items:
            if item < limit and best is None:
                best = item
        return best


def untouched(a):
    return a < 1
'''


def test_the_true_repair_is_proposed_early_and_nothing_else_is_touched() -> None:
    wanted = BOUNDS.replace("item < limit", "item <= limit")
    found = list(itertools.islice(Repairer().propose(target(BOUNDS, "Shelf.first"), Hints()), 60))
    hit = next(r for r in found if r.text == wanted)
    assert hit.rule == "compare-boundary"
    assert hit.title == "line 8: `<` became `<=`"
    for rewrite in found:
        assert rewrite.text.endswith(BOUNDS[BOUNDS.index("\n\n\ndef untouched") :])
        assert rewrite.text.startswith(BOUNDS[: BOUNDS.index("best = None")])


def test_every_rewrite_parses_and_none_comes_twice() -> None:
    found = [r.text for r in itertools.islice(Repairer().propose(target(BOUNDS, "Shelf.first"), Hints()), 800)]
    trees = [ast.dump(ast.parse(text)) for text in found]
    assert len(found) == 800
    assert len(set(trees)) == len(trees)
    assert ast.dump(ast.parse(BOUNDS)) not in trees


def test_suspicion_is_ochiai_of_failing_and_passing_runs() -> None:
    values = suspicion([False, True, True], [{1, 2, 3}, {1, 2}, {1, 4}])
    assert values == {1: pytest.approx(3**-0.5), 2: pytest.approx(2**-0.5), 3: 1.0}
    assert suspicion([True], [[1]]) == {}


def test_another_name_with_a_call_around_it() -> None:
    text = "def f(rows):\n    return sorted(rows, key=lambda x: rows.count('1'))\n"
    wanted = "def f(rows):\n    return sorted(rows, key=lambda x: bin(x).count('1'))\n"
    hit = next(r for r in Repairer().propose(target(text, "f"), Hints()) if r.text == wanted)
    assert hit.title == "line 2: `rows` became `bin(x)`" and "two small edits" in hit.why


def test_suspicious_lines_come_first() -> None:
    text = "def f(a, b):\n    c = a + 1\n    d = b + 1\n    return c * d\n"
    hints = Hints(suspicion={2: 0.1, 3: 1.0, 4: 0.1})
    first = list(itertools.islice(Repairer().propose(target(text, "f"), hints), 10))
    lines = [next(n for n, (x, y) in enumerate(zip(text.splitlines(), r.text.splitlines(), strict=True), 1) if x != y)
             for r in first]  # fmt: skip
    assert lines.count(3) >= 7


def test_pairs_follow_singles() -> None:
    text = "def same(a, b):\n    return a == b\n"
    wanted = "def same(a, b):\n    return set(a) == set(b)\n"
    found = list(Repairer().propose(target(text, "same"), Hints()))
    rules = [r.rule for r in found]
    first_pair = next(n for n, rule in enumerate(rules) if "+" in rule)
    assert all("+" not in r for r in rules[:first_pair]) and all("+" in r for r in rules[first_pair:])
    hit = next(r for r in found if r.text == wanted)
    assert hit.rule == "call-added+call-added"
    assert hit.title == "line 2: `a` became `set(a)`; line 2: `b` became `set(b)`"


@pytest.mark.parametrize(
    ("buggy", "mended"),
    [
        ("for i in range(len(x) - 1):\n        y += i", "for i in range(len(x)):\n        y += i"),
        ("for i in x:\n        y += i\n        return y", "for i in x:\n        y += i\n    return y"),
        ("y = min(x)\n    return y - 1", "y = max(x)\n    return y - 1"),
        ("return sum(x) / y", "return sum(x) / len(x)"),
        ("if not x:\n        return True\n    return False", "if not x:\n        return False\n    return True"),
        ("return 'x'", "return x"),
    ],
)
def test_common_faults(buggy: str, mended: str) -> None:
    head = "def f(x, y):\n    "
    found = Repairer().propose(target(f"{head}{buggy}\n", "f"), Hints())
    wanted = ast.dump(ast.parse(f"{head}{mended}\n"))
    ranks = [n for n, r in enumerate(itertools.islice(found, 200), 1) if ast.dump(ast.parse(r.text)) == wanted]
    assert ranks, mended


def test_a_long_function_is_edited_on_its_suspicious_lines_only() -> None:
    body = "".join(f"    v{n} = a + {n}\n" for n in range(250))
    text = f"def f(a):\n{body}    return v1 < a\n"
    found = list(itertools.islice(Repairer().propose(target(text, "f"), Hints(suspicion={252: 1.0})), 30))
    assert found and all(r.text.splitlines()[:251] == text.splitlines()[:251] for r in found)


def test_what_it_is_for_and_what_it_cannot_read() -> None:
    assert Repairer.stages == {Stage.FIX} and Repairer.languages == {"python"}
    broken = Target(path=PATH, symbol="f", language="python", root=PATH.parent, text="def f(:\n", start=0, end=7)
    assert list(Repairer().propose(broken, Hints())) == []
