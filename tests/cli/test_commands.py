"""What the commands print, write and exit with, on the real command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_server import serve, simple

SLOW = '''
def common(left: list[int], right: list[int]) -> list[int]:
    """Items of `left` that are in `right` too, in order."""
    found = []
    for item in left:
        if item in right:
            found.append(item)
    return found
'''
FAST = SLOW.replace("    found = []\n", "    found = []\n    known = set(right)\n").replace("in right:", "in known:")
WRONG = SLOW.replace("if item in right:", "if item in right and item not in found:")
TESTS = "from a import common\n\ndef test_common():\n    assert common([1, 2, 3], [3, 1]) == [1, 3]\n"
BROKEN = '''
def largest(items: list[int]) -> int:
    """The largest item.

    >>> largest([3, 9, 4])
    9
    """
    best = items[0]
    for item in items:
        if item < best:
            best = item
    return best
'''


def perforch(*arguments: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perforch_cli.main", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)


@pytest.mark.slow
def test_optimize_shows_and_applies(project: Callable[..., Path]) -> None:
    root = project({"a.py": SLOW, "test_a.py": TESTS})
    done = perforch("optimize", "a.py::common", "--json", "--apply", cwd=root)
    assert done.returncode == 0, done.stderr + done.stdout
    data = json.loads(done.stdout)
    assert (data["schema"], data["status"], data["applied"], data["stage"]) == (1, "suggested", True, "refine")
    assert data["evidence"]["speedup"]["low"] > 1.05 and data["evidence"]["tests"]["passed"] == 1
    text = SLOW.lstrip("\n")
    for edit in reversed(data["edit"]):
        assert text[edit["start"] : edit["end"]] == edit["old"]
        text = text[: edit["start"]] + edit["new"] + text[edit["end"] :]
    assert (root / "a.py").read_text() == text != SLOW.lstrip("\n")
    assert "understanding common" in done.stderr and "understanding" not in done.stdout


@pytest.mark.slow
def test_fix_prints_the_change_and_leaves_the_file(project: Callable[..., Path]) -> None:
    root = project({"a.py": BROKEN})
    done = perforch("fix", "a.py::largest", cwd=root)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.startswith("fixed, ") and "-        if item < best:" in done.stdout
    assert "Nothing was changed yet; --apply writes it." in done.stdout
    assert (root / "a.py").read_text() == BROKEN.lstrip("\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "verdict", "code"), [(FAST, "faster", 0), (WRONG, "not-equivalent", 1), (SLOW, "indistinguishable", 1)]
)
def test_compare(after: str, verdict: str, code: int, project: Callable[..., Path]) -> None:
    root = project({"a.py": SLOW, "b.py": after, "test_a.py": TESTS})
    named = ("a.py", "b.py", "--symbol", "common") if verdict == "faster" else ("a.py::common", "b.py::common")
    done = perforch("compare", *named, "--json", cwd=root)
    data = json.loads(done.stdout)
    assert (data["verdict"], done.returncode) == (verdict, code), done.stderr
    assert data["equivalent"] is (verdict != "not-equivalent")
    assert {"by_size", "memory", "growth", "strength", "seconds", "cases", "speedup", "counterexample"} <= set(data)
    if verdict == "not-equivalent":
        example = data["counterexample"]
        assert example["call"].startswith("common([") and example["expected"] != example["actual"]
    if verdict == "faster":
        assert data["speedup"]["low"] > 1.05 and data["by_size"]


@pytest.mark.slow
def test_generate_then_confirm_an_example(project: Callable[..., Path]) -> None:
    root = project({"a.py": 'def double(x: int) -> int:\n    """Twice x."""\n    raise NotImplementedError\n'})
    with serve(simple("```python\ndef double(x: int) -> int:\n    return 2 * x\n```")) as server:
        added = perforch("models", "add", "local", "--base-url", server.url, "--model", "m", cwd=root)
        assert added.returncode == 0, added.stderr
        done = perforch("generate", "a.py::double", cwd=root)
        assert done.returncode == 1 and "it builds, unproven" in done.stdout and "double(" in done.stdout
        done = perforch("generate", "a.py::double", "--example", "double(4) == 8", "--apply", cwd=root)
        assert done.returncode == 0, done.stderr + done.stdout
    assert "return 2 * x" in (root / "a.py").read_text()
    ranked = perforch("models", "rank", "--stage", "generate", cwd=root)
    assert "1. local" in ranked.stdout and "writes Python in" in ranked.stdout


def test_models_are_listed_and_removed(project: Callable[..., Path]) -> None:
    root = project({"a.py": SLOW})
    perforch(
        "models", "add", "far", "--base-url", "https://api.example.com/v1", "--model", "m", "--key-env", "FAR", cwd=root
    )
    listed = perforch("models", "list", cwd=root)
    assert "far" in listed.stdout and "missing: set FAR" in listed.stdout
    assert json.loads(perforch("models", "list", "--json", cwd=root).stdout)["models"][0]["name"] == "far"
    assert perforch("models", "remove", "far", cwd=root).returncode == 0
    gone = perforch("models", "test", "far", cwd=root)
    assert gone.returncode == 2 and "no model named 'far'" in gone.stderr


@pytest.mark.slow
def test_doctor_proves_its_table(project: Callable[..., Path]) -> None:
    done = perforch("doctor", "--json", cwd=project({"a.py": SLOW}))
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["sandbox"]["backend"] and data["toolchains"]["python"]["version"]
    assert data["sandbox"]["guarantees"]["read secrets"] == "enforced"
    assert set(data["sandbox"]["guarantees"].values()) <= {"enforced", "watched", "none"}


def test_help_and_version() -> None:
    done = perforch("--help", cwd=Path.cwd())
    assert done.returncode == 0 and all(name in done.stdout for name in ("optimize", "compare", "doctor", "models"))
    assert perforch("--version", cwd=Path.cwd()).stdout.startswith("perforch 0.")
