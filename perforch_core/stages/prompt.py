"""Prompts are files beside this one; here they are filled in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from string import Template

from perforch_core.models.interface import Message
from perforch_core.task import Task

WHOLE_FILE = 6000
"""Files up to this many characters are shown whole; of larger ones the parts that the target names."""

LANGUAGE_NAMES = {"python": "Python"}


@cache
def _template(name: str) -> Template:
    return Template(resources.files("perforch_core.stages").joinpath("prompts", f"{name}.md").read_text("utf-8"))


def messages(task: Task, code: str, parts: Mapping[str, str], *, version: str) -> tuple[Message, ...]:
    """The chat for one stage: `code` is the function as the model should see it, `parts` what the stage adds."""
    target = task.target
    language = LANGUAGE_NAMES.get(target.language, target.language)
    common = {
        "symbol": target.symbol,
        "name": target.symbol.rsplit(".", 1)[-1],
        "language_name": language,
        "language_version": version,
        "fence": target.language,
        "code": code.rstrip(),
        "specification": f"\n{task.specification.strip()}\n" if task.specification.strip() else "",
        "context": surroundings(task),
    }
    user = _template(task.stage.value).substitute({**common, **parts})
    return (
        Message("system", _template("system").substitute(common).strip()),
        Message("user", _tidy(user)),
    )


def _tidy(text: str) -> str:
    """At most one empty line in a row, outside of code as inside: models do not mind, tokens cost."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() or (lines and lines[-1].strip()):
            lines.append(line.rstrip())
    return "\n".join(lines).strip()


def surroundings(task: Task) -> str:
    """The rest of the target's file, for context: whole where small, else its imports and module-level names."""
    target = task.target
    rest = target.text[: target.start] + "# (the function above stands here)" + target.text[target.end :]
    if not (target.text[: target.start] + target.text[target.end :]).strip():
        return ""
    if len(rest) > WHOLE_FILE:
        rest = _outline(rest)
    return f"\nThe rest of the file, which stays as it is:\n\n```{target.language}\n{rest.strip()}\n```\n"


def _outline(rest: str) -> str:
    """Lines that define names at module or class level, imports included, within the size for context."""
    wanted = ("import ", "from ", "def ", "class ", "@", "async def ")
    kept = []
    for line in rest.splitlines():
        bare = line.lstrip()
        level = len(line) - len(bare)
        if level <= 4 and (bare.startswith(wanted) or (level == 0 and "=" in bare) or "stands here" in bare):
            kept.append(line)
    return "\n".join(kept)[:WHOLE_FILE]
