from __future__ import annotations

import ast
import textwrap
from pathlib import Path
from typing import Any

import pytest

from perforch_core.models.interface import Hints
from perforch_core.models.rules import Example, Rule, RuleError, RuleModel, hints, load_rules, parse_rule
from perforch_core.task import Target

RULES = load_rules("python")
EXAMPLES = [
    pytest.param(rule, example, id=f"{rule.id}-{number}")
    for rule in RULES
    for number, example in enumerate(e for variant in rule.variants for e in variant.examples)
]


def target_of(text: str, symbol: str = "f") -> Target:
    """The target `symbol` of a text with any newlines, found by Python's own parser."""
    plain = text.replace("\r\n", "\n")
    node = next(
        n
        for n in ast.walk(ast.parse(plain))
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == symbol
    )
    lines = text.splitlines(keepends=True)
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    start = sum(map(len, lines[: first - 1])) + node.col_offset
    assert node.end_lineno is not None
    end = sum(map(len, lines[: node.end_lineno])) - (
        len(lines[node.end_lineno - 1]) - len(lines[node.end_lineno - 1].rstrip("\r\n"))
    )
    root = Path("/project")
    return Target(path=root / "a.py", symbol=symbol, language="python", root=root, text=text, start=start, end=end)


def rewrites(text: str, rule: str | None = None) -> list[str]:
    found = RuleModel().propose(target_of(textwrap.dedent(text)), Hints())
    return [r.text for r in found if rule is None or r.rule == rule]


def result(code: str, call: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(code, "example", "exec"), names)
    return eval(call, names)


@pytest.mark.parametrize(("rule", "example"), EXAMPLES)
def test_the_example_becomes_exactly_what_it_says(rule: Rule, example: Example) -> None:
    assert example.after in rewrites(example.before, rule.id)


@pytest.mark.parametrize(("rule", "example"), EXAMPLES)
def test_the_example_behaves_the_same_before_and_after(rule: Rule, example: Example) -> None:
    assert result(example.before, example.call) == result(example.after, example.call)


def test_there_are_enough_rules_and_each_has_an_example() -> None:
    assert len(RULES) >= 24
    assert all(variant.examples for rule in RULES for variant in rule.variants)
    assert len({rule.id for rule in RULES}) == len(RULES)


DEDUPE = """\
def f(items):
    out = []
    for item in items:
        if item not in out:
            out.append(item)  # keep order
    return out
"""


def test_windows_newlines_are_kept_everywhere() -> None:
    text = "# 😀\n" + DEDUPE
    (new, *_) = rewrites_raw(text.replace("\n", "\r\n"))
    assert "seen = set()" in new
    assert new.count("\r\n") == new.count("\n") == text.count("\n") + 2


def test_hints_of_windows_text_are_code_points_of_that_text() -> None:
    text = ("# 😀 é\n" + DEDUPE).replace("\n", "\r\n")
    (finding,) = hints(text, "python")
    assert text[finding.start : finding.end] == "item not in out"
    assert finding.line == 5


def test_tabs_stay_tabs() -> None:
    text = DEDUPE.replace("    ", "\t")
    assert any("\t\t\tseen.add(item)\n\t\t\tout.append(item)  # keep order\n" in new for new in rewrites_raw(text))


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    text = "seen = {}\n\n\n" + DEDUPE
    assert any("    seen_2 = set()\n" in new for new in rewrites_raw(text))


COUNT = "def f(xs: list[int]):\n    return [x for x in xs if xs.count(x) == 1]\n"


@pytest.mark.parametrize(
    ("head", "expected", "name"),
    [
        ("", "from collections import Counter\n\n\ndef f", "Counter"),
        ('"""Doc."""\n\n\n', '"""Doc."""\n\nfrom collections import Counter\n\n\ndef f', "Counter"),
        (
            '#!/usr/bin/env python\n"""Doc."""\nfrom __future__ import annotations\n\n\n',
            '"""Doc."""\nfrom __future__ import annotations\n\nfrom collections import Counter\n\n\ndef f',
            "Counter",
        ),
        (
            "import os\nfrom abc import ABC\nfrom re import sub\n\n\n",
            "import os\nfrom abc import ABC\nfrom collections import Counter\nfrom re import sub\n\n\ndef f",
            "Counter",
        ),
        ("from collections import Counter as C\n\n\n", "from collections import Counter as C\n\n\ndef f", "C"),
        ("import collections\n\n\n", "import collections\n\n\ndef f", "collections.Counter"),
        (
            "class Counter:\n    pass\n\n\n",
            "from collections import Counter as collections_Counter\n\n\nclass Counter:",
            "collections_Counter",
        ),
    ],
)
def test_an_import_goes_where_it_belongs(head: str, expected: str, name: str) -> None:
    (new, *_) = rewrites_raw(head + COUNT)
    assert expected in new
    assert f"xs_counts = {name}(xs)\n" in new


def test_nothing_outside_of_the_target_changes() -> None:
    other = DEDUPE.replace("def f", "def other")
    text = other + "\n\n" + DEDUPE + "\n\n" + DEDUPE.replace("def f", "def third")
    found = rewrites_raw(text)
    assert found
    for new in found:
        assert new.startswith(other + "\n\ndef f")
        assert new.endswith(DEDUPE.replace("def f", "def third"))


def test_several_rules_are_also_tried_together() -> None:
    text = """\
def f(xs: list[int], ys: list[int]):
    out = []
    for x in xs:
        if x in ys and x not in out and xs.count(x) > 1:
            out.append(x)
    return out
"""
    found = list(RuleModel().propose(target_of(text), Hints()))
    together = [r for r in found if r.rule.count("+") == 2]
    assert together
    assert all(part in together[-1].text for part in ("ys_set", "xs_counts", "seen.add(x)", "import Counter"))
    assert result(together[-1].text, "f([1, 2, 2, 3, 3, 1], [2, 3])") == [2, 3]


def test_the_hot_line_comes_first() -> None:
    text = """\
def f(a: list, b: list, c: list):
    x = [i for i in a if i in b]
    y = [i for i in a if i in c]
    return x, y
"""
    first = next(iter(RuleModel().propose(target_of(text), Hints(hot_lines={3: 0.9, 2: 0.1}))))
    assert "c_set" in first.text and "b_set" not in first.text
    first = next(iter(RuleModel().propose(target_of(text), Hints(hot_lines={3: 0.1, 2: 0.9}))))
    assert "b_set" in first.text and "c_set" not in first.text


def test_methods_and_nested_functions_are_rewritten_in_place() -> None:
    text = """\
class A:
    @property
    def f(self):
        def g(xs, ys: list):
            return [x for x in xs if x in ys]
        return g
"""
    (new, *_) = rewrites_raw(text)
    assert "            ys_set = set(ys)\n            return [x for x in xs if x in ys_set]\n" in new


@pytest.mark.parametrize(
    "text",
    [
        # The list changes in the loop.
        "def f(xs, ys):\n    for x in xs:\n        if x in ys:\n            ys.pop()\n    return ys\n",
        # Already a set, a dict, a string.
        "def f(xs, ys: set[int]):\n    return [x for x in xs if x in ys]\n",
        "def f(xs):\n    ys = {x: 1 for x in xs}\n    return [x for x in xs if x in ys]\n",
        "def f(xs, ys: str):\n    return [x for x in xs if x in ys]\n",
        # Not repeated.
        "def f(x, ys: list):\n    return x in ys\n",
        # The receiver is the loop's own variable.
        "def f(text):\n    return [c for c in text if c.lower() != c]\n",
        # The queue leaves the function.
        "def f(n):\n    q = [n]\n    while q:\n        q.pop(0)\n        g(q)\n    return q\n",
        # A cache would keep answers that are no longer right.
        "def f(n: int) -> int:\n    return RATE if n < 2 else f(n - 1) + f(n - 2)\n\n"
        "RATE = 3\ndef g(r):\n    global RATE\n    RATE = r\n",
        "def f(n: int) -> int:\n    return T['a'] if n < 2 else f(n - 1) + f(n - 2)\n\n"
        "T = {'a': 1}\ndef g(r):\n    T['a'] = r\n",
        # Not valid Python.
        "def f(xs, ys):\n    return [x for x in xs if x in\n\n",
    ],
)
def test_nothing_is_proposed_where_the_pattern_does_not_hold(text: str) -> None:
    start, end = 0, text.find("\n\n") if "\n\n" in text else len(text.rstrip("\n"))
    target = Target(
        path=Path("/p/a.py"), symbol="f", language="python", root=Path("/p"), text=text, start=start, end=end
    )
    assert [r.rule for r in RuleModel().propose(target, Hints())] == []


def test_a_guess_is_proposed_but_not_hinted() -> None:
    text = "def f(xs, ys):\n    return [x for x in xs if x in ys]\n"
    assert [r.rule for r in RuleModel().propose(target_of(text), Hints())] == ["membership-list"]
    assert hints(text, "python") == []
    assert [h.rule for h in hints(text.replace("ys)", "ys: list)"), "python")] == ["membership-list"]


def test_hints_can_be_limited_to_a_range() -> None:
    text = DEDUPE + "\n\n" + DEDUPE.replace("def f", "def g")
    assert len(hints(text, "python")) == 2
    (only,) = hints(text, "python", within=(len(DEDUPE), len(text)))
    assert only.start > len(DEDUPE)


def test_other_languages_have_no_rules_yet() -> None:
    assert load_rules("cobol") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: a\ntitle: b\n", "missing keys"),
        ("id: a\ntitle: b\nwhy: c\nrule: {pattern: x}\nrules: 1\n", "unknown keys"),
        ("id: a\ntitle: b\nwhy: c\n", "needs `rule`"),
        ("- 1\n", "mapping"),
        ("id: [\n", "not valid YAML"),
    ],
)
def test_a_broken_rule_file_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        parse_rule(text, "python")


def rewrites_raw(text: str) -> list[str]:
    return [r.text for r in RuleModel().propose(target_of(text), Hints())]


def test_the_documentation_lists_every_rule_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert f"| `{rule.id}` | {rule.title} | {rule.why} |" in page
