"""grow() and compare() with the real driver in the real sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from perforch_core.evidence import Verdict
from perforch_core.languages import find_target
from perforch_core.languages.interface import Driver, Version
from perforch_core.languages.python_harness import PythonHarness
from perforch_core.languages.python_project import find_project
from perforch_core.measure import lock
from perforch_core.measure.compare import Starter, compare
from perforch_core.measure.workload import grow, maker
from perforch_core.sandbox import Sandbox
from perforch_core.task import Event

pytestmark = pytest.mark.slow

BEFORE = """
def dedupe(items: list[str]) -> list[str]:
    out: list[str] = []
    for item in items:
        if item not in out:
            out.append(item)
    return out
"""
AFTER = "def dedupe(items: list[str]) -> list[str]:\n    return list(dict.fromkeys(items))\n"
RENAMED = BEFORE.replace("item", "thing").replace("out", "result")


@pytest.fixture(autouse=True)
def _own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "lock_path", lambda: tmp_path / "measuring.lock")


@pytest.fixture
async def harness(sandbox: Sandbox, project: Callable[..., Path]) -> AsyncIterator[PythonHarness]:
    root = project({"app.py": BEFORE})
    target = find_target(root / "app.py", (root / "app.py").read_text(), symbol="dedupe")
    made = PythonHarness(find_project(root / "app.py"), target, sandbox)
    yield made
    await made.aclose()


def starter(harness: PythonHarness, label: str, text: str) -> Starter:
    def start(seed: int) -> Awaitable[Driver]:
        return harness.start(Version(label=label, text=text), seed=seed)

    return start


async def test_a_true_speedup_is_claimed_with_growth_and_memory(harness: PythonHarness) -> None:
    said: list[Event] = []
    before = starter(harness, "original", BEFORE)
    workload = await grow(before, maker(await harness.signature()), report=said.append)
    result = await compare(before, starter(harness, "after", AFTER), workload, budget=20.0, report=said.append)
    assert result.verdict is Verdict.FASTER, result
    assert result.speedup and result.speedup.low > 3
    assert result.memory and result.growth and result.growth.before > result.growth.after + 0.4
    assert any(event.text.startswith("timing on inputs of size") for event in said)


async def test_the_same_function_renamed_is_not(harness: PythonHarness) -> None:
    before = starter(harness, "original", BEFORE)
    workload = await grow(before, maker(await harness.signature()))
    result = await compare(before, starter(harness, "after", RENAMED), workload, budget=10.0)
    assert result.verdict is Verdict.INDISTINGUISHABLE, result
