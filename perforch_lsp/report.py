"""A suggestion told to a person: one line, or a page of Markdown."""

from __future__ import annotations

from typing import Any

from perforch_lsp.suggestions import Suggestion

TRIED_SHOWN = 6
"""How many attempts one message lists."""


def headline(suggestion: Suggestion) -> str:
    """The suggestion in one line, as a message or a lens shows it."""
    return f"{suggestion.symbol}: {suggestion.title}"


def short_title(suggestion: Suggestion) -> str:
    """The gain alone, without its interval and evidence: "2.3x faster at n = 10,000"."""
    return suggestion.title.split(";")[0].split(" (")[0]


def tried(result: dict[str, Any]) -> str:
    """What was tried, in one sentence, or ""."""
    attempts = result.get("tried") or []
    if not attempts:
        return ""
    words = [f"{a['rule'] or a['model']}: {a['outcome']}" for a in attempts[:TRIED_SHOWN]]
    if len(attempts) > TRIED_SHOWN:
        words.append(f"and {len(attempts) - TRIED_SHOWN} more")
    return f"Tried {'; '.join(words)}."


def outcome(symbol: str, result: dict[str, Any]) -> str:
    """How a job without a suggestion ended: its reason, and what was tried."""
    reason = result["reason"].strip().rstrip(".")
    return " ".join(part for part in (f"{symbol}: {reason}.", tried(result)) if part)


def markdown(suggestion: Suggestion) -> str:
    """The suggestion with its evidence and its diff as a page."""
    result = suggestion.result
    evidence = result["evidence"]
    lines = [f"# {suggestion.symbol}: {suggestion.title}", ""]
    lines += [result["reason"], ""] if result["reason"] else []
    lines += ["## Evidence", "", *(f"- {line}" for line in _evidence(evidence)), ""]
    if evidence.get("by_size"):
        lines += ["| size | times faster | interval |", "|---|---|---|"]
        lines += [
            f"| {r['n']:,} | {r['estimate']:.2f} | {r['low']:.2f} to {r['high']:.2f} |" for r in evidence["by_size"]
        ]
        lines += [""]
    lines += ["## Change", "", "```diff", result["diff"].rstrip("\n"), "```", ""]
    attempts = result.get("tried") or []
    if attempts:
        lines += ["## Tried", ""]
        lines += [f"- {a['model']}{', ' + a['rule'] if a['rule'] else ''}: {a['outcome']}" for a in attempts]
        lines += [""]
    cost = result["cost"]
    lines += [f"Took {cost['seconds']:.1f} s and ${cost['dollars']:.4f}; proposed by {result['model'] or 'nobody'}."]
    return "\n".join(lines) + "\n"


def _evidence(evidence: dict[str, Any]) -> list[str]:
    lines = [f"Word: {evidence['word']}" + (f" (by {', '.join(evidence['oracles'])})" if evidence["oracles"] else "")]
    speedup = evidence["speedup"]
    if speedup:
        at = f" at n = {speedup['at']:,}" if speedup["at"] is not None else ""
        interval = f"{speedup['low']:.2f} to {speedup['high']:.2f}, {speedup['confidence']:.0%} confidence"
        lines.append(f"Time: {speedup['estimate']:.2f}x faster{at} ({interval})")
    memory, growth = evidence["memory"], evidence["growth"]
    if memory:
        lines.append(f"Peak memory: {memory['peak_before']:,} bytes before, {memory['peak_after']:,} after")
    if growth:
        lines.append(f"Growth with size: n^{growth['before']:.2f} before, n^{growth['after']:.2f} after")
    tests = evidence["tests"]
    if tests:
        lines.append(f"Project tests: {tests['passed']} passed, {tests['failed']} failed")
    else:
        lines.append("Project tests: none reach this function")
    if evidence["cases"]:
        lines.append(
            f"Cases compared with the original: {evidence['cases']}, {evidence['held_back']} of them held back"
        )
    strength = evidence["strength"]
    if strength["mutants"]:
        lines.append(f"Strength: {strength['killed']} of {strength['mutants']} small faults would have been noticed")
    if evidence["sandbox"]:
        lines.append(f"Ran in: {evidence['sandbox']}")
    return [*lines, *evidence["notes"], *evidence["evidence_notes"]]
