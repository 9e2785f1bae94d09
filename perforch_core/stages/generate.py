"""Generate: the specification, the signature, confirmed examples and the tests go in; a candidate comes out."""

from __future__ import annotations

from collections.abc import Sequence

from perforch_core.models.interface import Message
from perforch_core.stages.context import tests as tests_of
from perforch_core.stages.prompt import from_files, messages
from perforch_core.task import Task


def generate_messages(
    task: Task, *, examples: Sequence[str], version: str, tests: Sequence[str] = ()
) -> tuple[Message, ...]:
    """The chat that asks for the target's body.

    `examples` are lines such as "f([1]) == 2" beyond the documentation's, `tests` the names of tests that reach the
    target, as they are known to the test plan; their source is shown.
    """
    listed = "\n".join(f"- {line}" for line in examples)
    shown = from_files("Tests that it must pass, from `{}`:", tests_of(task.target.root, tests), task.target.language)
    parts = {
        "examples": f"It must satisfy:\n{listed}" if listed else "",
        "tests": "\n\n".join(shown),
    }
    return messages(task, parts, version=version)
