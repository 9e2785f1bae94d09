"""Fix: the program with what fails goes in; a candidate comes out."""

from __future__ import annotations

from collections.abc import Sequence

from perforch_core.evidence import Counterexample, TestFailure
from perforch_core.models.interface import Message
from perforch_core.stages.context import tests as tests_of
from perforch_core.stages.prompt import fenced, from_files, messages
from perforch_core.task import Task

SHOWN = 5
"""Failures shown to a model; more of them cost tokens and add little."""

_LONGEST = 1500
_LONGEST_VALUE = 400


def fix_messages(
    task: Task,
    *,
    failures: Sequence[TestFailure],
    examples: Sequence[Counterexample],
    passing: Sequence[str],
    build_error: str,
    version: str,
) -> tuple[Message, ...]:
    """The chat that asks to mend the target: failing inputs with expected and actual, failing tests, compiler text."""
    language = task.target.language
    parts = [f"It does not load:\n\n{fenced(_cut(build_error.strip(), 2 * _LONGEST))}"] if build_error else []
    parts += [_example(e) for e in examples[:SHOWN]]
    parts += [_failure(f) for f in failures[:SHOWN]]
    more = max(0, len(examples) - SHOWN) + max(0, len(failures) - SHOWN)
    if more:
        parts.append(f"({more} more fail.)")
    sources = tests_of(task.target.root, [f.name for f in failures[:SHOWN]])
    shown = from_files("The failing tests, from `{}`:", sources, language)
    kept = f"These tests pass and must go on passing: {', '.join(passing[:12])}." if passing else ""
    values = {"failures": "\n\n".join(parts), "tests": "\n\n".join(shown), "passing": kept}
    return messages(task, values, version=version)


def _example(example: Counterexample) -> str:
    call, expected, actual = (_cut(text, _LONGEST_VALUE) for text in (example.call, example.expected, example.actual))
    text = f"- `{call}`\n  expected: `{expected}`\n  actual:   `{actual}`"
    trace = example.traceback.strip()
    return text + (f"\n\n{fenced(_cut(trace, _LONGEST))}" if trace else "")


def _failure(failure: TestFailure) -> str:
    """The test's name, where it failed, what was raised, and the last call of the target."""
    # pytest repeats the message at the end of the traceback, behind "E".
    frames = [line for line in failure.traceback.strip().split("\n") if line != "E" and not line.startswith("E  ")]
    message, found, last = failure.message.strip().partition("\nlast call: ")
    shown = ["\n".join(frames).strip(), _cut(message, _LONGEST)]
    if found:
        shown.append(f"last call: {_cut(last, _LONGEST_VALUE)}")
    text = "\n".join(filter(None, shown))
    return f"- test `{failure.name}`:\n\n{fenced(_tail(text, 2 * _LONGEST))}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit * 2 // 3]} [...] {text[-limit // 3 :]}"


def _tail(text: str, limit: int) -> str:
    return text if len(text) <= limit else "[...]\n" + text[-limit:]
