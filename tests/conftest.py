"""Fixtures that several packages' tests share: real sandboxes and small real projects."""

from __future__ import annotations

import os
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from perforch_core.sandbox import Sandbox, choose
from perforch_core.task import EnvironmentProblem


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own settings, profile or cache."""
    home = tmp_path_factory.mktemp("home")
    for variable in ("PERFORCH_CONFIG", "PERFORCH_DATA"):
        monkeypatch.setenv(variable, str(home / variable.lower()))


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The strongest sandbox of this machine; required on CI."""
    try:
        made = await choose()
    except EnvironmentProblem as problem:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no sandbox: {problem}")
    yield made
    await made.aclose()


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Writes files, given as name="text" or {"folder/name.py": "text"}, into a fresh project folder; returns it."""

    def write(files: dict[str, str]) -> Path:
        root = tmp_path / "project"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"))
        (root / "pyproject.toml").touch()
        return root

    return write
