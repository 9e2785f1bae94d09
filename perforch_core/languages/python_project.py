"""Where a Python file lives: its project's root, its interpreter, what must be importable and readable to run it.

Nothing of the project is executed here. A virtual environment is understood from its files alone (pyvenv.cfg, .pth
files, the finders that editable installs leave), because a repository may contain a `.venv/bin/python` of its own
making; only an interpreter outside any environment is asked, in isolated mode and without site packages.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perforch_core.languages.interface import Project
from perforch_core.task import EnvironmentProblem, UserError

OLDEST = (3, 8)
"""The oldest Python that the drivers run under."""

MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "pytest.ini", ".git")
ENVIRONMENTS = (".venv", "venv", "env")

# The sandbox shows these to every program.
_SYSTEM = tuple(Path(p) for p in ("/usr", "/lib", "/lib64", "/bin", "/sbin"))


def variables(text: str) -> tuple[str, ...]:
    """The public variables that a Python file assigns at its top level; what is called a cache is nobody's business."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    found: dict[str, None] = {}
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        found.update({target.id: None for target in targets if isinstance(target, ast.Name)})
    return tuple(n for n in found if not n.startswith("_") and not any(w in n.lower() for w in ("cache", "memo")))


_ASK = "import json, sys; print(json.dumps([sys.version_info[:2], sys.executable, sys.prefix, sys.base_prefix]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python: the path to start it by, its version, the folders of its environment and of its installation."""

    path: Path
    version: tuple[int, int]
    prefix: Path
    base_prefix: Path


def find_project(path: Path, *, python: str | None = None) -> Project:
    """The project of the Python file at `path`. `python` is the user's own choice of interpreter, a path or a name.

    Raises UserError when there is no such file or `python` names no usable Python, EnvironmentProblem when no
    Python of at least 3.8 is found.
    """
    file = path.resolve()
    if not file.is_file():
        raise UserError(f"There is no file {path}. Check the path.")
    root = find_root(file)
    interpreter = find_interpreter(root, python=python)
    env = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": _search_path(interpreter)}
    if interpreter.prefix != interpreter.base_prefix:
        env["VIRTUAL_ENV"] = str(interpreter.prefix)
    return Project(root=root, interpreter=interpreter.path, path_entries=tuple(_path_entries(root, file)), env=env)


def find_root(file: Path) -> Path:
    """The nearest folder at or above the file's that carries a marker, below the home folder; else the file's own."""
    home = Path.home()
    for folder in file.parents:
        if folder == home or folder in home.parents:
            break
        if any((folder / marker).exists() for marker in MARKERS):
            return folder
    return file.parent


def find_interpreter(root: Path, *, python: str | None = None) -> Interpreter:
    """The interpreter that runs the project's code.

    In this order: the user's choice, the activated environment, an environment in the root (or in a folder above
    that belongs to the same repository), the Python that runs PerfOrch. An activated environment that is merely
    PerfOrch's own gives way to the project's.
    """
    if python:
        given = Path(python).expanduser()
        chosen = shutil.which(str(root / given) if len(given.parts) > 1 else python)
        if chosen is None:
            raise UserError(f"There is no Python at {python}. Correct or remove the setting of the project's Python.")
        interpreter = describe_interpreter(Path(chosen))
        if interpreter.version < OLDEST:
            raise UserError(f"{chosen} is Python {_dotted(interpreter.version)}; choose Python 3.8 or newer.")
        return interpreter
    for candidate in _environment_pythons(root):
        try:
            interpreter = describe_interpreter(candidate)
        except EnvironmentProblem:
            continue
        if interpreter.version >= OLDEST:
            return interpreter
    return describe_interpreter(Path(sys.executable))


@functools.lru_cache(maxsize=64)
def describe_interpreter(path: Path) -> Interpreter:
    """Version and folders of a Python. Raises EnvironmentProblem when it is none."""
    config = path.parent.parent / "pyvenv.cfg"
    if config.is_file():
        return _describe_environment(path, config)
    version, executable, prefix, base = _ask(path)
    return Interpreter(path=Path(executable), version=version, prefix=Path(prefix), base_prefix=Path(base))


def _describe_environment(path: Path, config: Path) -> Interpreter:
    keys = {}
    for line in config.read_text(encoding="utf-8", errors="replace").splitlines():
        key, separator, value = line.partition("=")
        if separator:
            keys[key.strip().lower()] = value.strip()
    number = re.match(r"(\d+)\.(\d+)", keys.get("version") or keys.get("version_info") or "")
    home = Path(keys.get("home", ""))
    if not home.is_absolute() or not home.is_dir():
        raise EnvironmentProblem(
            f"The virtual environment {config.parent} points to a Python that is gone ({home}). Create it anew."
        )
    base = home.parent if home.name in ("bin", "Scripts") else home
    if number is None:
        number = next(
            filter(None, (re.match(r"python(\d+)\.(\d+)", p.name) for p in config.parent.glob("lib/*"))), None
        )
    if number is None:
        raise EnvironmentProblem(f"{config} does not say which Python it is for. Create the environment anew.")
    version = (int(number[1]), int(number[2]))
    return Interpreter(path=path, version=version, prefix=config.parent, base_prefix=base)


def _ask(path: Path) -> tuple[tuple[int, int], str, str, str]:
    try:
        done = subprocess.run(
            [str(path), "-I", "-S", "-c", _ASK], capture_output=True, timeout=20, check=True, stdin=subprocess.DEVNULL
        )
        (major, minor), executable, prefix, base = json.loads(done.stdout)
        return (int(major), int(minor)), executable or str(path), prefix, base
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EnvironmentProblem(f"{path} is not a working Python: {error}. Set the project's Python.") from None


def _environment_pythons(root: Path) -> Iterator[Path]:
    active = os.environ.get("VIRTUAL_ENV")
    environments = [folder / name for folder in _repository(root) for name in ENVIRONMENTS]
    # Without pyvenv.cfg it would have to be started to be understood, and the repository may have brought it.
    own = [python for place in environments if (place / "pyvenv.cfg").is_file() for python in _pythons(place)]
    if active and not (own and Path(active).resolve() == Path(sys.prefix).resolve()):
        yield from _pythons(Path(active))
    yield from own
    if conda := os.environ.get("CONDA_PREFIX"):
        yield from _pythons(Path(conda))


def _pythons(environment: Path) -> list[Path]:
    places = (environment / "bin" / "python", environment / "Scripts" / "python.exe")
    return [place for place in places if place.is_file() and os.access(place, os.X_OK)]


def _repository(root: Path) -> Iterator[Path]:
    """The root and the folders above it up to the one with .git, if there is one below the home folder."""
    yield root
    if (root / ".git").exists():
        return
    home = Path.home()
    above = []
    for folder in root.parents:
        if folder == home or folder in home.parents:
            return
        above.append(folder)
        if (folder / ".git").exists():
            yield from above
            return


def _search_path(interpreter: Interpreter) -> str:
    folders = [str(interpreter.prefix / "bin"), str(interpreter.path.parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return os.pathsep.join(dict.fromkeys(folders))


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


# --- what is importable -------------------------------------------------------------------------------------------


def _path_entries(root: Path, file: Path) -> list[Path]:
    """Folders for the front of sys.path: the one the file is imported from, then the source folders and the root."""
    return list(dict.fromkeys([_import_folder(root, file), *_source_folders(root), root]))


def _import_folder(root: Path, file: Path) -> Path:
    folder = file.parent
    if (folder / "__init__.py").exists():
        while (folder / "__init__.py").exists() and folder != folder.parent:
            folder = folder.parent
        return _shallowest(root, folder)
    if folder == root or _imports_sibling(file):
        return folder
    return _shallowest(root, folder)


def _shallowest(root: Path, folder: Path) -> Path:
    """The source folder above `folder` from which its dotted name is made of identifiers, else `folder` itself.

    A namespace package has no __init__.py, so how far up the dotted name goes cannot be seen from its files.
    """
    for base in (*_source_folders(root), root):
        if folder.is_relative_to(base):
            if all(part.isidentifier() for part in folder.relative_to(base).parts):
                return base
            break
    return folder


def _imports_sibling(file: Path) -> bool:
    """Whether a file outside any package imports a neighbour by its bare name, as scripts do."""
    neighbours = {p.stem for p in file.parent.glob("*.py") if p != file}
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name in neighbours for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and not node.level and node.module in neighbours:
            return True
    return False


def _source_folders(root: Path) -> list[Path]:
    """`src` and what pyproject.toml says of source folders (pytest's pythonpath, setuptools, Poetry, Hatch)."""
    settings = read_toml(root / "pyproject.toml")
    names: list[Any] = []
    for section in ("tool.pytest.ini_options", "tool.pytest"):
        names += _strings(_lookup(settings, section, "pythonpath"))
    names += _strings(_lookup(settings, "tool.setuptools.packages.find", "where"))
    names += _strings(_lookup(settings, "tool.setuptools.package-dir", ""))
    names += [item.get("from") for item in _dicts(_lookup(settings, "tool.poetry", "packages"))]
    wheel = _lookup(settings, "tool.hatch.build.targets.wheel", "packages")
    names += [str(Path(name).parent) for name in _strings(wheel)]
    if (root / "src").is_dir() and not (root / "src" / "__init__.py").exists():
        names.append("src")
    folders = [(root / name).resolve() for name in names if isinstance(name, str)]
    return list(dict.fromkeys(f for f in folders if f.is_dir() and f != root and f.is_relative_to(root)))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary; an absent or broken one is empty."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def _lookup(settings: Mapping[str, Any], section: str, key: str) -> Any:
    current: Any = settings
    for name in [*section.split("."), key]:
        if not isinstance(current, dict):
            return None
        current = current.get(name)
    return current


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def module_name(project: Project, path: Path) -> str:
    """The dotted name under which `path` is imported, with and without __init__.py files, from a src folder or not.

    Raises UserError for a file that cannot be imported by name ("my-tool.py").
    """
    file = path.resolve()
    folder = _import_folder(project.root, file)
    parts = list(file.relative_to(folder).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    if not all(part.isidentifier() for part in parts):
        raise UserError(f"{path.name} cannot be imported by name; rename it to a Python identifier.")
    return ".".join(parts)


# --- what must be readable ----------------------------------------------------------------------------------------


def readable_paths(project: Project) -> tuple[Path, ...]:
    """What the sandbox must show read-only to run the project's code.

    The root, the environment, the Python installation behind it with every link on the way, and what .pth files and
    editable installs point to. The home folder and those above it are never among them: of a project that is the
    home folder itself, only its Python files and packages are shown.
    """
    interpreter = describe_interpreter(project.interpreter)
    wanted = [*_root_parts(project.root), *project.path_entries]
    wanted += [interpreter.prefix, interpreter.base_prefix, *_link_prefixes(interpreter.path)]
    wanted += _linked_folders(interpreter)
    wanted += [path.resolve() for path in tuple(wanted)]
    return tuple(_outermost(path for path in wanted if path.exists() and not _too_wide(path) and not _is_system(path)))


def _root_parts(root: Path) -> list[Path]:
    if not _too_wide(root):
        return [root]
    shown = [path for path in root.glob("*.py") if path.is_file()]
    shown += [path.parent for path in root.glob("[!.]*/__init__.py")]
    return shown[:200]


def _too_wide(path: Path) -> bool:
    home = Path.home()
    return path == Path(path.anchor) or path == home or path in home.parents


def _is_system(path: Path) -> bool:
    return any(path.is_relative_to(system) for system in _SYSTEM)


def _link_prefixes(python: Path) -> Iterator[Path]:
    """The installation folders of every link between an environment's python and the real program."""
    current = python
    for _ in range(20):
        if current.parent.name in ("bin", "Scripts"):
            yield current.parent.parent
        if not current.is_symlink():
            return
        current = Path(os.path.normpath(current.parent / current.readlink()))


def site_folders(interpreter: Interpreter) -> list[Path]:
    """The site-packages folders of an interpreter's environment, and of its installation where that is visible."""
    prefixes = [interpreter.prefix]
    config = interpreter.prefix / "pyvenv.cfg"
    if not config.is_file() or re.search(r"(?im)^include-system-site-packages\s*=\s*true", config.read_text()):
        prefixes.append(interpreter.base_prefix)
    names = [f"lib/python{_dotted(interpreter.version)}/site-packages", "lib/python3/dist-packages"]
    names += [f"local/lib/python{_dotted(interpreter.version)}/dist-packages", "Lib/site-packages"]
    return [f for f in dict.fromkeys(prefix / name for prefix in prefixes for name in names) if f.is_dir()]


def _linked_folders(interpreter: Interpreter) -> list[Path]:
    found: list[Path] = []
    for folder in site_folders(interpreter):
        for file in sorted(folder.glob("*.pth"))[:200]:
            found += _pth_folders(folder, file)
        for file in sorted(folder.glob("__editable__*_finder.py"))[:200]:
            found += _finder_folders(file)
    return found


def _pth_folders(folder: Path, file: Path) -> list[Path]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    texts = [line.strip() for line in lines if line.strip() and not line.startswith(("#", "import ", "import\t"))]
    return [path for path in (folder / text for text in texts) if path.is_dir()]


def _finder_folders(file: Path) -> list[Path]:
    """The folders that setuptools' editable finder maps packages to: its MAPPING and NAMESPACES literals."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return []
    found: list[Path] = []
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            if node.target.id not in ("MAPPING", "NAMESPACES"):
                continue
            try:
                mapping = ast.literal_eval(node.value)
            except ValueError:
                continue
            for value in mapping.values() if isinstance(mapping, dict) else ():
                found += [Path(text) for text in _strings([value] if isinstance(value, str) else value)]
    return [path if path.is_dir() else path.with_suffix(".py") for path in found]


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Without those that lie inside another one, in the order given."""
    unique = list(dict.fromkeys(Path(os.path.normpath(path)) for path in paths))
    return [path for path in unique if not any(other != path and path.is_relative_to(other) for other in unique)]
