"""The code in a model's answer."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass

_NAMES = {
    "python": ("python", "py", "python3", "py3"),
    "go": ("go", "golang"),
    "rust": ("rust", "rs"),
    "java": ("java",),
    "cpp": ("cpp", "c++", "cc", "cxx", "c"),
}
"""What a fence may call each language."""

_NO_NAME = ("", "text", "txt", "code", "plaintext")

_FENCE = re.compile(r"^(?P<indent>[ \t]*(?:[-*+>]\s+|\d+[.)]\s+)?)(?P<mark>`{3,}|~{3,})(?P<info>[^`]*)$")
_LATE_FENCE = re.compile(r"[^`]+(?P<mark>`{3,})(?P<info>[\w+#-]+)[ \t]*$")
_THINKING = re.compile(r"^\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)
_THOUGHT = re.compile(r"</(think|thinking|thought|reasoning)>", re.IGNORECASE)
_OLD = re.compile(r"\b(original|before|old|current|your|existing|buggy|slow|usage|example|tests?)\b", re.IGNORECASE)
_NEW = re.compile(
    r"\b(optimi[sz]ed|improved|faster|fixed|corrected|new|rewritten|final|after|better|solution)\b", re.IGNORECASE
)
_START = {
    "python": re.compile(r"(async\s+def|def|class|import|from|@)\b|@\w"),
    "go": re.compile(r"(func|package|import|type)\b"),
    "rust": re.compile(r"(pub|fn|use|impl|struct|unsafe)\b|#\["),
    "java": re.compile(r"(public|private|protected|static|class|import|final)\b|@\w"),
    "cpp": re.compile(r"#include|template\b|(?:[\w:<>,&*]+\s+)+[\w:]+\s*\("),
}

_MOST_LINES = 5000
_LONGEST_LINE = 2000


@dataclass(slots=True)
class _Block:
    code: str
    info: str
    before: str
    closed: bool
    place: int


def code_blocks(text: str, language: str, *, symbol: str = "") -> list[str]:
    """The pieces of code in `language` that an answer offers, best first; [] for a refusal or an empty answer.

    A block that defines `symbol` (a dotted path; "" for any function) goes before one that does not, one announced
    as the new version before one announced as the old, one that parses before one that does not. A block whose
    fence was never closed is cut back to its last whole statement. Line ends in the result are "\\n".
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    blocks = _fenced("\n".join(text.split("\n")[:_MOST_LINES]))
    if not blocks.found:
        code = _unfenced(blocks.prose, language)
        return [code] if code else []
    wanted = [block for block in blocks.found if _first_word(block.info) in _NAMES.get(language, (language,))]
    nameless = [block for block in blocks.found if _first_word(block.info) in _NO_NAME]
    usable = wanted + [block for block in nameless if not wanted or _defines(block.code, language, symbol)]
    for block in usable:
        if not block.closed:
            block.code = _whole_statements(block.code, language, symbol)
    name = symbol.rsplit(".", 1)[-1]
    usable = [block for block in usable if block.code.strip()]
    usable.sort(key=lambda block: _rank(block, language, name))
    return list(dict.fromkeys(block.code for block in usable))


@dataclass(slots=True)
class _Parts:
    found: list[_Block]
    prose: str


def _fenced(text: str) -> _Parts:
    """The fenced blocks outside thinking (CommonMark's rules, with the fence also after a list mark or prose)."""
    found: list[_Block] = []
    prose: list[str] = []
    lines = text.split("\n")
    place = 0
    thinking = False
    while place < len(lines):
        line = lines[place]
        place += 1
        if thinking or _THINKING.match(line):
            ended = _THOUGHT.search(line)
            thinking = ended is None
            if ended is None:
                continue
            line = line[ended.end() :]
        elif line.strip().lower() in ("</think>", "</thinking>"):  # some servers swallow the opening mark
            found.clear()
            prose.clear()
            continue
        opening = _FENCE.match(line) or (_LATE_FENCE.match(line) if len(line) < _LONGEST_LINE else None)
        if opening is None:
            prose.append(line)
            continue
        inner, place, closed, thought = _until_closed(lines, place, opening)
        if thought:
            found.clear()
            prose.clear()
            continue
        before = next((said for said in reversed(prose) if said.strip()), "")
        found.append(_Block("\n".join(inner).strip("\n"), opening["info"], before, closed, len(found)))
        prose.append("")
    return _Parts(found, "\n".join(prose))


def _until_closed(lines: list[str], place: int, opening: re.Match[str]) -> tuple[list[str], int, bool, bool]:
    """The lines of a block, the place after it, whether it was closed, whether it turned out to be thinking."""
    mark = opening["mark"]
    indent = len((opening.groupdict().get("indent") or "").expandtabs(4))
    inner: list[str] = []
    while place < len(lines):
        line = lines[place]
        place += 1
        stripped = line.strip()
        if stripped.lower() in ("</think>", "</thinking>"):
            return [], place, False, True
        inset = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        if stripped and set(stripped) == {mark[0]} and len(stripped) >= len(mark) and inset < indent + 4:
            return inner, place, True, False
        inner.append(_unindented(line, indent))
    return inner, place, False, False


def _unindented(line: str, indent: int) -> str:
    """`line` without up to `indent` columns of white space: a fence inside a list is indented with its content."""
    taken = 0
    while taken < indent and line[:1] in (" ", "\t"):
        taken += 4 if line[0] == "\t" else 1
        line = line[1:]
    return line


def _first_word(info: str) -> str:
    words = re.split(r"[\s{:,]", info.strip().lower().lstrip("{."), maxsplit=1)
    return words[0].rstrip("}")


def _rank(block: _Block, language: str, name: str) -> tuple[bool, bool, bool, bool, int]:
    """Sorts the best block first."""
    old = bool(_OLD.search(block.before)) and not _NEW.search(block.before)
    return (
        not _defines(block.code, language, name),
        old,
        not _parses(block.code, language),
        _first_word(block.info) in _NO_NAME,
        block.place,
    )


def _defines(code: str, language: str, symbol: str) -> bool:
    """The code defines a function of that name ("" for any)."""
    name = re.escape(symbol.rsplit(".", 1)[-1]) if symbol else r"\w+"
    pattern = {
        "python": rf"^[ \t]*(async[ \t]+)?def[ \t]+{name}\b|^[ \t]*{name}[ \t]*(:[^=\n]+)?=[ \t]*lambda\b",
        "go": rf"\bfunc\s+(\([^)]*\)\s*)?{name}\b",
        "rust": rf"\bfn\s+{name}\b",
    }.get(language, rf"\b{name}\s*\(")
    return re.search(pattern, code, re.MULTILINE) is not None


def _parses(code: str, language: str) -> bool:
    return language != "python" or _tree(textwrap.dedent(code)) is not None


def _tree(code: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _whole_statements(code: str, language: str, symbol: str) -> str:
    """Python cut off in the middle, back to its last whole top-level statements, if these define the function."""
    if language != "python" or _parses(code, language):
        return code
    lines = textwrap.dedent(code).split("\n")
    starts = [number for number, line in enumerate(lines) if line[:1] not in ("", " ", "\t", ")", "]", "}", "#")]
    for number in reversed(starts[-20:]):
        short = "\n".join(lines[:number]).rstrip()
        tree = _tree(short)
        if tree is not None:
            return short if _defines(short, language, symbol) else ""
    return ""


def _unfenced(prose: str, language: str) -> str:
    """Code without any fence around it, with or without prose before and after."""
    if language == "python":
        return _bare_python(prose)
    start = _START.get(language)
    lines = prose.split("\n")
    first = next((n for n, line in enumerate(lines) if start and start.match(line.strip())), None)
    last = next((n for n in range(len(lines) - 1, -1, -1) if lines[n].rstrip().endswith(("}", "};"))), None)
    if first is None or last is None or last < first:
        return ""
    return "\n".join(lines[first : last + 1])


def _bare_python(prose: str) -> str:
    whole = textwrap.dedent(prose).strip("\n")
    tree = _tree(whole)
    if tree is not None and _does_something(tree):
        return whole
    lines = whole.split("\n")
    firsts = [n for n, line in enumerate(lines) if _START["python"].match(line.strip())]
    for first in firsts[:5]:
        indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
        ends = [n for n in range(len(lines), first, -1) if lines[n - 1].strip()]
        for last in ends[:200]:
            chunk = "\n".join(lines[first:last])
            tree = _tree(textwrap.dedent(chunk) if indent else chunk)
            if tree is not None and any(
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree)
            ):
                return textwrap.dedent(chunk)
    return ""


def _does_something(tree: ast.Module) -> bool:
    """Code, not a word of prose that happens to parse ("Sorry")."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Return, ast.Assign, ast.AugAssign, ast.For)
    return any(isinstance(node, kinds) for node in ast.walk(tree))
