"""VS Code: the extension's own tests, and its packed form in the real workbench with the real server.

The workbench is code-server in a headless Chromium; scripts/install-editors.sh installs both. Without them these tests
are skipped, except that PERFORCH_EDITORS=all makes that a failure.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "client" / "vscode"
EXAMPLE = ROOT / "examples" / "python" / "optimize"
SCRIPT = Path(__file__).parent / "vscode" / "workbench.mjs"
REQUIRED = os.environ.get("PERFORCH_EDITORS") == "all"
LIMIT_SECONDS = 900

pytestmark = pytest.mark.slow


def missing(what: str) -> None:
    """Skip, or fail where everything is to be tested."""
    if REQUIRED:
        pytest.fail(f"PERFORCH_EDITORS=all, but {what}")
    pytest.skip(what)


def editors_folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("PERFORCH_EDITORS_DIR") or cache / "perforch-editors")


@pytest.fixture(scope="module")
def packages() -> Path:
    """The extension with its build tools."""
    if shutil.which("npm") is None:
        missing("npm is not installed: Node.js 20 or later")
    if not (EXTENSION / "node_modules").is_dir():
        if not REQUIRED:
            missing("the extension's packages are not installed: make vsix")
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=EXTENSION, check=True, timeout=LIMIT_SECONDS)
    return EXTENSION


@pytest.fixture(scope="module")
def vsix(packages: Path) -> Path:
    subprocess.run(["npm", "run", "-s", "package"], cwd=packages, check=True, capture_output=True, timeout=300)
    return packages / "build" / "perforch.vsix"


Play = Callable[..., dict[str, Any]]


@pytest.fixture
def play(vsix: Path, tmp_path: Path) -> Play:
    """Play a scenario of workbench.mjs on a copy of the example and return what was seen."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    folder = editors_folder()
    if browser is None or not (folder / ".complete-1").exists():
        missing("VS Code's workbench is not installed: sh scripts/install-editors.sh")
    project, state = tmp_path / "newsletter", tmp_path / "state"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    state.mkdir()

    def run(scenario: str, *, settings: dict[str, Any] | None = None, ask_for_trust: bool = False) -> dict[str, Any]:
        environment = {
            **os.environ,
            "EDITORS": str(folder),
            "CHROMIUM": str(browser),
            "EXTENSION": str(vsix),
            "PROJECT": str(project),
            "STATE": str(state),
            "SETTINGS": json.dumps({"perforch.models": ["rules"], "perforch.budget.seconds": 300, **(settings or {})}),
            "TRUST": "ask" if ask_for_trust else "",
        }
        node = folder / "node" / "bin" / "node"
        ended = subprocess.run(
            [node, SCRIPT, scenario], env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )
        assert ended.stdout, ended.stderr
        answer: dict[str, Any] = json.loads(ended.stdout)
        assert "failed" not in answer, answer
        return answer

    return run


@pytest.fixture
def environment_in_project(tmp_path: Path, play: Play) -> None:
    """The project has a virtual environment with PerfOrch in it: the server is found with no setting."""
    (tmp_path / "newsletter" / ".venv").symlink_to(sys.prefix)


def original() -> str:
    return (EXAMPLE / "newsletter.py").read_text(encoding="utf-8")


def assert_faster_version(text: str, folder: Path) -> None:
    """The linear version, and still the same function."""
    assert text != original()
    assert "set(" in text
    path = folder / "faster.py"
    path.write_text(text, encoding="utf-8")
    names = runpy.run_path(str(path), run_name="faster")
    orders = [names["Order"](e, 5) for e in ("a@x", "B@x ", "a@x", "c@x", "")]
    assert names["recipients"](orders, ["C@x"], 5) == ["a@x", "b@x"]


def test_types_and_unit_tests(packages: Path) -> None:
    for command in (["npm", "run", "-s", "check"], ["npm", "run", "-s", "test"]):
        ended = subprocess.run(command, cwd=packages, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.workbench
@pytest.mark.usefixtures("environment_in_project")
def test_optimize_look_apply_and_undo(play: Play, tmp_path: Path) -> None:
    seen = play("apply")
    assert seen["palette"] == [
        f"PerfOrch: {name}"
        for name in ("Cancel", "Fix", "Generate", "Optimize for Speed", "Restart Server", "Show Log")
    ]
    assert "perforch(" in seen["hint"]
    assert seen["title"].startswith("recipients: ")
    assert "x faster at n = " in seen["title"]
    assert "6 tests" in seen["title"]
    assert "mutants killed" in seen["title"]
    assert seen["title"] in seen["found"]
    assert "Project tests: 6 passed, 0 failed" in seen["evidence"]
    assert_faster_version(seen["applied"], tmp_path)
    assert seen["undone"] == original()


@pytest.mark.workbench
@pytest.mark.usefixtures("environment_in_project")
def test_quick_fix_cancel_lens_and_dismiss(play: Play, tmp_path: Path) -> None:
    seen = play("lens")
    assert any("prove a faster version" in title for title in seen["actions"])
    assert any("Optimize recipients for speed" in title for title in seen["actions"])
    assert seen["cancelled"] == original()
    assert "x faster" in seen["lens"]
    assert_faster_version(seen["applied"], tmp_path)
    assert seen["dismissed"] == original()


@pytest.mark.workbench
def test_a_missing_server_is_said_with_what_to_do(play: Play) -> None:
    seen = play("missing", settings={"perforch.server.command": ["/nowhere/perforch", "lsp"]})
    assert "/nowhere/perforch, which is not there" in seen["message"]


@pytest.mark.workbench
def test_a_program_that_is_no_server_is_said_once(play: Play) -> None:
    seen = play("broken", settings={"perforch.server.command": ["/bin/sh", "-c", "echo no such module >&2; exit 1"]})
    assert "did not start" in seen["message"]
    assert seen["toasts"] == 1
    assert "no such module" in seen["log"].replace("\xa0", " ")


@pytest.mark.workbench
@pytest.mark.usefixtures("environment_in_project")
def test_a_killed_server_is_started_again(play: Play) -> None:
    seen = play("crash")
    assert seen["servers"] == [1, 1]
    assert seen["toasts"] == []


@pytest.mark.workbench
def test_nothing_of_an_untrusted_folder_is_run(play: Play) -> None:
    seen = play(
        "untrusted",
        settings={"perforch.server.command": [str(Path(sys.executable).parent / "perforch"), "lsp"]},
        ask_for_trust=True,
    )
    assert "trust the folder first" in seen["message"]
    assert seen["progress"] == 0
    assert "Optimizing recipients" in seen["trusted"]
