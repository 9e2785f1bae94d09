"""The project's own tests as an oracle, under unittest in a small environment of its own (fast to start)."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perforch_core.languages.interface import Project
from perforch_core.languages.python import find_functions
from perforch_core.languages.python_project import find_project
from perforch_core.oracle import project_tests
from perforch_core.oracle.find_tests import canary_text
from perforch_core.oracle.project_tests import TestPlan
from perforch_core.sandbox import Sandbox
from perforch_core.task import Event, Target, silent
from perforch_core.values import source_text


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment without pytest."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")


def make_target(path: Path, symbol: str, *, text: str | None = None, which: int = 0) -> Target:
    text = path.read_text() if text is None else text
    function = [f for f in find_functions(text) if f.symbol == symbol][which]
    return Target(
        path=path, symbol=symbol, language="python", root=path.parent, text=text, start=function.start, end=function.end
    )


async def plan_for(
    root: Path,
    file: str,
    symbol: str,
    sandbox: Sandbox,
    *,
    python: str | None = None,
    which: int = 0,
    seconds: float = 60,
) -> TestPlan:
    found: Project = find_project(root / file, python=python)
    target = make_target(root / file, symbol, which=which)
    return await project_tests.discover(found, target, sandbox, seconds=seconds, report=silent)


def calls(plan: TestPlan) -> list[list[str]]:
    return [[source_text(c.arguments, root) for root in c.arguments["roots"]] for c in plan.captured]


KINDS = {
    "kinds.py": """
        import functools

        def traced(f):
            @functools.wraps(f)
            def inner(*a, **k):
                return f(*a, **k)
            return inner

        class Box:
            def __init__(self, n):
                self._n = n

            def grow(self, by=1, *more, name="x", **rest):
                self._n += by + sum(more)
                return self._n

            @classmethod
            def make(cls, n):
                return cls(n)

            @staticmethod
            def twice(n):
                return 2 * n

            @property
            def n(self):
                return self._n

            @n.setter
            def n(self, value):
                self._n = value

            def __eq__(self, other):
                return self._n == other._n

        @traced
        @functools.lru_cache(maxsize=None)
        def slow(n, /, *, base=10):
            return n + base

        def outer(k):
            def inner(a):
                for i in range(a):
                    if i == k:
                        return i
                return -1
            return inner(k + 1)

        async def later(x):
            return x + 1

        def numbers(n):
            yield from range(n)

        def total(items):
            return sum(items)

        def unused():
            return 1

        if True:
            def guarded(x):
                return x
    """,
    "tests/test_kinds.py": """
        import asyncio
        import unittest
        from kinds import Box, guarded, later, numbers, outer, slow, total

        class KindsTest(unittest.TestCase):
            def test_grow(self):
                self.assertEqual(Box(1).grow(1, 2, 3, name="y", z=4), 7)

            def test_make(self):
                self.assertEqual(Box.make(3)._n, 3)

            def test_twice(self):
                self.assertEqual(Box.twice(3), 6)

            def test_get(self):
                self.assertEqual(Box(2).n, 2)

            def test_set(self):
                box = Box(2)
                box.n = 5
                self.assertEqual(box._n, 5)

            def test_eq(self):
                self.assertTrue(Box(1) == Box(1))

            def test_slow(self):
                self.assertEqual(slow(1, base=5), 6)

            def test_outer(self):
                for k in (1, 7):
                    with self.subTest(k=k):
                        self.assertEqual(outer(k), k)

            def test_later(self):
                self.assertEqual(asyncio.run(later(1)), 2)

            def test_numbers(self):
                self.assertEqual(list(numbers(3)), [0, 1, 2])

            def test_total(self):
                self.assertEqual(total(iter([1, 2])), 3)
                self.assertEqual(total([1, 2]), 3)
                self.assertEqual(total([1, 2]), 3)

            def test_guarded(self):
                self.assertEqual(guarded("a"), "a")

            @unittest.skip("not now")
            def test_skipped(self):
                total([])
    """,
}


@pytest.mark.parametrize(
    ("symbol", "which", "test", "captured"),
    [
        ("Box.grow", 0, "test_grow", [["Box(_n=1)", "1", "2", "3", "'y'", "4"]]),
        ("Box.make", 0, "test_make", [["3"]]),
        ("Box.twice", 0, "test_twice", [["3"]]),
        ("Box.n", 0, "test_get", [["Box(_n=2)"]]),
        ("Box.n", 1, "test_set", [["Box(_n=2)", "5"]]),
        ("Box.__eq__", 0, "test_eq", [["Box(_n=1)", "Box(_n=1)"]]),
        ("slow", 0, "test_slow", [["1", "5"]]),
        ("outer.inner", 0, "test_outer", [["2"], ["8"]]),
        ("later", 0, "test_later", [["1"]]),
        ("numbers", 0, "test_numbers", [["3"]]),
        ("total", 0, "test_total", [["[1, 2]"]]),
        ("guarded", 0, "test_guarded", [["'a'"]]),
    ],
)
async def test_a_target_of_any_kind_is_seen_and_its_calls_captured(
    project: Callable[..., Path],
    sandbox: Sandbox,
    bare_python: str,
    symbol: str,
    which: int,
    test: str,
    captured: list[list[str]],
) -> None:
    plan = await plan_for(project(KINDS), "kinds.py", symbol, sandbox, python=bare_python, which=which)
    assert plan.problem is None
    assert plan.runner == "unittest"
    assert plan.reaching == (f"tests/test_kinds.py::KindsTest::{test}",)
    assert plan.baseline.passed == 1 and not plan.failing
    assert len(plan.others) == 12
    assert calls(plan) == captured
    assert await project_tests.canary(plan, sandbox)


async def test_nothing_is_claimed_for_a_function_that_no_test_calls(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    plan = await plan_for(project(KINDS), "kinds.py", "unused", sandbox, python=bare_python)
    assert plan.reaching == ()
    assert plan.problem == "None of 13 tests reaches unused."
    assert not await project_tests.canary(plan, sandbox)


SHOP = {
    "shop.py": """
        def dedupe(items):
            seen = set()
            out = []
            for item in items:
                if item not in seen:
                    seen.add(item)
                    out.append(item)
            return out

        def other(x):
            return x
    """,
    "tests/test_shop.py": """
        import unittest
        from shop import dedupe

        class DedupeTest(unittest.TestCase):
            def test_repeated(self):
                self.assertEqual(dedupe([1, 1]), [1])

            def test_empty(self):
                self.assertEqual(dedupe([]), [])

            def test_not_reaching(self):
                self.assertTrue(callable(dedupe))
    """,
    "tests/test_away.py": """
        import unittest

        class AwayTest(unittest.TestCase):
            def test_away(self):
                self.assertEqual(1 + 1, 2)

            def test_broken_anyway(self):
                self.fail("always")
    """,
}
REACHING = ("tests/test_shop.py::DedupeTest::test_empty", "tests/test_shop.py::DedupeTest::test_repeated")


async def test_a_candidate_is_judged_by_the_tests_that_reach_it(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    root = project(SHOP)
    plan = await plan_for(root, "shop.py", "dedupe", sandbox, python=bare_python)
    assert plan.reaching == REACHING
    assert plan.rest == ("tests/test_away.py",), "not run while there is no need"
    good = plan.target.text.replace("seen = set()", "return list(dict.fromkeys(items))")
    report = await project_tests.run(plan, good, sandbox, seconds=60)
    assert (report.passed, report.failed, report.names, report.problem) == (2, 0, REACHING, None)

    bad = plan.target.text.replace("not in seen", "in seen")
    report = await project_tests.run(plan, bad, sandbox, seconds=60)
    assert (report.passed, report.failed, report.names) == (1, 1, REACHING[:1])
    failure = report.failures[0]
    assert failure.name == REACHING[1]
    assert "Lists differ: [] != [1]" in failure.message
    assert failure.message.endswith("last call: dedupe([1, 1])")
    assert failure.traceback.startswith("tests/test_shop.py:6: in test_repeated")
    assert (root / "shop.py").read_text() == plan.target.text, "the user's file is never touched"


async def test_the_rest_counts_only_what_passed_before(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    plan = await plan_for(project(SHOP), "shop.py", "dedupe", sandbox, python=bare_python)
    report = await project_tests.run(plan, plan.target.text, sandbox, which="rest", seconds=60)
    assert (report.passed, report.failed, report.problem) == (2, 0, None)
    breaking = plan.target.text.replace(
        "def dedupe", "import unittest\nunittest.TestCase.assertTrue = None\ndef dedupe"
    )
    report = await project_tests.run(plan, breaking, sandbox, which="rest", seconds=60)
    assert (report.passed, [f.name for f in report.failures]) == (
        1,
        ["tests/test_shop.py::DedupeTest::test_not_reaching"],
    )


async def test_the_lines_that_each_test_ran(project: Callable[..., Path], sandbox: Sandbox, bare_python: str) -> None:
    plan = await plan_for(project(SHOP), "shop.py", "dedupe", sandbox, python=bare_python)
    report = await project_tests.run(plan, plan.target.text, sandbox, seconds=60, lines=True)
    assert report.by_test == {REACHING[0]: {2, 3, 4, 8}, REACHING[1]: {2, 3, 4, 5, 6, 7, 8}}
    assert report.passed == 2


CHEATS = {
    "ends the process with 0 when called": ("seen = set()", "import os; os._exit(0)"),
    "ends the process with 0 when imported": ("def dedupe", "import os\nos._exit(0)\ndef dedupe"),
    "exits at import": ("def dedupe", "import sys\nsys.exit(0)\ndef dedupe"),
    "raises SystemExit(0)": ("seen = set()", "raise SystemExit(0)"),
    "crashes": ("seen = set()", "import os; os.abort()"),
    "closes every descriptor": ("seen = set()", "import os; os.closerange(3, 200)"),
    "does not parse": ("def dedupe(items):", "def dedupe(items:"),
    "is not there": ("def dedupe", "def renamed"),
    "forks and lets the child go on": ("seen = set()", "import os; os.fork() == 0 or os._exit(0)"),
    "removes the tests from the runner": (
        "def dedupe", "import unittest\nunittest.TestSuite.run = lambda self, result: result\ndef dedupe",
    ),
    "sends messages without the nonce": (
        "def dedupe",
        "import socket, os, json\n"
        "for fd in range(3, 64):\n"
        "    try:\n"
        "        s = socket.socket(fileno=os.dup(fd))\n"
        "    except OSError:\n"
        "        continue\n"
        "    for n in ['test_empty', 'test_repeated']:\n"
        "        n = 'tests/test_shop.py::DedupeTest::' + n\n"
        "        m = {'kind': 'result', 'name': n, 'outcome': 'passed', 'nonce': ''}\n"
        "        s.sendall(json.dumps(m).encode() + b'\\n' + b'{\"kind\": \"done\"}\\n')\n"
        "    os._exit(0)\n"
        "def dedupe",
    ),
}  # fmt: skip


@pytest.mark.parametrize("cheat", CHEATS)
async def test_silence_is_not_a_pass(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str, cheat: str
) -> None:
    plan = await plan_for(project(SHOP), "shop.py", "dedupe", sandbox, python=bare_python)
    old, new = CHEATS[cheat]
    assert old in plan.target.text
    report = await project_tests.run(plan, plan.target.text.replace(old, new), sandbox, seconds=60)
    assert (report.passed, report.failed, report.names) == (0, 2, ())
    assert {f.name for f in report.failures} == set(REACHING)
    assert all(f.message for f in report.failures)


@pytest.mark.slow
async def test_a_candidate_that_hangs_fails_and_is_named(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    plan = await plan_for(project(SHOP), "shop.py", "dedupe", sandbox, python=bare_python)
    text = plan.target.text.replace("seen = set()", "seen = set()\n    while items: pass")
    report = await project_tests.run(plan, text, sandbox, seconds=60)
    assert report.names == REACHING[:1]
    assert "did not finish within 2 s" in report.failures[0].message
    text = plan.target.text.replace(
        "seen = set()", "import time, signal; signal.alarm(0); signal.setitimer(0, 0); time.sleep(99)"
    )
    report = await project_tests.run(plan, text, sandbox, seconds=3)
    assert report.failed == 2
    assert report.problem == f"The tests did not finish within 3 s: stopped in {REACHING[0]} (0 of 2 tests had run)."


async def test_tests_that_swallow_the_canary_are_no_evidence(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    swallowing = """
        import unittest
        from shop import dedupe

        class SwallowTest(unittest.TestCase):
            def test_swallow(self):
                try:
                    dedupe([1])
                except BaseException:
                    pass

            def test_exceptions_only(self):
                try:
                    result = dedupe([1])
                except Exception:
                    result = [1]
                self.assertEqual(result, [1])
    """
    plan = await plan_for(
        project({**SHOP, "tests/test_shop.py": swallowing}), "shop.py", "dedupe", sandbox, python=bare_python
    )
    assert len(plan.reaching) == 2
    assert not await project_tests.canary(plan, sandbox)
    survivors = await project_tests.canary_survivors(plan, sandbox)
    assert survivors == ("tests/test_shop.py::SwallowTest::test_swallow",)
    kept = project_tests.without(plan, survivors)
    assert kept.reaching == kept.baseline.names == ("tests/test_shop.py::SwallowTest::test_exceptions_only",)
    assert await project_tests.canary(kept, sandbox)


async def test_screening_agrees_with_a_full_run_and_survives_what_candidates_do(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    plan = await plan_for(project(SHOP), "shop.py", "dedupe", sandbox, python=bare_python)
    text = plan.target.text
    async with project_tests.screening(plan, sandbox, seconds=4) as check:
        assert (await check(text)).names == REACHING
        failing = await check(text.replace("not in", "in"))
        assert failing.names == REACHING[:1] and "Lists differ" in failing.failures[0].message
        for old, new in CHEATS.values():
            report = await check(text.replace(old, new))
            assert report.names == () and report.failed == 2
        for new in (
            "import os; os.kill(os.getppid(), 9)",
            "import os; os.killpg(0, 9)",
            "import os\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass\n    os._exit(0)",
            "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
            "import socket, os\n    for fd in range(3, 20):\n        try: os.write(fd, b'{\"kind')\n"
            "        except OSError: pass\n    os._exit(0)",
        ):
            report = await check(text.replace("seen = set()", new))
            assert report.names == () and report.failed == 2
        assert (await check(text)).names == REACHING, "nothing of those before is left in the way"


@pytest.mark.parametrize(
    "helper",
    ["import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True).start()", "import shop"],
)
async def test_screening_does_not_load_beforehand_what_starts_threads_or_holds_the_target(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str, helper: str
) -> None:
    away = (
        Path(bare_python).parent.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    )
    (away / "away_helper.py").write_text(helper + "\n")
    tests = SHOP["tests/test_shop.py"].replace("import unittest", "import unittest, away_helper")
    try:
        plan = await plan_for(
            project({**SHOP, "tests/test_shop.py": tests}), "shop.py", "dedupe", sandbox, python=bare_python
        )
        assert plan.reaching == REACHING and "away_helper" in plan.modules and "shop" not in plan.modules
        async with project_tests.screening(plan, sandbox) as check:
            assert (await check(plan.target.text)).names == REACHING
            assert (await check(plan.target.text.replace("not in", "in"))).names == REACHING[:1]
    finally:
        (away / "away_helper.py").unlink()


async def test_failures_on_the_original_are_said(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    files = {**SHOP, "shop.py": SHOP["shop.py"].replace("not in", "in")}
    plan = await plan_for(project(files), "shop.py", "dedupe", sandbox, python=bare_python)
    assert plan.problem is None
    assert plan.reaching == REACHING and plan.failing == REACHING[1:]
    assert (plan.baseline.passed, plan.baseline.failed) == (1, 1)
    assert plan.notes == (f"On the original 1 test of dedupe fails: {REACHING[1]}.",)
    fixed = plan.target.text.replace("item in seen", "item not in seen")
    assert (await project_tests.run(plan, fixed, sandbox, seconds=60)).names == REACHING


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("for item in items:", "for item in items", "SyntaxError"),
        ("def dedupe(items):", "@missing\ndef dedupe(items):", "NameError: name 'missing' is not defined"),
    ],
)
async def test_an_original_that_does_not_load_still_has_its_tests(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str, old: str, new: str, message: str
) -> None:
    root = project(SHOP)
    text = (root / "shop.py").read_text()
    broken = text.replace(old, new)
    (root / "shop.py").write_text(broken)
    start = broken.index("@missing") if "@missing" in broken else 0
    target = Target(
        path=root / "shop.py", symbol="dedupe", language="python", root=root, text=broken, start=start,
        end=broken.index("\n\ndef other"),
    )  # fmt: skip
    found = find_project(root / "shop.py", python=bare_python)
    plan = await project_tests.discover(found, target, sandbox, seconds=60, report=silent)
    assert plan.reaching == plan.failing == REACHING, (plan.problem, plan.notes, plan.baseline)
    assert message in plan.baseline.failures[0].message
    report = await project_tests.run(plan, text, sandbox, seconds=60)
    assert report.names == REACHING, report
    assert await project_tests.canary(plan, sandbox)


async def test_what_the_sandbox_withholds_is_no_failure_of_the_original(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    writing = (
        SHOP["tests/test_shop.py"]
        + """
            def test_writes(self):
                result = dedupe([1])
                with open("out.txt", "w") as file:
                    file.write(str(result))

            def test_may_write_elsewhere(self):
                import tempfile
                with tempfile.TemporaryFile("w") as file:
                    file.write(str(dedupe([1])))
    """
    )
    root = project({**SHOP, "tests/test_shop.py": writing})
    plan = await plan_for(root, "shop.py", "dedupe", sandbox, python=bare_python)
    assert plan.failing == ()
    assert [name.rsplit("::")[-1] for name in plan.reaching] == [
        "test_empty",
        "test_may_write_elsewhere",
        "test_repeated",
    ]
    assert "no right to write into the project: tests/test_shop.py::DedupeTest::test_writes" in plan.notes[0]
    assert not (root / "out.txt").exists()


BAD_SUITES = {
    "ends the process": ("import os; os._exit(0)", "The test process ended with exit code 0"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "The test process crashed (signal 11)"),
    "floods": ("import os\n                while True: os.write(1, b'x' * 65536)", "The tests printed too much"),
}


@pytest.mark.parametrize("kind", BAD_SUITES)
async def test_a_suite_that_misbehaves_is_said_in_words(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str, kind: str
) -> None:
    body, wanted = BAD_SUITES[kind]
    suite = f"""
        import unittest

        class BadTest(unittest.TestCase):
            def test_bad(self):
                {body}
    """
    root = project({"shop.py": SHOP["shop.py"], "test_shop.py": suite})
    plan = await plan_for(root, "shop.py", "dedupe", sandbox, python=bare_python)
    assert plan.reaching == ()
    assert plan.problem is not None
    assert plan.problem.startswith(f"{wanted} in test_shop.py::BadTest::test_bad (")


@pytest.mark.slow
async def test_a_suite_that_hangs_while_loading_is_stopped(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    root = project({"shop.py": SHOP["shop.py"], "test_shop.py": "import unittest, shop\nwhile True: pass\n"})
    plan = await plan_for(root, "shop.py", "dedupe", sandbox, python=bare_python, seconds=3)
    assert plan.problem == "The tests did not finish within 3 s: stopped while they were being collected."


async def test_no_tests_and_no_pytest_are_said(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    root = project({"shop.py": SHOP["shop.py"]})
    plan = await plan_for(root, "shop.py", "dedupe", sandbox, python=bare_python)
    assert plan.problem == f"{root} has no tests (test_*.py, *_test.py)."
    (root / "test_shop.py").write_text("from shop import dedupe\n\ndef test_it():\n    assert dedupe([1]) == [1]\n")
    plan = await plan_for(root, "shop.py", "dedupe", sandbox, python=bare_python)
    assert plan.problem == (
        f"pytest is not installed in {bare_python}: install it with `{bare_python} -m pip install pytest`."
    )
    assert (await project_tests.run(plan, plan.target.text, sandbox, seconds=9)).problem == plan.problem


async def test_progress_is_told_and_a_run_can_be_cancelled(
    project: Callable[..., Path], sandbox: Sandbox, bare_python: str
) -> None:
    slow = SHOP["tests/test_shop.py"].replace("import unittest", "import time, unittest; time.sleep(60)")
    root = project({**SHOP, "tests/test_shop.py": slow})
    told: list[Event] = []
    started = asyncio.Event()

    def report(event: Event) -> None:
        told.append(event)
        started.set()

    target = make_target(root / "shop.py", "dedupe")
    found = find_project(root / "shop.py", python=bare_python)
    task = asyncio.ensure_future(project_tests.discover(found, target, sandbox, seconds=90, report=report))
    await started.wait()
    assert told[0].text == "running the tests in tests/test_shop.py"
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)


@pytest.mark.parametrize(
    "text",
    [
        "def f(x): return x\n",
        "class A:\n    @property\n    def f(self):\n        '''Ä doc.'''\n        return 'é', 1  # ü\n    y = 1\n",
        "def f(x):\r\n    é = x\r\n    return é\r\nz = 2\r\n",
        "async def f(x):\n    if x:\n        yield x\n",
        "def f(x):\n\tif x:\n\t\treturn 1\n\treturn 2\n",
        "def f(x): y = 'ä'; return (y,\n    x)\nz = 1\n",
        "def f(x):\n    return (x\n",
    ],
)
def test_the_canary_aborts_whatever_the_body_was(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.py").write_bytes(text.encode())
    symbol = "A.f" if text.startswith("class") else "f"
    target = make_target(tmp_path / "m.py", symbol, text=text)
    canary = canary_text(target)
    space: dict[str, object] = {}
    exec(compile(canary, "m.py", "exec"), space)
    if symbol == "A.f":
        assert vars(space["A"])["y"] == 1
        function = vars(space["A"])["f"].fget
    else:
        function = space["f"]
    if "z =" in text:
        assert "z" in space
    assert inspect.isasyncgenfunction(function) == ("yield" in text)
    with pytest.raises(BaseException, match="aborts") as caught:
        asyncio.run(function(1).__anext__()) if "yield" in text else function(1)  # type: ignore[operator]
    assert not isinstance(caught.value, Exception)
