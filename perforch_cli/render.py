"""What a person sees: progress on stderr while a task runs, the diff and the evidence on stdout at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perforch_core.evidence import Comparison, Evidence, Ratio, Verdict
from perforch_core.suggestion import Result, Status, times
from perforch_core.task import Event, Target

Report = Callable[[Event], None]

SHOWN_NAMES = 6
WIDE = 160


class Progress:
    """Prints a task's events on stderr as they come; on a terminal a spinner says what is going on."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.status = self.console.status("starting", spinner="dots")
        self.started = time.monotonic()

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.status.stop()

    def report(self, event: Event) -> None:
        """One event: stages and attempts get a line, finer progress only moves the spinner."""
        if event.kind == "progress":
            self.status.update(event.text)
            return
        if event.kind == "stage":
            self.status.update(event.text)
        seconds = time.monotonic() - self.started
        line = Text(f"{seconds:5.1f}s  ", style="dim")
        mark, style = _mark(event)
        line.append(mark, style=style)
        line.append(event.text, style="bold" if event.kind == "stage" else "")
        self.console.print(line)


def _mark(event: Event) -> tuple[str, str]:
    if event.kind == "attempt":
        return ("  + ", "green") if event.data.get("ok") else ("  - ", "red")
    if event.kind == "warning":
        return "! ", "yellow"
    return ("", "") if event.kind == "stage" else ("    ", "")


def answer_console() -> Console:
    """Stdout; where that is no terminal, wide enough that lines stay whole for whatever reads them."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=WIDE)


def show(result: Result, *, applied: bool = False) -> None:
    """The answer of one task on stdout."""
    console = answer_console()
    style = {"suggested": "bold green", "unproven": "bold yellow"}.get(result.status.value, "bold")
    console.print(Text(result.title or result.reason, style=style))
    if result.title and result.reason and result.reason != result.title:
        console.print(Text(result.reason), soft_wrap=False)
    if result.diff:
        console.print()
        console.print(_diff(result.diff))
    if result.status in (Status.SUGGESTED, Status.UNPROVEN):
        console.print()
        console.print(evidence_table(result.evidence))
    if result.tried:
        console.print()
        console.print(_tried_table(result))
    console.print()
    console.print(_next_step(result, applied=applied))


def _diff(diff: str) -> Text:
    """The lines of a unified diff in the usual colours."""
    styles = {"+": "green", "-": "red", "@": "cyan"}
    text = Text()
    for line in diff.splitlines():
        head = line.startswith(("+++", "---"))
        text.append(line + "\n", style="bold" if head else styles.get(line[:1], ""))
    text.rstrip()
    return text


def _tried_table(result: Result) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("Tried", style="bold"))
    for attempt in result.tried:
        name = f"{attempt.model}: {attempt.rule}" if attempt.rule else attempt.model
        table.add_row(Text(f"  {name}"), Text(attempt.outcome))
    return table


def _next_step(result: Result, *, applied: bool) -> Text:
    spent = f"{result.seconds:.1f} s"
    if result.usage.tokens_out or result.usage.cost:
        tokens = result.usage.tokens_in + result.usage.tokens_out
        spent += f", {tokens:,} tokens, ${result.usage.cost:.4f}"
    if applied:
        return Text(f"Applied to {result.target.path.name}. ({spent})", style="bold")
    if result.status is Status.SUGGESTED:
        return Text(f"Nothing was changed yet; --apply writes it. ({spent})")
    if result.status is Status.UNPROVEN:
        return Text(
            f"Nothing was changed: confirm the examples that are right with --example, and run again. ({spent})"
        )
    return Text(f"Nothing was changed. ({spent})")


def evidence_table(evidence: Evidence) -> Table:
    """Everything established, a line each."""
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("Evidence", style="bold"), Text(evidence.word, style="bold"))
    for name, lines in _evidence_lines(evidence):
        for number, line in enumerate(lines):
            table.add_row(Text(f"  {name}" if number == 0 else ""), Text(line))
    return table


def _evidence_lines(evidence: Evidence) -> list[tuple[str, list[str]]]:
    rows: list[tuple[str, list[str]]] = []
    tests = evidence.tests
    if tests is not None:
        names = [name.rsplit("::", 1)[-1] for name in tests.names]
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        listed = f": {', '.join(names[:SHOWN_NAMES])}{more}" if names else ""
        rows.append(("tests", [f"{tests.passed} passed, {tests.failed} failed{listed}"]))
    if evidence.cases:
        held = f", {evidence.held_back} of them held back to the end" if evidence.held_back else ""
        compared = "the original's behaviour" in evidence.oracles or evidence.counterexample
        found = "one differs" if evidence.counterexample else f"no difference{held}"
        text = f"{evidence.cases} compared, {found}; {evidence.normal_returns} returned normally"
        rows.append(("cases", [text]) if compared else ("examples", [f"{evidence.cases} documented, all hold"]))
    rows.append(("strength", _strength_lines(evidence)))
    if evidence.comparison is not None:
        rows += comparison_lines(evidence.comparison)
    if evidence.sandbox:
        rows.append(("sandbox", [evidence.sandbox]))
    if evidence.notes:
        rows.append(("notes", list(evidence.notes)))
    return rows


def _strength_lines(evidence: Evidence) -> list[str]:
    strength = evidence.strength
    lines = []
    if strength.canary is not None:
        lines.append(
            "the tests fail on a body that aborts, so they do run it"
            if strength.canary
            else "the tests pass on a body that aborts: they are no evidence"
        )
    if strength.mutants:
        lines.append(f"{strength.killed} of {strength.mutants} mutants killed")
        lines += [f"survived: {text}" for text in strength.survivors[:3]]
    return lines or ["not measured"]


def comparison_lines(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Speed by size, growth, memory and notes, as (name, lines)."""
    rows: list[tuple[str, list[str]]] = []
    speed = []
    if comparison.speedup is not None:
        spread = f"({comparison.speedup.confidence:.0%} interval, {comparison.rounds} rounds)"
        line = f"{ratio_words(comparison.speedup)} {spread}"
        if comparison.seconds_before and comparison.seconds_after:
            line += (
                f": {seconds_words(comparison.seconds_before)} -> {seconds_words(comparison.seconds_after)} per call"
            )
        speed.append(line)
    speed += [
        f"{times(r.estimate):>7} ({times(r.low)[:-1]}-{times(r.high)[:-1]}) at n = {r.n:,}{_kind(r)}"
        for r in comparison.by_size
        if r.n is not None
    ]
    if speed:
        rows.append(("speed", speed))
    if comparison.growth is not None:
        rows.append(("growth", [f"time grows as n^{comparison.growth.before:.1f} -> n^{comparison.growth.after:.1f}"]))
    if comparison.memory is not None:
        before, after = comparison.memory.peak_before, comparison.memory.peak_after
        rows.append(("peak memory", [f"{bytes_words(before)} -> {bytes_words(after)} above idle"]))
    if comparison.notes:
        rows.append(("measured", list(comparison.notes)))
    return rows


def _kind(ratio: Ratio) -> str:
    return f", {ratio.name}" if ratio.name in ("duplicates", "early exit") else ""


def ratio_words(ratio: Ratio) -> str:
    """A ratio never stands without its interval and size."""
    at = f" at n = {ratio.n:,}" if ratio.n is not None else ""
    return f"{times(ratio.estimate)}{at} ({times(ratio.low)[:-1]}-{times(ratio.high)[:-1]})"


def seconds_words(value: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def bytes_words(value: int) -> str:
    """Bytes in the unit that reads best."""
    if value < 1024:
        return f"{value} B"
    units = (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30))
    unit, scale = next((u for u in units if value < u[1] * 1024), units[-1])
    return f"{value / scale:.1f} {unit}"


def compare_verdict(evidence: Evidence) -> Verdict:
    """The verdict of `perforch compare`: behaviour first, then time."""
    if evidence.counterexample is not None:
        return Verdict.NOT_EQUIVALENT
    if not evidence.builds or evidence.comparison is None:
        return Verdict.FAILED
    return evidence.comparison.verdict


def show_comparison(evidence: Evidence, first: Target, second: Target) -> None:
    """The answer of `perforch compare` on stdout."""
    console = answer_console()
    verdict = compare_verdict(evidence)
    names = f"{second.path.name}::{second.symbol}", f"{first.path.name}::{first.symbol}"
    console.print(Text(f"{names[0]} against {names[1]}: {verdict.value}", style="bold"))
    example = evidence.counterexample
    if example is not None:
        console.print(Text(f"  {example.call}\n    {names[1]}: {example.expected}\n    {names[0]}: {example.actual}"))
    console.print(evidence_table(evidence))
