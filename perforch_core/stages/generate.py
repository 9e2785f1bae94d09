"""Generate: the specification, the signature and confirmed examples go in; a candidate comes out."""

from __future__ import annotations

from collections.abc import Sequence

from perforch_core.models.interface import Message
from perforch_core.stages.prompt import messages
from perforch_core.task import Task


def generate_messages(task: Task, *, examples: Sequence[str], version: str) -> tuple[Message, ...]:
    """The chat that asks for the target's body. `examples` are lines such as "f([1]) == 2" beyond the documentation's."""
    listed = "\n".join(f"- {line}" for line in examples)
    parts = {"examples": f"\nIt must satisfy:\n{listed}\n" if listed else ""}
    return messages(task, task.target.code, parts, version=version)
