"""Finding functions, and targets by name and by cursor."""

from __future__ import annotations

from pathlib import Path

import pytest

from perforch_core.languages import find_functions, find_target, read_source
from perforch_core.languages.python import new_state
from perforch_core.task import UserError

SOURCE = '''# 𝄞 é
import functools


@functools.cache
def first(a, b: int = 1, *args, c=2, **more):
    """Doc."""
    def inner(x):
        yield x
    return inner


class Cart:
    @property
    def total(self): return 1

    @staticmethod
    async def load(path): pass

    class Line:
        def total(self):
            return 2


if True:
    def late(): pass


def late():
    return 2
'''


def test_every_function_is_found() -> None:
    found = {f"{f.symbol}:{f.line}": f for f in find_functions(SOURCE, "python")}
    assert list(found) == [
        "first:6", "first.inner:8", "Cart.total:15", "Cart.load:18", "Cart.Line.total:21", "late:26", "late:29",
    ]  # fmt: skip
    first = found["first:6"]
    assert SOURCE[first.start : first.end].startswith("@functools.cache\ndef first(")
    assert SOURCE[first.header :].startswith("def first(")
    assert SOURCE[first.body :].startswith('"""Doc."""')
    assert first.parameters == ("a", "b", "args", "c", "more")
    assert first.docstring == "Doc."
    assert not first.is_generator
    assert found["first.inner:8"].is_generator and found["first.inner:8"].nested
    assert found["Cart.load:18"].is_async and found["Cart.load:18"].in_class


def test_a_target_by_name() -> None:
    path = Path("/tmp/shop.py")
    assert find_target(path, SOURCE, symbol="first").code.startswith("@functools.cache")
    assert find_target(path, SOURCE, symbol="Cart.load").symbol == "Cart.load"
    assert find_target(path, SOURCE, symbol="load").symbol == "Cart.load"
    assert find_target(path, SOURCE, symbol="late:29").code == "def late():\n    return 2"


def test_several_of_one_name_are_refused_with_the_choices() -> None:
    with pytest.raises(UserError, match="2 functions named late: choose late:26 or late:29") as refused:
        find_target(Path("/tmp/shop.py"), SOURCE, symbol="late")
    assert refused.value.choices == ("late:26", "late:29")


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UserError, match="has no function 'frist'; it has first"):
        find_target(Path("/tmp/shop.py"), SOURCE, symbol="frist")


@pytest.mark.parametrize(
    ("marker", "symbol"), [("yield", "first.inner"), ("return inner", "first"), ("return 2", "Cart.Line.total")]
)
def test_a_target_by_cursor_is_the_innermost(marker: str, symbol: str) -> None:
    assert find_target(Path("/tmp/shop.py"), SOURCE, offset=SOURCE.index(marker)).symbol == symbol


def test_a_cursor_outside_of_functions_is_refused() -> None:
    with pytest.raises(UserError, match="the cursor is not in a function"):
        find_target(Path("/tmp/shop.py"), SOURCE, offset=2)


def test_bad_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    with pytest.raises(UserError, match="there is no such file"):
        read_source(broken)
    with pytest.raises(UserError, match="this is a folder"):
        read_source(tmp_path)
    broken.write_bytes(b"# \xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_source(broken)
    with pytest.raises(UserError, match=r"does not parse: line 1: .*Mend that first"):
        find_target(broken, "def f(:\n    pass\n", symbol="f")
    with pytest.raises(UserError, match="has no functions"):
        find_target(broken, "x = 1\n", symbol="f")
    with pytest.raises(UserError, match=r"does not know files that end in '\.txt'"):
        find_target(tmp_path / "a.txt", "", symbol="f")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ("from functools import cache\n@cache\ndef f(n): return n\n", ["f keeps its results between calls (a cache)"]),
        ("SEEN = {}\ndef f(n): return SEEN.setdefault(n, n)\n", ["new variable of the module: SEEN"]),
        ("def f(n):\n    global last\n    last = n\n    return n\n", ["writes the global variable last"]),
        ("import re\nWORD = re.compile('a')\nKINDS = frozenset({1, 2})\nLIMIT = -3\ndef f(n): return n\n", []),
        ("def f(n:\n", []),
    ],
)  # fmt: skip
def test_new_state_is_named(after: str, words: list[str]) -> None:
    assert new_state("def f(n): return n\n", after) == words
    assert new_state(after, after) == []
