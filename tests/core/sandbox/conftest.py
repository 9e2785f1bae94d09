"""The backends that work on this machine, and commands for this interpreter."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from perforch_core.sandbox import Command, Policy, Sandbox, base, bubblewrap

PYTHON = tuple(Path(p) for p in {sys.prefix, sys.base_prefix} if Path(p) != Path("/usr"))


@pytest.fixture(params=["bubblewrap", "base"])
async def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sandbox]:
    found: Sandbox | None
    if request.param == "bubblewrap":
        found = await bubblewrap.find()
    else:
        found = await base.find(cache_dir=tmp_path / "cache", allow_weak=True)
    if found is None:
        pytest.skip(f"{request.param} does not work on this machine")
    yield found
    await found.aclose()


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Command]:
    """A command that runs this code with this interpreter."""

    def make(code: str, *arguments: str, **rest: object) -> Command:
        settings: dict[str, object] = {"policy": Policy.RUN, "cwd": tmp_path, **rest}
        settings["readable"] = (tmp_path, *PYTHON, *settings.get("readable", ()))  # type: ignore[misc]
        return Command(argv=(sys.executable, "-I", "-S", "-c", code, *arguments), **settings)  # type: ignore[arg-type]

    return make
