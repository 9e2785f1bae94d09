"""Where a Python file lives: root, interpreter, import path, what must be readable."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perforch_core.languages import python_project
from perforch_core.languages.python_project import find_project, module_name, readable_paths
from perforch_core.task import EnvironmentProblem, UserError


@pytest.fixture(autouse=True)
def no_active_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)


def environment(folder: Path, version: str = "3.11.7") -> Path:
    """A virtual environment as the venv module lays it out, around the Python that runs the tests."""
    (folder / "bin").mkdir(parents=True)
    real = Path(sys.executable).resolve()
    (folder / "bin" / "python").symlink_to(real)
    (folder / "pyvenv.cfg").write_text(f"home = {real.parent}\nversion = {version}\n")
    short = ".".join(version.split(".")[:2])
    site = folder / "lib" / f"python{short}" / "site-packages"
    site.mkdir(parents=True)
    return site


LAYOUTS = [
    # files besides the one asked for, the file, its module name, the first import folder
    ({}, "tool.py", "tool", "."),
    ({"pkg/__init__.py": "", "pkg/sub/__init__.py": ""}, "pkg/sub/mod.py", "pkg.sub.mod", "."),
    ({"src/pkg/__init__.py": ""}, "src/pkg/mod.py", "pkg.mod", "src"),
    ({}, "src/space/mod.py", "space.mod", "src"),
    ({}, "src/single.py", "single", "src"),
    ({}, "space/deep/mod.py", "space.deep.mod", "."),
    ({"scripts/helper.py": ""}, "scripts/job.py", "job", "scripts"),
    ({}, "my-scripts/job.py", "job", "my-scripts"),
    ({"pkg/__init__.py": ""}, "pkg/__init__.py", "pkg", "."),
    ({"lib/pkg/__init__.py": "", "pyproject.toml": '[tool.setuptools.packages.find]\nwhere = ["lib"]\n'},
     "lib/pkg/mod.py", "pkg.mod", "lib"),
    ({"code/mod.py": "", "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = "code"\n'},
     "code/mod.py", "mod", "code"),
    ({"code/p/x.py": "", "pyproject.toml": '[tool.poetry]\npackages = [{ include = "p", from = "code" }]\n'},
     "code/p/x.py", "p.x", "code"),
]  # fmt: skip


@pytest.mark.parametrize(("others", "file", "module", "folder"), LAYOUTS)
def test_a_file_is_imported_by_the_name_its_layout_gives(
    project: Callable[..., Path], others: dict[str, str], file: str, module: str, folder: str
) -> None:
    text = "import helper\n" if "scripts/helper.py" in others else "x = 1\n"
    root = project({**others, file: text})
    found = find_project(root / file)
    assert found.root == root
    assert module_name(found, root / file) == module
    assert found.path_entries[0] == (root / folder).resolve()
    assert root in found.path_entries
    done = subprocess.run(
        [found.interpreter, "-S", "-c", f"import {module} as m; print(m.__file__)"],
        env={"PYTHONPATH": os.pathsep.join(map(str, found.path_entries))}, capture_output=True, text=True, cwd="/",
    )  # fmt: skip
    assert done.stdout.strip() == str(root / file), done.stderr


def test_a_file_that_is_no_identifier_cannot_be_imported(project: Callable[..., Path]) -> None:
    root = project({"my-tool.py": ""})
    with pytest.raises(UserError, match="rename"):
        module_name(find_project(root / "my-tool.py"), root / "my-tool.py")


@pytest.mark.parametrize("marker", python_project.MARKERS)
def test_the_nearest_marker_is_the_root(tmp_path: Path, marker: str) -> None:
    inner = tmp_path / "outer" / "inner"
    (inner / "deep").mkdir(parents=True)
    (tmp_path / "outer" / "setup.py").touch()
    (inner / marker).mkdir() if marker == ".git" else (inner / marker).touch()
    (inner / "deep" / "a.py").touch()
    assert find_project(inner / "deep" / "a.py").root == inner


def test_the_home_folder_is_never_taken_for_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / ".git").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / "loose").mkdir()
    for file in (home / "loose" / "a.py", home / "b.py", home / "secret.txt"):
        file.touch()
    monkeypatch.setenv("HOME", str(home))
    assert find_project(home / "loose" / "a.py").root == home / "loose"
    found = find_project(home / "b.py")
    assert found.root == home
    shown = readable_paths(found)
    assert home / "b.py" in shown
    assert not any((home / "secret.txt").is_relative_to(p) or (home / ".ssh").is_relative_to(p) for p in shown)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        find_project(tmp_path / "absent.py")


def test_the_projects_own_environment_is_used_without_being_started(project: Callable[..., Path]) -> None:
    root = project({"a.py": ""})
    ran = root / "ran"
    environment(root / ".venv")
    python = root / ".venv" / "bin" / "python"
    python.unlink()
    python.write_text(f"#!/bin/sh\ntouch {ran}\n")
    python.chmod(0o755)
    found = find_project(root / "a.py")
    readable_paths(found)
    assert found.interpreter == python
    assert found.env["VIRTUAL_ENV"] == str(root / ".venv")
    assert not ran.exists()


def test_a_folder_that_only_looks_like_an_environment_is_not_started(project: Callable[..., Path]) -> None:
    root = project({"a.py": "", "venv/bin/python": "#!/bin/sh\ntouch ran\n"})
    (root / "venv/bin/python").chmod(0o755)
    assert find_project(root / "a.py").interpreter.resolve() == Path(sys.executable).resolve()
    assert not (root / "ran").exists()


def test_the_order_of_interpreters(
    project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project({"a.py": "", "sub/pyproject.toml": "", "sub/b.py": ""})
    (root / ".git").mkdir()
    assert find_project(root / "a.py").interpreter.resolve() == Path(sys.executable).resolve()
    environment(root / "env")
    assert find_project(root / "a.py").interpreter == root / "env/bin/python"
    assert find_project(root / "sub/b.py").interpreter == root / "env/bin/python", "an environment of the repository"
    environment(tmp_path / "active")
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "active"))
    assert find_project(root / "a.py").interpreter == tmp_path / "active/bin/python"
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    assert find_project(root / "a.py").interpreter == root / "env/bin/python", "PerfOrch's own gives way"
    environment(root / "chosen")
    assert find_project(root / "a.py", python="chosen/bin/python").interpreter == root / "chosen/bin/python"


def test_a_wrong_setting_is_said(project: Callable[..., Path]) -> None:
    root = project({"a.py": ""})
    with pytest.raises(UserError, match="There is no Python at nowhere/python"):
        find_project(root / "a.py", python="nowhere/python")
    with pytest.raises(EnvironmentProblem, match="not a working Python"):
        find_project(root / "a.py", python="/bin/false")
    environment(root / "old", version="3.7.16")
    with pytest.raises(UserError, match=r"is Python 3\.7; choose Python 3\.8 or newer"):
        find_project(root / "a.py", python="old/bin/python")


def test_an_environment_too_old_or_orphaned_is_passed_over(project: Callable[..., Path]) -> None:
    root = project({"a.py": ""})
    environment(root / ".venv", version="3.6.15")
    environment(root / "venv")
    (root / "venv/pyvenv.cfg").write_text("home = /nowhere/bin\nversion = 3.11.0\n")
    assert find_project(root / "a.py").interpreter.resolve() == Path(sys.executable).resolve()


def test_readable_is_what_running_needs(project: Callable[..., Path], tmp_path: Path) -> None:
    root = project({"src/pkg/__init__.py": "", "src/pkg/mod.py": ""})
    site = environment(tmp_path / "elsewhere" / "env")
    for name in ("linked", "mapped/pkg2", "spaced"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "one.py").touch()
    (site / "a.pth").write_text(
        f"import os\n# a remark\n{tmp_path / 'linked'}\n/\n{Path.home()}\n{tmp_path / 'gone'}\n"
    )
    (site / "__editable___x_finder.py").write_text(
        f"MAPPING: dict[str, str] = {{'pkg2': {str(tmp_path / 'mapped/pkg2')!r}, 'one': {str(tmp_path / 'one')!r}}}\n"
        f"NAMESPACES: dict[str, list[str]] = {{'s': [{str(tmp_path / 'spaced')!r}]}}\n"
    )
    shown = readable_paths(find_project(root / "src/pkg/mod.py", python=str(tmp_path / "elsewhere/env/bin/python")))
    for wanted in (
        root,
        tmp_path / "elsewhere/env",
        tmp_path / "linked",
        tmp_path / "mapped/pkg2",
        tmp_path / "spaced",
    ):
        assert wanted in shown
    assert tmp_path / "one.py" in shown
    real = Path(sys.executable).resolve()
    assert any(real.is_relative_to(path) for path in (*shown, Path("/usr"))), "the program itself"
    assert Path("/") not in shown and Path.home() not in shown
    assert len(set(shown)) == len(shown)
    assert not any(a != b and a.is_relative_to(b) for a in shown for b in shown)


def test_every_link_on_the_way_to_the_program_is_readable(project: Callable[..., Path], tmp_path: Path) -> None:
    root = project({"a.py": ""})
    real = Path(sys.executable).resolve()
    (tmp_path / "hop" / "bin").mkdir(parents=True)
    (tmp_path / "hop/bin/python3").symlink_to(real)
    environment(root / ".venv")
    (root / ".venv/bin/python").unlink()
    (root / ".venv/bin/python").symlink_to("../../../hop/bin/python3")
    assert tmp_path / "hop" in readable_paths(find_project(root / "a.py"))
