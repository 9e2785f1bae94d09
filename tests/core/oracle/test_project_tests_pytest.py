"""The project's own tests as an oracle, under pytest: fixtures, parameters, settings, suites that misbehave."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from perforch_core.languages.python import find_functions
from perforch_core.languages.python_project import find_project
from perforch_core.oracle import project_tests
from perforch_core.oracle.find_tests import find, pytest_settings
from perforch_core.oracle.project_tests import TestPlan, user_frames
from perforch_core.sandbox import Sandbox
from perforch_core.task import Target, silent


def make_target(path: Path, symbol: str, *, text: str | None = None) -> Target:
    text = path.read_text() if text is None else text
    function = next(f for f in find_functions(text) if f.symbol == symbol)
    return Target(
        path=path, symbol=symbol, language="python", root=path.parent, text=text, start=function.start, end=function.end
    )


async def plan_for(root: Path, file: str, symbol: str, sandbox: Sandbox, *, seconds: float = 90) -> TestPlan:
    target = make_target(root / file, symbol)
    return await project_tests.discover(find_project(root / file), target, sandbox, seconds=seconds, report=silent)


SHOP = {
    "src/shop/__init__.py": "",
    "src/shop/lists.py": """
        def dedupe(items):
            '''Keep the first of each.

            >>> dedupe([2, 2])
            [2]
            '''
            seen = set()
            out = []
            for item in items:
                if item not in seen:
                    seen.add(item)
                    out.append(item)
            return out

        def backwards(items):
            return dedupe(items)[::-1]
    """,
    "pyproject.toml": """
        [tool.pytest.ini_options]
        addopts = "-x -s --doctest-modules --strict-config"
        testpaths = ["src", "tests"]
        python_files = ["check_*.py"]
    """,
    "tests/conftest.py": """
        import pytest

        @pytest.fixture(scope="session")
        def shared():
            from shop.lists import dedupe
            return dedupe([3, 3])
    """,
    "tests/check_lists.py": """
        import pytest
        from shop.lists import backwards, dedupe

        EXPECTED = {"a": 1}

        @pytest.mark.parametrize(
            ("given", "wanted"), [([], []), ([1, 1], [1]), (["x::y", "a", "a"], ["x::y", "a"])], ids=["", "a::b", "ä"]
        )
        def test_parameters(given, wanted):
            assert dedupe(given) == wanted

        class TestMore:
            def test_through_another(self):
                assert backwards([1, 2, 1]) == [2, 1]

            def test_shared(self, shared):
                assert shared == [3]

            def test_shared_again(self, shared):
                assert shared == [3]

        def test_not_reaching(capsys):
            print("hello")
            assert capsys.readouterr().out == "hello\\n"

        @pytest.mark.xfail(strict=True)
        def test_expected_failure():
            assert dedupe([1]) == []

        @pytest.mark.skip
        def test_skipped():
            assert dedupe([1]) == []

        def test_files(tmp_path):
            (tmp_path / "a").write_text("1")
            assert dedupe([(tmp_path / "a").read_text()] * 2) == ["1"]
    """,
    "tests/check_away.py": """
        def test_away():
            assert True
    """,
}


@pytest.mark.slow
async def test_a_pytest_suite(project: Callable[..., Path], sandbox: Sandbox) -> None:
    root = project(SHOP)
    plan = await plan_for(root, "src/shop/lists.py", "dedupe", sandbox)
    assert plan.problem is None and plan.runner == "pytest" and plan.notes == ()
    short = [name.removeprefix("tests/check_lists.py::") for name in plan.reaching]
    assert short[:3] == ["test_parameters[]", "test_parameters[a::b]", "test_parameters[\\xe4]"]
    assert short[3:] == [  # those that use the name come first
        "test_files",
        "TestMore::test_through_another",
        "TestMore::test_shared",
        "TestMore::test_shared_again",
    ]
    assert plan.baseline.passed == 7 and plan.rest == ("tests/check_away.py",)
    assert await project_tests.canary(plan, sandbox, seconds=90)

    report = await project_tests.run(plan, plan.target.text.replace("not in", "in"), sandbox, seconds=90)
    assert report.names == (plan.reaching[0],)
    assert report.failed == 6 and report.problem is None
    failure = next(f for f in report.failures if f.name.endswith("[a::b]"))
    assert failure.message.startswith("assert [] == [1]")
    assert failure.message.endswith("last call: dedupe([1, 1])")
    assert "    assert dedupe(given) == wanted" in failure.traceback
    assert failure.traceback.startswith("tests/check_lists.py:10: in test_parameters")

    text = plan.target.text.replace("seen = set()", "seen = missing()")
    report = await project_tests.run(plan, text, sandbox, seconds=90, lines=True)
    assert report.failed == 7 and set(report.by_test) == set(plan.reaching)
    assert "src/shop/lists.py:7: in dedupe\n    seen = missing()" in report.failures[0].traceback, (
        "lines stay as they are"
    )
    assert report.by_test[plan.reaching[0]] == {7}

    report = await project_tests.run(plan, plan.target.text, sandbox, which="rest", seconds=90)
    assert (report.passed, report.failed, report.problem) == (2, 0, None)


@pytest.mark.slow
async def test_the_buffer_is_what_is_tested_not_the_disk_nor_a_cache(
    project: Callable[..., Path], sandbox: Sandbox
) -> None:
    root = project(
        {"lists.py": "def f():\n    return 1\n", "test_lists.py": "import lists\ndef test(): assert lists.f() == 2\n"}
    )
    import py_compile

    py_compile.compile(str(root / "lists.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    target = make_target(root / "lists.py", "f", text="def f():\n    return 2\n")
    plan = await project_tests.discover(find_project(root / "lists.py"), target, sandbox, seconds=90, report=silent)
    assert plan.reaching == plan.baseline.names == ("test_lists.py::test",)


@pytest.mark.slow
async def test_a_target_inside_a_test_file(project: Callable[..., Path], sandbox: Sandbox) -> None:
    root = project({"test_one.py": "def f(x):\n    return x\n\ndef test_f():\n    assert f([1, 2]) == [1, 2]\n"})
    plan = await plan_for(root, "test_one.py", "f", sandbox)
    assert plan.baseline.names == ("test_one.py::test_f",) and len(plan.captured) == 1
    report = await project_tests.run(plan, plan.target.text.replace("return x", "return x[:1]"), sandbox, seconds=90)
    assert report.failures[0].message.startswith("assert [1] == [1, 2]"), "asserts are still rewritten"
    assert await project_tests.canary(plan, sandbox, seconds=90)


@pytest.mark.slow
async def test_tests_that_do_not_mention_the_target_are_tried_last(
    project: Callable[..., Path], sandbox: Sandbox
) -> None:
    root = project(
        {
            "inner.py": "def hidden(x):\n    return x\n",
            "face.py": "from inner import hidden\n\ndef shown(x):\n    return hidden(x)\n",
            "tests/test_hidden.py": "def test_names_hidden_only(): pass\n",
            "tests/test_face.py": "from face import shown\n\ndef test_shown():\n    assert shown(1) == 1\n",
        }
    )
    plan = await plan_for(root, "inner.py", "hidden", sandbox)
    assert plan.reaching == ("tests/test_face.py::test_shown",)
    assert plan.others == ("tests/test_hidden.py::test_names_hidden_only",) and plan.rest == ()


@pytest.mark.slow
async def test_files_that_cannot_be_collected_are_said(project: Callable[..., Path], sandbox: Sandbox) -> None:
    files = {
        "lists.py": "def f(x):\n    return x\n",
        "test_a.py": "from lists import f\n\ndef test_f():\n    assert f(1) == 1\n",
        "test_b.py": "import no_such_module\nfrom lists import f\n",
    }
    plan = await plan_for(project(files), "lists.py", "f", sandbox)
    assert plan.baseline.names == ("test_a.py::test_f",)
    assert plan.notes == ("test_b.py could not be loaded: ModuleNotFoundError: No module named 'no_such_module'",)
    del files["test_a.py"]
    (plan.project.root / "test_a.py").unlink()
    plan = await plan_for(plan.project.root, "lists.py", "f", sandbox)
    assert plan.problem == "test_b.py could not be loaded: ModuleNotFoundError: No module named 'no_such_module'"


@pytest.mark.slow
async def test_five_thousand_tests_in_too_little_time_still_give_what_was_seen(
    project: Callable[..., Path], sandbox: Sandbox
) -> None:
    root = project(
        {
            "lists.py": "def f(x):\n    return x\n",
            "test_many.py": """
                import time, pytest
                from lists import f

                @pytest.mark.parametrize("n", range(5000))
                def test_f(n):
                    time.sleep(0.01)
                    assert f(n) == n
            """,
        }
    )
    began = time.monotonic()
    plan = await plan_for(root, "lists.py", "f", sandbox, seconds=20)
    assert time.monotonic() - began < 40
    assert 0 < len(plan.reaching) < 5000 and plan.problem is None
    assert plan.notes[0].startswith("The tests did not finish within 20 s: stopped in test_many.py::test_f[")
    assert f"({len(plan.baseline.names)} of 5000 tests had run)" in plan.notes[0]
    assert len(plan.captured) == project_tests.CAPTURED


@pytest.mark.slow
async def test_a_suite_that_hangs_or_floods_is_bounded(project: Callable[..., Path], sandbox: Sandbox) -> None:
    root = project(
        {
            "lists.py": "def f(x):\n    return x\n",
            "test_odd.py": """
                from lists import f

                def test_endless():
                    while f(1):
                        pass

                def test_flood():
                    f(1)
                    for _ in range(1024):
                        print("x" * (1 << 20))

                def test_thread_left_behind():
                    import threading, time
                    threading.Thread(target=time.sleep, args=(60,)).start()
                    assert f(2) == 2

                def test_process_left_behind():
                    import subprocess
                    subprocess.Popen(["sleep", "60"])
                    assert f(2) == 2
            """,
        }
    )
    began = time.monotonic()
    plan = await plan_for(root, "lists.py", "f", sandbox, seconds=40)
    assert time.monotonic() - began < 55
    outcomes = {f.name.rpartition("::")[2]: f.message for f in plan.baseline.failures}
    assert "did not finish within" in outcomes.pop("test_endless")
    assert [n.rpartition("::")[2] for n in plan.baseline.names] == [
        "test_thread_left_behind",
        "test_process_left_behind",
    ]
    assert "test_flood" in outcomes


SETTINGS = [
    ({"a.py": ""}, (("test_*.py", "*_test.py"), ())),
    ({"pytest.ini": "[pytest]\npython_files = check_*.py\ntestpaths = a b\n"}, (("check_*.py",), ("a", "b"))),
    ({"tox.ini": "[pytest]\npython_files = t_*.py\n"}, (("t_*.py",), ())),
    ({"setup.cfg": "[tool:pytest]\ntestpaths =\n    x\n    y\n"}, (("test_*.py", "*_test.py"), ("x", "y"))),
    ({"pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = "x y"\n'}, (("test_*.py", "*_test.py"), ("x", "y"))),
    ({"pyproject.toml": '[tool.pytest]\npython_files = ["q.py"]\n'}, (("q.py",), ())),
    ({"pyproject.toml": "[tool.pytest.ini_options]\ntestpaths = ["}, (("test_*.py", "*_test.py"), ())),
    ({"pytest.ini": "", "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = "x"\n'},
     (("test_*.py", "*_test.py"), ())),
]  # fmt: skip


@pytest.mark.parametrize(("files", "wanted"), SETTINGS)
def test_where_pytest_looks_is_read_from_its_settings(
    project: Callable[..., Path], files: dict[str, str], wanted: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    settings = pytest_settings(project(files))
    assert (settings.patterns, settings.folders) == wanted


def test_test_files_are_found_and_ranked_by_what_they_mention(project: Callable[..., Path]) -> None:
    root = project(
        {
            "pkg/__init__.py": "",
            "pkg/lists.py": "class Box:\n    def total(self):\n        return 1\n",
            "pkg/test_near.py": "# nothing\n",
            "tests/test_all.py": "from pkg.lists import Box\nBox().total()\n",
            "tests/test_class.py": "from pkg.lists import Box\n",
            "tests/deep/test_module.py": "import pkg.lists\n",
            "tests/test_none.py": "totally, boxes\n",
            "tests/helper.py": "Box total\n",
            "node_modules/x/test_x.py": "Box total\n",
            ".hidden/test_x.py": "Box total\n",
            "myenv/pyvenv.cfg": "",
            "myenv/lib/test_x.py": "Box total\n",
        }
    )
    found = find(find_project(root / "pkg/lists.py"), make_target(root / "pkg/lists.py", "Box.total"))
    assert found.likely == ("tests/test_all.py", "tests/test_class.py", "tests/deep/test_module.py")
    assert found.others == ("pkg/test_near.py", "tests/test_none.py")


def test_tracebacks_keep_the_users_frames_and_the_reason() -> None:
    text = (
        "tests/test_a.py:5: in test_a\n    assert f(1)\n"
        "../env/lib/python3.11/site-packages/lib/x.py:9: in wrap\n    return g()\n"
        "/usr/lib/python3.11/functools.py:1: in inner\n    return h()\n"
        "E   ValueError: no"
    )
    assert user_frames(text) == "tests/test_a.py:5: in test_a\n    assert f(1)\nE   ValueError: no"
    long = "\n".join(f"E   line {n}" for n in range(200))
    assert len(user_frames(long).splitlines()) == 41
