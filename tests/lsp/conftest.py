"""A real server process over stdio, driven with the capabilities of real editors."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lsp_editor import EDITORS, SCRIPTED, Editor, Start
from pytest_lsp.client import make_test_lsp_client


@pytest.fixture(params=[pytest.param(name, marks=[] if name == "vscode" else pytest.mark.slow) for name in EDITORS])
def editor_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts servers; they are ended afterwards."""
    editors: list[Editor] = []

    # Verdicts go into the profile, reports into the cache: never the ones of whoever runs the tests.
    environment = {**os.environ, "PERFORCH_CONFIG": str(tmp_path / "config"), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    async def make(name: str, *, command: list[str] | None = None, **options: Any) -> Editor:
        client = make_test_lsp_client()
        await client.start_io(*(command or [sys.executable, "-P", str(SCRIPTED)]), cwd=str(tmp_path), env=environment)
        editor = Editor(client, tmp_path)
        editors.append(editor)
        await editor.start(name, **options)
        return editor

    yield make
    for editor in editors:
        if editor.client._server is not None and editor.client._server.returncode is None:
            await asyncio.wait_for(editor.client.shutdown_session(), 20)
        await editor.client.stop()


@pytest.fixture
async def editor(start: Start, editor_name: str) -> Editor:
    """Each of the three editors in turn."""
    opened: Editor = await start(editor_name)
    return opened
