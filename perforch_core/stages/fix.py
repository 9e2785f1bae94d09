"""Fix: the program with what fails goes in; a candidate comes out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from perforch_core.evidence import Counterexample, TestFailure
from perforch_core.models.interface import Message
from perforch_core.stages.context import tests as tests_of
from perforch_core.stages.prompt import cut, fenced, from_files, messages
from perforch_core.task import Task

SHOWN = 5
"""Failures shown to a model; more of them cost tokens and add little."""

_LONGEST = 1500
_LONGEST_VALUE = 400
_LAST_CALL = "\nlast call: "
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+(?=>)")


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
    root, language = task.target.root, task.target.language
    parts = [f"It does not load:\n\n{fenced(_trace(build_error, root))}"] if build_error else []
    seen: set[str] = set()
    parts += [_example(e, root, seen) for e in examples[:SHOWN]]
    shown = _by_fault(failures)[:SHOWN]
    parts += [_failure(alike, root) for alike in shown]
    more = max(0, len(examples) - SHOWN) + len(failures) - sum(map(len, shown))
    if more:
        parts.append(f"({more} more fail.)")
    sources = tests_of(root, [failure.name for alike in shown for failure in alike])
    values = {
        "failures": "\n\n".join(parts),
        "tests": "\n\n".join(from_files("The failing tests, from `{}`:", sources, language)),
        "passing": _passing(passing, failures),
    }
    return messages(task, values, version=version)


def _example(example: Counterexample, root: Path, seen: set[str]) -> str:
    """A call with what it should give and what it gives; a traceback that was `seen` before is not shown again."""
    call, expected, actual = (cut(text, _LONGEST_VALUE) for text in (example.call, example.expected, example.actual))
    text = f"- `{call}`\n  expected: `{expected}`\n  actual:   `{actual}`"
    trace = _trace(example.traceback, root)
    new = trace not in seen
    seen.add(trace)
    return text + (f"\n\n{fenced(trace)}" if trace and new else "")


def _by_fault(failures: Sequence[TestFailure]) -> list[list[TestFailure]]:
    """Failures that look the same but for the test's parameters and the last call, together."""
    alike: dict[tuple[str, str, str], list[TestFailure]] = {}
    for failure in failures:
        message = failure.message.partition(_LAST_CALL)[0]
        alike.setdefault((_test(failure.name), message, failure.traceback), []).append(failure)
    return list(alike.values())


def _failure(alike: Sequence[TestFailure], root: Path) -> str:
    """The tests' names, where they failed, what was raised, and the last calls of the target."""
    first = alike[0]
    # pytest repeats the message at the end of the traceback, behind "E".
    frames = [line for line in first.traceback.split("\n") if line != "E" and not line.startswith("E  ")]
    lines = [_trace("\n".join(frames), root), cut(_message(first), _LONGEST)]
    calls = [failure.message.partition(_LAST_CALL)[2].strip() for failure in alike[:SHOWN]]
    lines += [f"last call: {cut(call, _LONGEST_VALUE)}" for call in calls if call]
    names = ", ".join(f"`{failure.name}`" for failure in alike[:SHOWN])
    names += f" and {len(alike) - SHOWN} more of its cases" if len(alike) > SHOWN else ""
    return f"- test {names}:\n\n" + fenced("\n".join(filter(None, lines)))


def _message(failure: TestFailure) -> str:
    """What was raised, without pytest's difference of two values where both are told in full before it."""
    message = failure.message.partition(_LAST_CALL)[0].strip()
    said, found, _ = message.partition("Full diff:")
    return _ADDRESS.sub("", said.strip() if found and "..." not in said else message)


def _passing(passing: Sequence[str], failures: Sequence[TestFailure]) -> str:
    """The tests that pass, those left out of which other cases fail: they are shown."""
    failing = {_test(failure.name).rsplit("::", 1)[-1] for failure in failures}
    names = [name for name in dict.fromkeys(map(_test, passing)) if name not in failing]
    return f"These tests pass and must go on passing: {', '.join(names[:12])}." if names else ""


def _test(name: str) -> str:
    """A test's name without its parameters."""
    return name.partition("[")[0]


def _trace(text: str, root: Path) -> str:
    """A traceback with paths as seen from the project and without the marks under its lines, the end if it is long."""
    lines = [line for line in text.split("\n") if not line.strip() or line.strip(" ^~")]
    short = "\n".join(lines).replace(f"{root}/", "").strip()
    return short if len(short) <= 2 * _LONGEST else "[...]\n" + short[-2 * _LONGEST :]
