"""Refine: the program with what was measured of it goes in; a candidate comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perforch_core.models.interface import Message
from perforch_core.stages.prompt import cut, messages
from perforch_core.task import Objective, Task

GOALS = {
    Objective.TIME: "run faster",
    Objective.CPU: "use less CPU time",
    Objective.PEAK_MEMORY: "use less memory at its peak",
    Objective.MEAN_MEMORY: "use less memory",
}
HOT_LINES = 5
LONGEST_CALL = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of the original: seconds per call by input size, hot lines, the slowest input in words."""

    by_size: tuple[tuple[int, float], ...] = ()
    exponent: float | None = None
    hot_lines: Mapping[int, float] | None = None
    slowest: str = ""


def refine_messages(task: Task, measured: Measured, *, tried: Sequence[str], version: str) -> tuple[Message, ...]:
    """The chat that asks for a better target. `tried` are lines on what did not help."""
    # The exponent is not told: the times say the same, and between two noisy ones it may be far off.
    lines = [f"- at input size {n}: {_seconds(t)} per call" for n, t in measured.by_size]
    lines += _hot_lines(task, measured.hot_lines or {})
    if measured.slowest:
        call = cut(f"{task.target.symbol}{measured.slowest}", LONGEST_CALL)
        lines.append(f"- the slowest input measured, shortened: `{call}`")
    known = "\n".join(f"- {line}" for line in tried)
    parts = {
        "goal": GOALS[task.objective],
        "measured": "\n".join(lines) or "- nothing: judge by reading",
        "tried": f"\nAlready tried:\n{known}\n" if known else "",
    }
    return messages(task, parts, version=version)


def _hot_lines(task: Task, shares: Mapping[int, float]) -> list[str]:
    target = task.target
    source = target.text.split("\n")
    first = target.text.count("\n", 0, target.start) + 1
    own = [line.strip() for line in source[first - 1 : first + target.code.count("\n")]]
    told = []
    for number, share in sorted(shares.items(), key=lambda item: -item[1])[:HOT_LINES]:
        text = source[number - 1].strip() if 0 < number <= len(source) else ""
        if share >= 0.05 and text:
            which = f" (line {number - first + 1} of the function)" if own.count(text) > 1 else ""
            told.append(f"- {share:.0%} of the time in `{text}`{which}")
    return told


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"
