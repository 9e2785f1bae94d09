"""Answers in all the shapes that models give them, put into a file."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from perforch_core.languages.python import find_functions
from perforch_core.stages.splice import Splice, splice
from perforch_core.task import Target

FILE = '''\
#!/usr/bin/env python3
"""A module."""

from __future__ import annotations

import os
from collections import OrderedDict

import numpy as np

LIMIT = 10


def helper(x):
    return x + LIMIT


# Keeps the order.
def dedupe(xs: list[int]) -> list[int]:
    """Without duplicates."""
    out = []
    for x in xs:
        if x not in out:
            out.append(x)  # slow
    return out  # done


class Cart:
    """A cart."""

    tax = 2

    def __init__(self, items):
        self.items = items

    @property
    def total(self) -> int:
        """The sum."""
        t = 0
        for i in self.items:
            t = t + i
        return t

    def twice(self):
        return 2 * self.total


print(os.sep, helper(1), np)  # the end'''


def target_in(text: str, symbol: str) -> Target:
    function = next(item for item in find_functions(text) if item.symbol == symbol)
    root = Path("/p")
    return Target(
        path=root / "app.py",
        symbol=symbol,
        language="python",
        root=root,
        text=text,
        start=function.start,
        end=function.end,
    )


def put(answer: str, symbol: str = "dedupe", text: str = FILE) -> Splice:
    return splice(target_in(text, symbol), textwrap.dedent(answer))


def text_of(result: Splice) -> str:
    assert result.problem == "" and result.text is not None
    compile(result.text.removeprefix("\ufeff"), "app.py", "exec")
    return result.text


def function_in(text: str, symbol: str) -> str:
    target = target_in(text, symbol)
    return target.code


DEDUPE = '''\
def dedupe(xs: list[int]) -> list[int]:
    """Without duplicates."""
    return list(dict.fromkeys(xs))'''
OLD = FILE[FILE.index("def dedupe") : FILE.index("\n\n\nclass Cart")]
EXPECTED = FILE.replace(OLD, DEDUPE)
TOTAL = '''\
    @property
    def total(self) -> int:
        """The sum."""
        return sum(self.items)'''
OLD_TOTAL = FILE[FILE.index("    @property") : FILE.index("\n\n    def twice")]
EXPECTED_TOTAL = FILE.replace(OLD_TOTAL, TOTAL)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(DEDUPE, id="the function alone"),
        pytest.param(DEDUPE.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(textwrap.indent(DEDUPE, "        "), id="indented"),
        pytest.param(DEDUPE.replace("    ", "\t"), id="tabs"),
        pytest.param(DEDUPE.replace("    ", "  "), id="two spaces"),
        pytest.param("def dedupe(xs):\n    return list(dict.fromkeys(xs))", id="without annotations and docstring"),
        pytest.param("def dedupe(xs): return list(dict.fromkeys(xs))", id="in one line"),
        pytest.param("return list(dict.fromkeys(xs))", id="only the body"),
        pytest.param("    return list(dict.fromkeys(xs))", id="only the body, indented"),
        pytest.param('"""Without duplicates."""\nreturn list(dict.fromkeys(xs))', id="the body with its docstring"),
        pytest.param("dedupe = lambda xs: list(dict.fromkeys(xs))", id="a lambda"),
        pytest.param(EXPECTED, id="the whole file"),
        pytest.param(EXPECTED.replace("LIMIT = 10", "LIMIT = 99").replace("x + LIMIT", "0"), id="with other edits"),
        pytest.param(f"{DEDUPE}\n\nprint(dedupe([1]))\nassert dedupe([]) == []", id="usage after it"),
        pytest.param(f"xs = [1]\n{DEDUPE}\nif __name__ == '__main__':\n    print(dedupe(xs))", id="a main part"),
        pytest.param(f"import sys\nfrom typing import List\n{DEDUPE}", id="imports that it does not use"),
        pytest.param(f"# Faster:\n{DEDUPE}", id="a comment on top"),
        pytest.param(DEDUPE.replace("dedupe", "dedupe_fast"), id="another name"),
        pytest.param("async " + DEDUPE, id="needlessly async"),
        pytest.param(f"class Solution:\n    @staticmethod\n{textwrap.indent(DEDUPE, '    ')}", id="a class around"),
    ],
)
def test_the_function_is_replaced_and_nothing_else(answer: str) -> None:
    assert text_of(put(answer)) == EXPECTED


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(textwrap.dedent(TOTAL), id="the method alone"),
        pytest.param(TOTAL, id="as it is indented in the file"),
        pytest.param(TOTAL.strip(), id="first line not indented"),
        pytest.param("def total(self):\n    return sum(self.items)", id="decorator, annotation, docstring dropped"),
        pytest.param("class Cart:\n" + TOTAL, id="the class around"),
        pytest.param("class Cart:\n    def total(self):\n        return sum(self.items)", id="the class, bare"),
        pytest.param("class Cart:\n    tax = 3\n    def __init__(self): pass\n" + TOTAL, id="other members"),
        pytest.param("return sum(self.items)", id="only the body"),
        pytest.param(EXPECTED_TOTAL, id="the whole file"),
    ],
)
def test_a_method_is_replaced(answer: str) -> None:
    assert text_of(put(answer, "Cart.total")) == EXPECTED_TOTAL


@pytest.mark.parametrize(
    "head", ["import math", "import math\n\n\ndef helper_of_mine(xs):\n    return math.fsum(xs)\n"]
)
def test_imports_and_helpers_at_the_margin_before_an_indented_method(head: str) -> None:
    call = "helper_of_mine" if "def" in head else "math.fsum"
    method = TOTAL.replace("sum(self.items)", f'len("""a\n  b""") + {call}(self.items)')
    text = text_of(put(f"{head}\n\n{method}\n", "Cart.total"))
    assert method in text
    assert "\nimport math\n" in text
    assert ("def helper_of_mine(xs):\n    return math.fsum(xs)" in text) == ("def" in head)


def test_a_function_of_the_same_name_inside_a_method_stays_there() -> None:
    body = "    start = 0\n\n    def total(xs):\n        return sum(xs, start)\n\n    return total(self.items)"
    text = text_of(put(f"@property\ndef total(self):\n{body}", "Cart.total"))
    assert textwrap.indent(body, "    ") in text


def test_the_receiver_may_be_called_otherwise() -> None:
    text = text_of(put("def total(this) -> int:\n    return sum(this.items)", "Cart.total"))
    assert '        """The sum."""\n        return sum(this.items)' in text


def test_helpers_constants_and_imports_come_along() -> None:
    answer = """\
        import os
        import sys, re as regex
        from collections import Counter, OrderedDict
        from typing import List

        EMPTY: List[int] = []
        SIZE = 3
        unused = 4

        def _inner(n):
            return regex.sub("a", "b", n) + str(SIZE)

        def _outer(n):
            return Counter(_inner(n)), EMPTY

        def dedupe(xs):
            n = 3
            return OrderedDict(_outer(xs))
        """
    text = text_of(put(answer))
    imports = "import os\nfrom collections import OrderedDict, Counter\nimport re as regex\nfrom typing import List\n\n"
    assert f"{imports}import numpy" in text
    assert "EMPTY: List[int] = []\nSIZE = 3\n\n\ndef _inner(n):" in text
    assert "EMPTY\n\n\n# Keeps the order.\ndef dedupe(xs: list[int]) -> list[int]:" in text
    assert "unused" not in text and "import sys" not in text
    assert text.index("def helper") < text.index("EMPTY:") < text.index("def _inner") < text.index("def _outer")


def test_helpers_of_a_method_come_beside_it_or_before_the_class() -> None:
    answer = """\
        import math

        SCALE = 2

        def free(x):
            return math.floor(x) * SCALE

        class Cart:
            rate = 7

            def twice(self):
                return "changed"

            def _sum(self):
                return free(sum(self.items)) + self.rate

            @property
            def total(self):
                return self._sum()
        """
    text = text_of(put(answer, "Cart.total"))
    assert "SCALE = 2\n\n\ndef free(x):\n    return math.floor(x) * SCALE\n\n\nclass Cart:" in text
    assert (
        "    rate = 7\n\n    def _sum(self):\n        return free(sum(self.items)) + self.rate\n\n    @property\n"
        in text
    )
    assert "changed" not in text and "from collections import OrderedDict\nimport math\n" in text


def test_a_loose_function_used_as_a_method_comes_into_the_class() -> None:
    answer = "def _sum(self):\n    return sum(self.items)\n\ndef total(self):\n    return self._sum()"
    text = text_of(put(answer, "Cart.total"))
    assert (
        "        self.items = items\n\n    def _sum(self):\n        return sum(self.items)\n\n    @property\n" in text
    )


def test_a_file_without_imports_gets_them_on_top() -> None:
    plain = "# coding: utf-8\n# About dedupe.\ndef dedupe(xs):\n    return xs\n"
    answer = "from heapq import *\nimport pandas\n\ndef dedupe(xs):\n    return nsmallest(1, pandas.x(xs))"
    assert text_of(put(answer, text=plain)) == (
        "# coding: utf-8\nfrom heapq import nsmallest\n\n\nimport pandas\n\n\n# About dedupe.\n"
        "def dedupe(xs):\n    return nsmallest(1, pandas.x(xs))\n"
    )


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ('"""Doc."""\n\n\n', '"""Doc."""\n\nimport re\n\n\n'),
        ('"""Doc."""\n', '"""Doc."""\n\nimport re\n\n'),
        ("from __future__ import annotations\n\n\n", "from __future__ import annotations\n\nimport re\n\n\n"),
        ("import attrs\n\n\n", "import re\n\nimport attrs\n\n\n"),
        ("import re\n\n\n", "import re\n\n\n"),
        ("import os\nimport attrs\n\n\n", "import os\nimport re\nimport attrs\n\n\n"),
        (
            "try:\n    import re\nexcept ImportError:\n    pass\n",
            "try:\n    import re\nexcept ImportError:\n    pass\n",
        ),
        ("if TYPE_CHECKING:\n    import re\n", "import re\n\n\nif TYPE_CHECKING:\n    import re\n"),
    ],
)
def test_where_an_import_goes(top: str, expected: str) -> None:
    answer = "import re\ndef f(x):\n    return re.sub(x)"
    assert text_of(put(answer, "f", top + "def f(x):\n    return x\n")) == expected + answer[10:] + "\n"


def test_line_ends_tabs_and_mark_are_kept() -> None:
    text = "\ufeffimport os\r\n\r\ndef f(x):\r\n\tfor i in x:\r\n\t\tprint(i)\r\n\treturn 1\r\nz = 1\r\n\x0c\r\n"
    answer = "import re\nHELP = 2\ndef f(x):\n    if x:\n        return re.sub(HELP)\n    return 1"
    assert text_of(put(answer, "f", text)) == (
        "\ufeffimport os\r\nimport re\r\n\r\nHELP = 2\r\n\r\n\r\n"
        "def f(x):\r\n\tif x:\r\n\t\treturn re.sub(HELP)\r\n\treturn 1\r\nz = 1\r\n\x0c\r\n"
    )


def test_mixed_line_ends_outside_stay() -> None:
    text = "a = 1\r\nb = 2\ndef f(x):\n    return x\n\r\nc = 'ü'\r\n"
    assert text_of(put("def f(x):\n    return 1", "f", text)) == text.replace("return x", "return 1")


def test_the_insides_of_strings_are_not_reindented() -> None:
    body = '    """The sum.\n\n    More.\n    """\n    return """a\n  b\nc"""'
    answer = f"class Cart:\n  @property\n  def total(self) -> int:\n{body}"
    text = text_of(put(answer, "Cart.total"))
    assert '        """The sum.\n\n        More.\n        """\n        return """a\n  b\nc"""' in text


@pytest.mark.parametrize(
    "body",
    [
        '    """The sum.\n\n      - by steps\n          of their own\n    """\n    return total(self.items)',
        "    return sum(\n      self.items,\n      start=0,\n    )",
        "    parts = [1,\n      2]\n    if parts:\n        return total(parts)\n    return 0",
    ],
)
def test_steps_of_documentation_and_continued_lines_are_not_steps_of_code(body: str) -> None:
    text = text_of(put(f"@property\ndef total(self) -> int:\n{body}", "Cart.total"))
    code = textwrap.indent(body[body.index('"""\n') + 4 :] if '"""' in body else body, "    ")
    assert code in text


def test_a_nested_function() -> None:
    text = "def outer(a):\n    def inner(b):\n        return a + b\n    return inner(1)\n"
    for answer in ("def inner(b):\n    return b + a", text.replace("a + b", "b + a"), "return b + a"):
        assert text_of(put(answer, "outer.inner", text)) == text.replace("a + b", "b + a")


def test_a_nested_function_with_nonlocal() -> None:
    text = "def outer(a):\n    def inner(b):\n        nonlocal a\n        a += b\n    inner(1)\n    return a\n"
    answer = "def inner(b):\n    nonlocal a\n    a = a + b"
    assert text_of(put(answer, "outer.inner", text)) == text.replace("a += b", "a = a + b")


def test_decorators_that_the_answer_adds_stand_below_the_originals() -> None:
    text = "import functools\n\n\n@app.route('/')\n@functools.lru_cache(maxsize=3)\ndef f(x):\n    return x\n"
    answer = "from functools import lru_cache, wraps\n\n@lru_cache(None)\n@wraps(f)\ndef f(x):\n    return 1"
    result = text_of(put(answer, "f", text))
    assert result.endswith("@app.route('/')\n@lru_cache(None)\n@wraps(f)\ndef f(x):\n    return 1\n")
    assert "import functools\nfrom functools import lru_cache, wraps\n" in result


def test_a_coroutine_stays_one() -> None:
    text = "async def f(x):\n    return await x\n"
    assert text_of(put("def f(x):\n    return 1", "f", text)) == "async def f(x):\n    return 1\n"
    assert text_of(put("async def f(x):\n    return 1", "f", text)) == "async def f(x):\n    return 1\n"


def test_recursion_survives_renaming() -> None:
    text = "def f(n):\n    return f(n - 1) if n else 0\n"
    answer = "def helper(n):\n    return n\n\ndef f_v2(n):\n    é = 'é'; return f_v2(helper(n) - 1) if n else é"
    assert "é = 'é'; return f(helper(n) - 1)" in text_of(put(answer, "f", text))


def test_an_added_optional_parameter_is_fine() -> None:
    assert "def dedupe(xs, *, fast=True)" in text_of(put("def dedupe(xs, *, fast=True):\n    return xs"))


def test_overloads_and_setters_are_told_apart() -> None:
    text = (
        "class A:\n    @property\n    def v(self):\n        return self._v\n\n"
        "    @v.setter\n    def v(self, x):\n        self._v = x\n"
    )
    function = find_functions(text)[1]
    target = Target(
        path=Path("/p/a.py"), symbol="A.v", language="python", root=Path("/p"), text=text,
        start=function.start, end=function.end,
    )  # fmt: skip
    result = splice(target, text.replace("self._v = x", "self._v = x or 0").replace("return self._v", "return 9"))
    assert text_of(result) == text.replace("self._v = x", "self._v = x or 0")


def test_a_target_that_does_not_parse_can_be_mended() -> None:
    text = "import os\n\n\ndef f(x):\n    return (x +\n\n\ndef g(x):\n    return x\n"
    start, end = text.index("def f"), text.index("\n\n\ndef g")
    target = Target(
        path=Path("/p/a.py"), symbol="f", language="python", root=Path("/p"), text=text, start=start, end=end
    )
    result = splice(target, "import re\n\ndef f(x):\n    return re.sub(x)")
    assert result.text == "import os\nimport re\n\n\ndef f(x):\n    return re.sub(x)\n\n\ndef g(x):\n    return x\n"


@pytest.mark.parametrize(
    ("answer", "symbol", "part"),
    [
        ("", "dedupe", "no code"),
        ("I am sorry", "dedupe", "does not parse"),
        ("def dedupe(xs:\n  return", "dedupe", "does not parse: line 1"),
        ("def other(a, b):\n    return a", "dedupe", "other parameters"),
        ("def a(xs): pass\ndef b(xs): pass", "dedupe", "defines a, b"),
        ("x = 1", "dedupe", "defines no function"),
        ("print(dedupe([1]))", "dedupe", "defines no function"),
        ("def dedupe(items):\n    return items", "dedupe", "parameters of dedupe from (xs) to (items)"),
        ("def dedupe(xs, n):\n    return xs", "dedupe", "parameters"),
        ("dedupe = lambda a: a", "dedupe", "parameters"),
        ("async def dedupe(xs):\n    return await xs", "dedupe", "async"),
        ("import os.path as np\ndef dedupe(xs):\n    return np.join(xs)", "dedupe", "np"),
        ("from foo import *\ndef dedupe(xs):\n    return bar(xs)", "dedupe", "everything from foo"),
        (
            "def helper(q):\n    return q\ndef dedupe(xs):\n    return helper(xs)",
            "dedupe",
            "already has another helper",
        ),
        ("def dedupe(xs):\n    nonlocal y\n    return xs", "dedupe", "nonlocal"),
        ("def dedupe(xs):\n    return '\0'", "dedupe", "null bytes"),
        ("def dedupe(xs):\n    return " + "(" * 500 + ")" * 500, "dedupe", "pars"),
        ("def dedupe(xs):\n    return " + "-" * 100_000 + "1", "dedupe", ""),
    ],
)
def test_what_does_not_fit_is_said(answer: str, symbol: str, part: str) -> None:
    result = splice(target_in(FILE, symbol), answer)
    assert result.text is None and result.problem and part in result.problem


def test_an_answer_that_changes_nothing_is_recognised() -> None:
    assert put(OLD).unchanged and put(OLD.replace("# slow", "# still slow")).unchanged
    assert not put(DEDUPE).unchanged


def test_other_languages_are_not_yet_placed() -> None:
    target = Target(
        path=Path("/p/a.go"), symbol="F", language="go", root=Path("/p"), text="func F() {}", start=0, end=11
    )
    assert "go" in splice(target, "func F() {}").problem
