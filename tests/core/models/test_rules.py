from __future__ import annotations

import ast
import textwrap
from pathlib import Path
from typing import Any

import pytest

from perforch_core.models.interface import Hints
from perforch_core.models.rules import Example, Rule, RuleModel, load_rules
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
