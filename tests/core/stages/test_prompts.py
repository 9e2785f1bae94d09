"""What the prompts tell a model: all that it needs for an answer that can be right at the first try, nothing twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perforch_core.evidence import Counterexample, TestFailure
from perforch_core.languages import find_functions, find_target
from perforch_core.models.interface import Message
from perforch_core.stages import context
from perforch_core.stages.context import WHOLE_FILE
from perforch_core.stages.fix import SHOWN, fix_messages
from perforch_core.stages.generate import generate_messages
from perforch_core.stages.prompt import at_margin
from perforch_core.stages.refine import Measured, refine_messages
from perforch_core.stages.splice import splice
from perforch_core.task import Objective, Stage, Task

MODULE = '''\
"""Invoices."""
import math

from records import Order

RATE = 0.19


class Invoice:
    """One invoice."""

    def __init__(self, order: Order) -> None:
        self.order = order

    @property
    def tax(self) -> int:
        """Cents of tax,


        rounded half up."""
        return _rounded(self.order.net * RATE)


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)
'''

RECORDS = """\
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    GOODS = 1


@dataclass
class Order:
    net: int
    kind: Kind


class Unrelated:
    pass
"""

TESTS = """\
import pytest

from invoices import Invoice
from records import Kind, Order


def invoice(net):
    return Invoice(Order(net, Kind.GOODS))


def unused_helper():
    return 1


@pytest.mark.parametrize("net", [10, 20])
def test_tax(net):
    assert invoice(net).tax == net


class TestMore:
    def setup_method(self):
        self.made = invoice(5)

    def test_small(self):
        assert self.made.tax == 1

    def test_other(self):
        assert self.made.order.net == 5
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "invoices"\n')
    (tmp_path / "invoices.py").write_text(MODULE)
    (tmp_path / "records.py").write_text(RECORDS)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_invoices.py").write_text(TESTS)
    return tmp_path


def task(
    root: Path,
    stage: Stage,
    *,
    text: str | None = None,
    name: str = "invoices.py",
    symbol: str = "Invoice.tax",
    **more: object,
) -> Task:
    path = root / name
    if text is not None:
        path.write_bytes(text.encode())
    return Task(stage=stage, target=find_target(path, path.read_bytes().decode(), symbol=symbol), **more)  # type: ignore[arg-type]


def chat(made: Task) -> tuple[Message, ...]:
    """The messages for the task, whichever stage it is of, with nothing known about it."""
    match made.stage:
        case Stage.GENERATE:
            return generate_messages(made, examples=(), version="Python 3.9")
        case Stage.FIX:
            return fix_messages(made, failures=(), examples=(), passing=(), build_error="", version="Python 3.9")
        case Stage.REFINE:
            return refine_messages(made, Measured(), tried=(), version="Python 3.9")


def prompts(made: Task) -> str:
    """The user's message of the chat."""
    return chat(made)[1].content


def blocks(text: str) -> list[str]:
    """What stands in fences."""
    return [inner for _, inner in re.findall(r"^(`{3,})\w*\n(.*?)\n\1$", text, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("stage", Stage)
class TestEveryStage:
    def test_says_what_is_asked_of_whom(self, root: Path, stage: Stage) -> None:
        made = task(root, stage, specification="Use half up, as the tax office does.")
        text = prompts(made)
        assert "`Invoice.tax`" in text.splitlines()[0]
        assert "Python 3.9" in text.splitlines()[0]
        assert "Use half up, as the tax office does." in text
        assert "$" not in text

    def test_shows_the_target_once_moved_to_the_margin(self, root: Path, stage: Stage) -> None:
        text = prompts(task(root, stage))
        assert blocks(text)[0] == (
            '@property\ndef tax(self) -> int:\n    """Cents of tax,\n\n\n    rounded half up."""\n'
            "    return _rounded(self.order.net * RATE)"
        )
        assert text.count("rounded half up") == 1

    def test_the_insides_of_strings_stay(self, root: Path, stage: Stage) -> None:
        text = 'class A:\n    def f(self):\n        """Say\n        it."""\n        return """a\n        b"""\n'
        shown = blocks(prompts(task(root, stage, text=text, name="strings.py", symbol="A.f")))[0]
        assert shown == 'def f(self):\n    """Say\n    it."""\n    return """a\n        b"""'

    def test_joined_strings_move_with_the_code(self, root: Path, stage: Stage) -> None:
        text = "class A:\n    def f(self):\n        return (\n            'a'\n            f'{self}b'\n        )\n"
        shown = blocks(prompts(task(root, stage, text=text, name="strings.py", symbol="A.f")))[0]
        assert shown == "def f(self):\n    return (\n        'a'\n        f'{self}b'\n    )"

    def test_shows_the_rest_of_the_file_with_the_place(self, root: Path, stage: Stage) -> None:
        text = prompts(task(root, stage))
        rest = next(b for b in blocks(text) if "RATE = 0.19" in b)
        assert "invoices.py" in text
        assert "def _rounded(value: float) -> int:\n    return math.floor(value + 0.5)" in rest
        assert rest.index("self.order = order") < rest.index("    # (Invoice.tax stands here)") < rest.index("_rounded")

    def test_shows_records_that_the_class_takes_from_other_files(self, root: Path, stage: Stage) -> None:
        text = prompts(task(root, stage))
        shown = next(b for b in blocks(text) if "net: int" in b)
        assert "@dataclass\nclass Order:" in shown
        assert "GOODS = 1" in shown
        assert "Unrelated" not in text
        assert "records.py" in text

    def test_code_alone_in_its_file_has_no_rest(self, root: Path, stage: Stage) -> None:
        text = prompts(task(root, stage, text="def f(x):\n    return x\n", name="alone.py", symbol="f"))
        assert blocks(text) == ["def f(x):\n    return x"]
        assert "stays as it is" not in text

    def test_crlf_reaches_no_model(self, root: Path, stage: Stage) -> None:
        made = task(root, stage, text=MODULE.replace("\n", "\r\n"))
        assert made.target.text.count("\r\n") == MODULE.count("\n")
        assert "\r" not in prompts(made)
        assert blocks(prompts(made))[0] == blocks(prompts(task(root, stage, text=MODULE)))[0]

    def test_backticks_in_the_code_do_not_end_its_fence(self, root: Path, stage: Stage) -> None:
        code = 'def f(x):\n    """Such as\n\n    ```\n    f(1)\n    ```\n\n\n    and so on."""\n    return x'
        text = prompts(task(root, stage, text=code + "\n", name="alone.py", symbol="f"))
        assert blocks(text) == [code]
        assert text.count("````") == 2

    def test_no_empty_lines_in_a_row_outside_of_code(self, root: Path, stage: Stage) -> None:
        text = prompts(task(root, stage))
        for block in blocks(text):
            text = text.replace(block, "")
        assert "\n\n\n" not in text

    def test_system_message_names_the_function_alone(self, root: Path, stage: Stage) -> None:
        system = chat(task(root, stage))[0]
        assert system.role == "system"
        assert "`tax`" in system.content
        assert "one fenced code block" in system.content
        assert "$" not in system.content


class TestLargeFiles:
    FILLER = "\n".join(f"def filler_{i}(a, b=(1, 2)):\n    '''Text.'''\n    return a + {i}\n\n" for i in range(400))
    LARGE = (
        "import json\nfrom os import (\n    path,\n    sep,\n)\n\nTABLE = {\n    'a': 1,\n}\n"
        f"{FILLER}\n"
        "def far(x):\n    return nearer(x) + TABLE['a']\n\n"
        "def nearer(x):\n    return x * 2\n\n"
        "class Box(dict):\n    size: int = 3\n\n    def __init__(self, n):\n        self.n = n\n\n"
        "    def other(self):\n        return 'not shown'\n\n    def called(self):\n        return 'shown'\n\n"
        "    def wanted(self):\n        return far(self.called())\n"
    )

    def test_shows_what_the_target_needs_in_full(self, root: Path) -> None:
        text = prompts(task(root, Stage.REFINE, text=self.LARGE, name="large.py", symbol="Box.wanted"))
        for needed in (
            "from os import (\n    path,\n    sep,\n)",
            "TABLE = {\n    'a': 1,\n}",
            "def far(x):\n    return nearer(x) + TABLE['a']",
            "def nearer(x):\n    return x * 2",
            "class Box(dict):\n    size: int = 3",
            "        self.n = n",
            "    def called(self):\n        return 'shown'",
            "    def other(self): ...",
            "    # (Box.wanted stands here)",
            "def filler_0(a, b=(1, 2)): ...",
        ):
            assert needed in text
        assert "not shown" not in text

    def test_is_bounded(self, root: Path) -> None:
        text = prompts(task(root, Stage.REFINE, text=self.LARGE, name="large.py", symbol="Box.wanted"))
        assert len(self.LARGE) > 3 * WHOLE_FILE
        assert len(text) < 1.5 * WHOLE_FILE

    def test_a_file_that_does_not_parse_still_shows_its_names(self, root: Path) -> None:
        made = task(root, Stage.FIX, text=self.LARGE, name="large.py", symbol="Box.wanted")
        broken = made.target.text.replace("return nearer(x)", "return near er(x)")
        start = broken.index("def wanted")
        target = type(made.target)(
            path=made.target.path,
            symbol="Box.wanted",
            language="python",
            root=root,
            text=broken,
            start=start,
            end=len(broken) - 1,
        )
        text = prompts(Task(stage=Stage.FIX, target=target))
        assert "class Box(dict):" in text
        assert "import json" in text


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("files", "line", "use", "shown"),
        [
            ({"util.py": "def help_(x):\n    return deeper(x)\n\ndef deeper(x):\n    return 7\n"},
             "from util import help_", "help_(x)", "return 7"),
            ({"util.py": "def help_(x):\n    return 7\n"}, "import util", "util.help_(x)", "return 7"),
            ({"util.py": "def help_(x):\n    return 7\n"}, "import util as u", "u.help_(x)", "return 7"),
            ({"pkg/__init__.py": "from .inner import help_\n", "pkg/inner.py": "def help_(x):\n    return 7\n"},
             "from pkg import help_", "help_(x)", "return 7"),
            ({"pkg/__init__.py": "", "pkg/inner.py": "def help_(x):\n    return 7\n"},
             "from pkg import inner", "inner.help_(x)", "return 7"),
            ({"pkg/__init__.py": "", "pkg/inner.py": "def help_(x):\n    return 7\n"},
             "import pkg.inner", "pkg.inner.help_(x)", "return 7"),
            ({"src/pkg/__init__.py": "def help_(x):\n    return 7\n"}, "import pkg", "pkg.help_(x)", "return 7"),
        ],
    )  # fmt: skip
    def test_finds(self, root: Path, files: dict[str, str], line: str, use: str, shown: str) -> None:
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        text = f"{line}\n\n\ndef f(x):\n    return {use}\n\n\ndef g(x):\n    return f(x)\n"
        made = task(root, Stage.REFINE, text=text, name="user.py", symbol="f")
        assert shown in prompts(made)

    def test_relative_imports(self, root: Path) -> None:
        package = root / "pkg" / "deep"
        package.mkdir(parents=True)
        (root / "pkg" / "__init__.py").write_text("")
        (root / "pkg" / "base.py").write_text("LIMIT = 12345\n")
        text = "from ..base import LIMIT\n\ndef f(x):\n    return x < LIMIT\n"
        assert "LIMIT = 12345" in prompts(task(root, Stage.FIX, text=text, name="pkg/deep/user.py", symbol="f"))

    def test_what_is_not_named_stays_private(self, root: Path) -> None:
        (root / "secrets.py").write_text("TOKEN = 'abc'\n\n\ndef help_(x):\n    return 7\n")
        text = "import secrets\nfrom secrets import TOKEN, help_\n\n\ndef f(x):\n    return help_(x)\n"
        made = prompts(task(root, Stage.FIX, text=text, name="user.py", symbol="f"))
        assert "return 7" in made
        assert "'abc'" not in made

    def test_words_of_documentation_name_nothing(self, root: Path) -> None:
        (root / "util.py").write_text("def run(x):\n    return 'of another file'\n\n\ndef help_(x):\n    return 7\n")
        text = (
            'from util import help_, run\n\n\ndef f(x):\n    """Does not run."""\n    return help_("run", x)  # run\n'
            "\n\ndef g(run):\n    return run\n"
        )
        made = prompts(task(root, Stage.FIX, text=text, name="user.py", symbol="f"))
        assert "return 7" in made
        assert "of another file" not in made
        assert "of another file" not in prompts(task(root, Stage.FIX, text=text, name="user.py", symbol="g"))

    def test_types_in_quotes(self, root: Path) -> None:
        text = 'from records import Order\n\n\ndef f(x: "list[Order]"):\n    return x\n'
        assert "class Order:" in prompts(task(root, Stage.FIX, text=text, name="user.py", symbol="f"))

    def test_nothing_outside_the_project_is_shown(self, root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        outside = tmp_path_factory.mktemp("outside") / "other.py"
        outside.write_text("def help_(x):\n    return 'outside'\n")
        (root / "linked.py").symlink_to(outside)
        text = "from linked import help_\n\n\ndef f(x):\n    return help_(x)\n"
        assert "'outside'" not in prompts(task(root, Stage.FIX, text=text, name="user.py", symbol="f"))


class TestGenerate:
    def test_shows_the_tests_with_what_they_use(self, root: Path) -> None:
        made = task(root, Stage.GENERATE)
        names = ["tests/test_invoices.py::test_tax[10]", "tests/test_invoices.py::test_tax[20]",
                 "tests/test_invoices.py::TestMore::test_small"]  # fmt: skip
        text = generate_messages(made, examples=(), version="Python 3.9", tests=names)[1].content
        for needed in (
            "tests/test_invoices.py",
            '@pytest.mark.parametrize("net", [10, 20])\ndef test_tax(net):',
            "def invoice(net):\n    return Invoice(Order(net, Kind.GOODS))",
            "class TestMore:",
            "    def setup_method(self):",
            "        assert self.made.tax == 1",
        ):
            assert text.count(needed) == 1, needed
        assert "unused_helper" not in text
        assert "test_other" not in text

    def test_long_tests_are_bounded(self, root: Path) -> None:
        many = "".join(f"def test_{i}():\n    assert f({i}) == '{'x' * 200}'\n\n" for i in range(100))
        (root / "test_many.py").write_text(many)
        names = [f"test_many.py::test_{i}" for i in range(100)]
        made = task(root, Stage.GENERATE)
        text = generate_messages(made, examples=(), version="Python 3.9", tests=names)[1].content
        assert "assert f(0)" in text
        assert len(text) < 8000

    def test_tests_that_are_not_to_be_found_are_left_out(self, root: Path) -> None:
        made = task(root, Stage.GENERATE)
        names = ["gone.py::test_a", "tests/test_invoices.py::test_gone", "odd"]
        text = generate_messages(made, examples=(), version="Python 3.9", tests=names)[1].content
        assert "must pass" not in text

    def test_lists_confirmed_examples(self, root: Path) -> None:
        text = generate_messages(task(root, Stage.GENERATE), examples=["f(1) == 2"], version="Python 3.9")[1].content
        assert "- f(1) == 2" in text


class TestFix:
    FAILURE = TestFailure(
        name="tests/test_invoices.py::test_tax[10]",
        message="AssertionError: assert 2 == 10\n +  where 2 = tax\nlast call: tax(Invoice(10))",
        traceback="tests/test_invoices.py:17: in test_tax\n    assert invoice(net).tax == net\n"
        "E   AssertionError: assert 2 == 10\nE\nE    +  where 2 = tax",
    )

    def made(self, root: Path, **more: object) -> str:
        known: dict[str, object] = {"failures": (), "examples": (), "passing": (), "build_error": ""}
        return fix_messages(task(root, Stage.FIX), **{**known, **more}, version="Python 3.9")[1].content  # type: ignore[arg-type]

    def test_a_failing_test_with_its_source_its_place_and_the_last_call(self, root: Path) -> None:
        text = self.made(root, failures=[self.FAILURE])
        assert "`tests/test_invoices.py::test_tax[10]`" in text
        assert "tests/test_invoices.py:17: in test_tax" in text
        assert "last call: tax(Invoice(10))" in text
        assert "def test_tax(net):" in text
        assert text.count("AssertionError: assert 2 == 10") == 1

    def test_failing_examples_with_input_expected_actual_and_traceback(self, root: Path) -> None:
        example = Counterexample(call="tax(7)", expected="1", actual="raises ZeroDivisionError", traceback="line 3")
        text = self.made(root, examples=[example])
        assert "- `tax(7)`\n  expected: `1`\n  actual:   `raises ZeroDivisionError`" in text
        assert "line 3" in blocks(text)

    def test_cases_that_fail_alike_are_told_once(self, root: Path) -> None:
        def failing(case: str) -> TestFailure:
            message = f"ValueError: bad\nlast call: tax({case})"
            return TestFailure(name=f"test_x.py::test_tax[{case}]", message=message, traceback="a.py:1: in tax")

        text = self.made(root, failures=[failing(str(i)) for i in range(9)], passing=["test_tax[12]", "test_b[1]"])
        assert text.count("ValueError: bad") == 1
        assert "last call: tax(0)\nlast call: tax(1)\n" in text
        assert "`test_x.py::test_tax[0]`, `test_x.py::test_tax[1]`" in text
        assert "and 4 more of its cases" in text
        assert "more fail" not in text
        assert "go on passing: test_b." in text

    @pytest.mark.parametrize(
        ("first", "diff"), [("assert [3] == [5]", False), ("assert [1, 2, ...] == [1, 3, ...]", True)]
    )
    def test_the_difference_of_two_values_only_where_they_are_cut(self, root: Path, first: str, diff: bool) -> None:
        message = f"AssertionError: {first}\n\n  At index 0 diff: 3 != 5\n\n  Full diff: (-: missing)\n  - 5,"
        text = self.made(root, failures=[TestFailure(name="test_x.py::test_x", message=message)])
        assert "At index 0 diff: 3 != 5" in text
        assert ("Full diff" in text) == diff

    def test_no_addresses(self, root: Path) -> None:
        failure = TestFailure(
            name="test_x.py::test_x", message="assert 0 == 1\n where 0 = <function f at 0x7fce92d5>(3)"
        )
        assert "where 0 = <function f>(3)" in self.made(root, failures=[failure])

    def test_tracebacks_are_seen_from_the_project(self, root: Path) -> None:
        trace = f'File "{root}/invoices.py", line 3, in tax\n    return 1 / 0\n           ~~^~~\nZeroDivisionError'
        text = self.made(root, examples=[Counterexample(call="tax(1)", expected="1", actual="x", traceback=trace)])
        assert blocks(text)[1] == 'File "invoices.py", line 3, in tax\n    return 1 / 0\nZeroDivisionError'
        assert str(root) not in text

    def test_one_traceback_of_several_examples_is_shown_once(self, root: Path) -> None:
        cases = [
            Counterexample(call=f"tax({i})", expected="1", actual="2", traceback="in tax\n  1 / 0") for i in (1, 2)
        ]
        text = self.made(root, examples=cases)
        assert text.count("in tax\n  1 / 0") == 1
        assert "`tax(2)`" in text

    def test_what_does_not_load(self, root: Path) -> None:
        text = self.made(root, build_error="invoices.py, line 4\nNameError: name 'Ordr' is not defined")
        assert "invoices.py, line 4\nNameError: name 'Ordr' is not defined" in blocks(text)

    def test_tests_that_pass(self, root: Path) -> None:
        assert "test_a, test_b" in self.made(root, failures=[self.FAILURE], passing=["test_a", "test_b"])
        assert "must go on passing" not in self.made(root, failures=[self.FAILURE])

    @pytest.mark.parametrize(
        ("failures", "examples", "more"), [(SHOWN, SHOWN, 0), (SHOWN + 3, 0, 3), (SHOWN + 2, SHOWN + 1, 3), (1, 8, 3)]
    )
    def test_counts_what_it_does_not_show(self, root: Path, failures: int, examples: int, more: int) -> None:
        cases = [Counterexample(call=f"tax({i})", expected="1", actual="2") for i in range(examples)]
        different = [
            TestFailure(name=f"test_x.py::test_{i}", message=self.FAILURE.message, traceback=self.FAILURE.traceback)
            for i in range(failures)
        ]
        text = self.made(root, failures=different, examples=cases)
        assert ("more fail" in text) == bool(more)
        assert f"({more} more fail.)" in text or not more

    def test_huge_values_are_cut_in_the_middle(self, root: Path) -> None:
        call = "tax([" + "1, " * 50_000 + "'the end'])"
        failure = TestFailure(name="test_x.py::test_x", message="E" * 50_000, traceback="f\n" * 30_000)
        example = Counterexample(call=call, expected=call, actual=call, traceback="g\n" * 30_000)
        text = self.made(root, examples=[example] * 9, failures=[failure] * 9, build_error="h\n" * 30_000)
        assert len(text) < 50_000
        assert "'the end'])`" in text


class TestRefine:
    def made(self, root: Path, measured: Measured, *, tried: tuple[str, ...] = (), **more: object) -> str:
        return refine_messages(task(root, Stage.REFINE, **more), measured, tried=tried, version="Python 3.9")[1].content

    def test_times_growth_hot_lines_and_slowest(self, root: Path) -> None:
        line = MODULE.split("\n").index("        return _rounded(self.order.net * RATE)") + 1
        text = self.made(
            root,
            Measured(
                by_size=((4, 2.5e-6), (512, 0.0123)),
                exponent=1.96,
                hot_lines={line: 0.83, 1: 0.02},
                slowest="([3, 1, 2],)",
            ),
        )
        for told in ("4: 2.5 µs", "512: 12.3 ms", "83% of the time in `return _rounded", "([3, 1, 2],)"):
            assert told in text
        assert "Invoices" not in text.split("The rest of")[0]

    def test_hot_lines_of_the_same_text_are_told_apart(self, root: Path) -> None:
        code = "x = 1\n\n\ndef f(a):\n    a += 1\n    b = a\n    a += 1\n    return a + b\n"
        made = task(root, Stage.REFINE, text=code, name="twice.py", symbol="f")
        text = refine_messages(made, Measured(hot_lines={7: 0.6, 6: 0.3}), tried=(), version="Python 3.9")[1].content
        assert "60% of the time in `a += 1` (line 4 of the function)" in text
        assert "30% of the time in `b = a`\n" in text

    def test_a_huge_input_is_cut(self, root: Path) -> None:
        text = self.made(root, Measured(slowest=f"('{'x y ' * 50_000}', 'the end')"))
        assert len(text) < 5000
        assert "'the end')`" in text

    def test_what_was_tried(self, root: Path) -> None:
        text = self.made(root, Measured(), tried=("a: no measurable difference",))
        assert "- a: no measurable difference" in text
        assert "Already tried" not in self.made(root, Measured())

    @pytest.mark.parametrize(
        ("objective", "words"), [(Objective.TIME, "run faster"), (Objective.PEAK_MEMORY, "less memory at its peak")]
    )
    def test_the_goal(self, root: Path, objective: Objective, words: str) -> None:
        assert words in self.made(root, Measured(), objective=objective).splitlines()[0]


@pytest.mark.parametrize("path", sorted(Path(context.__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_code_as_it_is_shown_can_be_put_back_as_it_was(path: Path) -> None:
    text = path.read_text("utf-8")
    for function in find_functions(text, "python")[::9]:
        target = find_target(path, text, symbol=f"{function.symbol}:{function.line}")
        back = splice(target, at_margin(target))
        assert back.text == text, function.symbol
