"""Fix: the program with what fails goes in; a candidate comes out."""

from __future__ import annotations

from collections.abc import Sequence

from perforch_core.evidence import Counterexample, TestFailure
from perforch_core.models.interface import Message
from perforch_core.stages.prompt import messages
from perforch_core.task import Task

SHOWN = 5
"""Failures shown to a model; more of them cost tokens and add little."""


def fix_messages(
    task: Task,
    code: str,
    *,
    failures: Sequence[TestFailure],
    examples: Sequence[Counterexample],
    passing: Sequence[str],
    build_error: str,
    version: str,
) -> tuple[Message, ...]:
    """The chat that asks to mend `code`: the failing inputs with expected and actual, tracebacks, compiler text."""
    parts = []
    if build_error:
        parts.append(f"It does not load:\n\n```\n{build_error.strip()}\n```")
    parts += [_example(e) for e in examples[:SHOWN]]
    parts += [_failure(f) for f in failures[:SHOWN]]
    more = len(failures) + len(examples) - 2 * SHOWN
    if more > 0:
        parts.append(f"({more} more fail.)")
    kept = f"\nThese tests pass and must go on passing: {', '.join(passing[:12])}.\n" if passing else ""
    return messages(task, code, {"failures": "\n\n".join(parts), "passing": kept}, version=version)


def _example(example: Counterexample) -> str:
    text = f"- `{example.call}`\n  expected: `{example.expected}`\n  actual:   `{example.actual}`"
    return text + (f"\n\n```\n{example.traceback.strip()}\n```" if example.traceback.strip() else "")


def _failure(failure: TestFailure) -> str:
    text = f"- test `{failure.name}`: {failure.message.strip()}"
    return text + (f"\n\n```\n{failure.traceback.strip()[-2500:]}\n```" if failure.traceback.strip() else "")
