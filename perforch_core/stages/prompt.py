"""Prompts are files beside this one; here they are filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from string import Template

from perforch_core.models.interface import Message
from perforch_core.stages.context import Piece, imported, rest_of_file
from perforch_core.stages.splice_answer import inside_strings, parsed
from perforch_core.task import Target, Task

LANGUAGE_NAMES = {"python": "Python"}

_FENCE = re.compile(r" {0,3}(`{3,})")


@cache
def _template(name: str) -> Template:
    return Template(resources.files("perforch_core.stages").joinpath("prompts", f"{name}.md").read_text("utf-8"))


def messages(task: Task, parts: Mapping[str, str], *, version: str) -> tuple[Message, ...]:
    """The chat for one stage: the target with what surrounds it, and `parts`, which the stage adds to its template."""
    target = task.target
    language = LANGUAGE_NAMES.get(target.language, target.language)
    common = {
        "symbol": target.symbol,
        "name": target.symbol.rsplit(".", 1)[-1],
        "language_name": language,
        "language_version": version,
        "code": fenced(at_margin(target), target.language),
        "specification": task.specification.strip(),
        "context": surroundings(target),
    }
    user = _template(task.stage.value).substitute({**common, **parts})
    return (
        Message("system", _template("system").substitute(common).strip()),
        Message("user", _tidy(user)),
    )


def fenced(text: str, language: str = "") -> str:
    """`text` in a fence that is longer than any row of backticks in it."""
    longest = max((len(row) for row in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def cut(text: str, limit: int) -> str:
    """A text of any length with its middle left out where it is longer than about `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit * 2 // 3]} [...] {text[-limit // 3 :]}"


def at_margin(target: Target) -> str:
    """The target's code with "\n" line ends, a method moved to the margin. The insides of strings stay as they are."""
    line_start = max(target.text.rfind("\n", 0, target.start), target.text.rfind("\r", 0, target.start)) + 1
    indent = target.text[line_start : target.start].lstrip("\ufeff")
    code = target.code.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    if not indent or indent.strip():
        return code.lstrip()
    source = f"if 1:\n{indent}{code.lstrip()}"
    tree = parsed(source)
    kept = set() if tree is None else inside_strings(source, tree)
    lines = enumerate(code.lstrip().split("\n"), 2)
    return "\n".join(line if number in kept else line.removeprefix(indent) for number, line in lines)


def surroundings(target: Target) -> str:
    """The rest of the target's file, and what it uses of other files of the project."""
    parts = []
    rest = rest_of_file(target)
    if rest:
        parts.append(f"The rest of `{target.path.name}`, which stays as it is:\n\n{fenced(rest, target.language)}")
    parts += from_files("What it uses of `{}`:", imported(target), target.language)
    return "\n\n".join(parts)


def from_files(says: str, pieces: Iterable[Piece], language: str) -> list[str]:
    """Code from other files, each under a line that `says` what it is, with {} for the path."""
    return [f"{says.format(piece.path)}\n\n{fenced(piece.code, language)}" for piece in pieces]


def _tidy(text: str) -> str:
    """At most one empty line in a row outside of fences: parts of a template may be empty. Code stays as it is."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            closes = mark is not None and len(mark[1]) >= len(fence) and not line.strip(" `")
            fence = "" if closes else fence
            lines.append(line)
        elif line.strip() or (lines and lines[-1].strip()):
            fence = mark[1] if mark else ""
            lines.append(line.rstrip())
    return "\n".join(lines).strip()
