"""What a task ends in: a suggestion, or an honest no, with what was tried."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from perforch_core.evidence import Evidence, evidence_json
from perforch_core.task import Stage, Target, Usage


class Status(StrEnum):
    """How a task ended."""

    SUGGESTED = "suggested"
    UNCHANGED = "unchanged"
    UNPROVEN = "unproven"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Replace `old` (code points `start` to `end` of the file's text) by `new`. Kept minimal, whole lines."""

    path: Path
    start: int
    end: int
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One thing tried: which model or rule, and how it ended in a few words ("2.3x faster", "fails test_x")."""

    model: str
    outcome: str
    rule: str | None = None
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer of one task. `text` is the whole file after the edit; `reason` is one plain sentence."""

    id: str
    stage: Stage
    target: Target
    status: Status
    reason: str
    title: str = ""
    model: str | None = None
    text: str | None = None
    edits: tuple[Edit, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    tried: tuple[Attempt, ...] = ()
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    @property
    def diff(self) -> str:
        """A unified diff of the file, or "" where nothing changes."""
        return unified_diff(self.target, self.text) if self.text is not None else ""


def unified_diff(target: Target, after: str) -> str:
    """The change of `target`'s file to `after` as a unified diff with paths relative to the project root."""
    path = target.path
    name = str(path.relative_to(target.root)) if path.is_relative_to(target.root) else path.name
    before_lines, after_lines = target.text.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = difflib.unified_diff(before_lines, after_lines, f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def minimal_edits(path: Path, before: str, after: str) -> tuple[Edit, ...]:
    """The whole-line replacements that turn `before` into `after`, in ascending order."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    offsets = [0]
    for line in old:
        offsets.append(offsets[-1] + len(line))
    blocks = difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()
    return tuple(
        Edit(path=path, start=offsets[i1], end=offsets[i2], old="".join(old[i1:i2]), new="".join(new[j1:j2]))
        for tag, i1, i2, j1, j2 in blocks
        if tag != "equal"
    )


def result_json(result: Result) -> dict[str, Any]:
    """The object that `--json` prints for generate, fix and optimize (schema 1)."""
    return {
        "schema": 1,
        "status": result.status.value,
        "id": result.id,
        "stage": result.stage.value,
        "language": result.target.language,
        "symbol": result.target.symbol,
        "path": str(result.target.path),
        "title": result.title,
        "model": result.model,
        "diff": result.diff,
        "edit": [
            {"path": str(e.path), "start": e.start, "end": e.end, "old": e.old, "new": e.new} for e in result.edits
        ],
        "evidence": evidence_json(result.evidence),
        "tried": [{"model": a.model, "rule": a.rule, "outcome": a.outcome} for a in result.tried],
        "cost": {
            "tokens_in": result.usage.tokens_in,
            "tokens_out": result.usage.tokens_out,
            "dollars": round(result.usage.cost, 6),
            "seconds": round(result.seconds, 3),
        },
        "reason": result.reason,
    }


def title_of(stage: Stage, evidence: Evidence) -> str:
    """One line that says what was established and no more, e.g.

    "2.3x faster at n = 10,000 (2.2-2.4); 14 tests, 200 cases, 18 of 20 mutants killed"
    """
    comparison = evidence.comparison
    parts = []
    if stage is Stage.REFINE and comparison is not None and comparison.speedup is not None:
        speedup = comparison.speedup
        at = f" at n = {speedup.n:,}" if speedup.n is not None else ""
        parts.append(f"{times(speedup.estimate)} faster{at} ({times(speedup.low)[:-1]}-{times(speedup.high)[:-1]})")
    elif stage is not Stage.REFINE:
        done = "fixed" if stage is Stage.FIX else "written"
        parts.append(f"{done}, {evidence.word}")
    counted = []
    if evidence.tests is not None and evidence.tests.passed:
        counted.append(_count(evidence.tests.passed, "test"))
    if evidence.cases:
        counted.append(_count(evidence.cases, "case"))
    if evidence.strength.mutants:
        counted.append(f"{evidence.strength.killed} of {evidence.strength.mutants} mutants killed")
    if counted:
        parts.append(", ".join(counted))
    return "; ".join(parts)


def times(ratio: float) -> str:
    """A ratio in as many digits as it deserves: 1.08x, 2.3x, 41x, 1,200x."""
    if ratio < 2:
        return f"{ratio:.2f}x"
    if ratio < 20:
        return f"{ratio:.1f}x"
    return f"{float(f'{ratio:.2g}'):,.0f}x"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
