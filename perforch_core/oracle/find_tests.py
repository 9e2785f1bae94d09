"""Finds a Python project's test files by reading, never by running: pytest's settings, names, what mentions what."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import io
import itertools
import os
import re
import time
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from perforch_core.languages.drivers import perforch_probe
from perforch_core.languages.interface import Project
from perforch_core.languages.python_project import module_name, read_toml
from perforch_core.task import Target, UserError

_PATTERNS = ("test_*.py", "*_test.py")
# pytest's documented default of norecursedirs, and what is never a project's own.
_SKIPPED = ("*.egg", ".*", "_darcs", "build", "CVS", "dist", "node_modules", "venv", "{arch}", "__pycache__")
_MAX_FILES = 20_000
_MAX_BYTES = 1 << 20
_MAX_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the project tells pytest of where its tests are."""

    patterns: tuple[str, ...] = _PATTERNS
    folders: tuple[str, ...] = ()
    skipped: tuple[str, ...] = _SKIPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Test files relative to the root: those that mention the target, most likely first, and all others."""

    likely: tuple[str, ...]
    others: tuple[str, ...]
    looked_for: str


def find(project: Project, target: Target) -> Found:
    """All test files of the project, sorted by how likely they reach the target."""
    settings = pytest_settings(project.root)
    ranked: list[tuple[int, str]] = []
    words = _words(project, target)
    for path in _test_files(project.root, target.path.resolve(), settings):
        ranked.append((_mentions(path, words), path.relative_to(project.root).as_posix()))
    ranked.sort(key=lambda pair: (-pair[0], pair[1]))
    return Found(
        likely=tuple(name for score, name in ranked if score),
        others=tuple(name for score, name in ranked if not score),
        looked_for=", ".join(settings.patterns),
    )


def pytest_settings(root: Path) -> Settings:
    """python_files, testpaths and norecursedirs from the first settings file that pytest would read."""
    for values in _settings_files(root):
        patterns = tuple(_words_of(values.get("python_files")))
        folders = tuple(_words_of(values.get("testpaths")))
        skipped = tuple(_words_of(values.get("norecursedirs")))
        return Settings(
            patterns=tuple(p if "*" in p or p.endswith(".py") else f"{p}*.py" for p in patterns) or _PATTERNS,
            folders=folders,
            skipped=(*skipped, "__pycache__", ".git") if skipped else _SKIPPED,
        )
    return Settings()


def _settings_files(root: Path) -> Iterator[dict[str, object]]:
    for name in ("pytest.toml", ".pytest.toml"):
        if (root / name).is_file():
            yield dict(read_toml(root / name).get("pytest", {}))
    for name, section in (("pytest.ini", "pytest"), (".pytest.ini", "pytest")):
        if (root / name).is_file():
            yield _ini(root / name, section) or {}
    tool = read_toml(root / "pyproject.toml").get("tool", {}).get("pytest", {})
    if isinstance(tool, dict) and tool:
        yield {**tool, **tool.get("ini_options", {})}
    for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        if values := _ini(root / name, section):
            yield values


def _ini(path: Path, section: str) -> dict[str, object] | None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):
        return None
    return dict(parser[section]) if parser.has_section(section) else None


def _words_of(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _test_files(root: Path, target: Path, settings: Settings) -> list[Path]:
    starts = [path for name in settings.folders for path in sorted(root.glob(name.rstrip("/")))] or [root]
    found: dict[Path, None] = {}
    deadline = time.monotonic() + _MAX_SECONDS
    for start in [target.parent, *starts]:
        # Next to the target one level is enough; the walk from the root sees the rest.
        walk = _walk(start, settings.skipped, deadline) if start in starts else iter([start])
        for folder in walk:
            for path in _matching(folder, settings.patterns):
                if path.is_relative_to(root):
                    found[path] = None
            if len(found) > _MAX_FILES or time.monotonic() > deadline:
                return list(found)
        if start.is_file() and start.is_relative_to(root):
            found[start] = None
    return list(found)


def _walk(start: Path, skipped: Sequence[str], deadline: float) -> Iterator[Path]:
    for folder, names, _ in os.walk(start):
        yield Path(folder)
        names[:] = sorted(n for n in names if not any(fnmatch.fnmatch(n, p) for p in skipped))
        names[:] = [n for n in names if not Path(folder, n, "pyvenv.cfg").exists()]
        if time.monotonic() > deadline:
            return


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".py"))
    except OSError:
        return []
    return [folder / name for name in entries if any(fnmatch.fnmatch(name, p.rpartition("/")[2]) for p in patterns)]


def _words(project: Project, target: Target) -> list[tuple[int, re.Pattern[str]]]:
    """What to look for, with its weight: the target's name, its class or outer function, its module."""
    parts = target.symbol.split(".")
    words = [(4, parts[-1])] if not parts[-1].startswith("__") else []
    words += [(2, part) for part in parts[:-1]]
    try:
        module = module_name(project, target.path)
    except UserError:
        module = target.path.stem
    words.append((1, module.rpartition(".")[2]))
    return [(weight, re.compile(rf"\b{re.escape(word)}\b")) for weight, word in words]


def _mentions(path: Path, words: Sequence[tuple[int, re.Pattern[str]]]) -> int:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return 0
    return sum(weight for weight, word in words if word.search(text))


# --- the target in its text ---------------------------------------------------------------------------------------


def source_bytes(text: str) -> bytes:
    """The text in the encoding that its own coding line names; UTF-8 where there is none."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(text.encode("utf-8", "surrogatepass")).readline)
        return text.encode(encoding)
    except (SyntaxError, UnicodeError, LookupError):
        return text.encode("utf-8", "surrogatepass")


def ordinal(target: Target) -> int:
    """Which of the definitions of its symbol the target is: a getter and its setter share one name."""
    try:
        found = perforch_probe.definitions(ast.parse(target.text), target.symbol)
    except (SyntaxError, ValueError, RecursionError):
        return 0
    first = target.text.count("\n", 0, target.start) + 1
    last = target.text.count("\n", 0, target.end) + 1
    return next((i for i, (node, _) in enumerate(found) if first <= node.lineno <= last), 0)


def canary_text(target: Target) -> str:
    """The target's file with a body that raises what no `except Exception` swallows.

    In a file that does not parse the whole target gives way to a function that does just that.
    """
    try:
        found = perforch_probe.definitions(ast.parse(target.text), target.symbol)
    except (SyntaxError, ValueError, RecursionError):
        found = []
    if not found:
        return stub_text(target)
    node = found[min(ordinal(target), len(found) - 1)][0]
    start = _offset(target.text, node.body[0].lineno, node.body[0].col_offset)
    end_line, end_column = node.body[-1].end_lineno, node.body[-1].end_col_offset
    end = _offset(target.text, end_line or 1, end_column or 0)
    abort = f"{_ABORT}; yield" if _is_generator(node) else _ABORT  # still one: aborts when it is run, not when called
    return target.text[:start] + abort + target.text[end:]


_ABORT = 'raise type("PerfOrchCanary", (BaseException,), {})("the canary\'s body aborts")'


def _is_generator(function: ast.AST) -> bool:
    pending = list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))
    return False


def stub_text(target: Target) -> str:
    """The target's file with an aborting function of the same name in place of the target, decorators and all."""
    text = target.text
    line = text.rfind("\n", 0, target.start) + 1
    indent = re.match(r"[ \t]*", text[line:])
    prefix = indent[0] if indent and target.start - line <= len(indent[0]) else ""
    after = "" if text[target.end : target.end + 1] in ("\n", "\r", "") else "\n"
    stub = f"def {target.symbol.rpartition('.')[2]}(*args, **kwargs):\n{prefix}    {_ABORT}"
    kept = "" if target.start > line else prefix  # whether the span takes the indentation along
    return text[: target.start] + kept + stub + after + text[target.end :]


def _offset(text: str, line: int, column: int) -> int:
    """Code points before a position that `ast` gives as line and UTF-8 bytes."""
    ends = (match.end() for match in re.finditer(r"\r\n|\r|\n", text))
    at = next(itertools.islice(ends, line - 2, None)) if line > 1 else 0
    return at + len(text[at : at + column].encode()[:column].decode(errors="ignore"))
