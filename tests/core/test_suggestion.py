"""Edits, titles and the JSON of a result."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perforch_core.evidence import Comparison, Evidence, Ratio, Strength, TestReport, Verdict
from perforch_core.suggestion import Result, Status, minimal_edits, result_json, times, title_of
from perforch_core.task import Stage, Target

TEXT = st.text(st.sampled_from("ab\r\n é"))


@given(TEXT, TEXT)
def test_edits_turn_one_text_into_the_other(before: str, after: str) -> None:
    edits = minimal_edits(Path("x.py"), before, after)
    text = before
    for edit in reversed(edits):
        assert text[edit.start : edit.end] == edit.old
        text = text[: edit.start] + edit.new + text[edit.end :]
    assert text == after


def test_edits_leave_other_lines_alone() -> None:
    (edit,) = minimal_edits(Path("x.py"), "a\nb\nc\n", "a\nB\nc\n")
    assert (edit.old, edit.new, edit.start) == ("b\n", "B\n", 2)


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.077, "1.08x"), (2.345, "2.3x"), (41.3, "41x"), (1234.0, "1,200x"), (19.96, "20.0x")]
)
def test_ratios_in_as_many_digits_as_they_deserve(ratio: float, text: str) -> None:
    assert times(ratio) == text


def faster() -> Evidence:
    return Evidence(
        tests=TestReport(passed=14, names=("test_a",)),
        cases=200,
        strength=Strength(mutants=20, killed=18, canary=True),
        comparison=Comparison(verdict=Verdict.FASTER, speedup=Ratio(estimate=2.31, low=2.2, high=2.4, n=10_000)),
    )


def test_a_title_says_what_was_established() -> None:
    assert title_of(Stage.REFINE, faster()) == (
        "2.3x faster at n = 10,000 (2.2-2.4); 14 tests, 200 cases, 18 of 20 mutants killed"
    )
    assert title_of(Stage.FIX, Evidence(tests=TestReport(passed=1))) == "fixed, unproven; 1 test"


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        (faster(), "verified"),
        (Evidence(cases=10, strength=Strength(mutants=10, killed=8)), "passes its tests"),
        (Evidence(cases=10), "passes its tests"),
        (Evidence(), "unproven"),
        (Evidence(tests=TestReport(passed=3, names=("test_a",)), strength=Strength(canary=False)), "unproven"),
        (Evidence(tests=TestReport(passed=3, failed=1, names=("test_a",)), cases=5), "refuted"),
        (Evidence(builds=False, cases=5), "refuted"),
    ],
)
def test_the_word_is_the_strongest_that_the_evidence_allows(evidence: Evidence, word: str) -> None:
    assert evidence.word == word


def test_a_result_as_json(tmp_path: Path) -> None:
    text = "def f(x):\n    return x\n"
    target = Target(
        path=tmp_path / "a.py", symbol="f", language="python", root=tmp_path, text=text, start=0, end=len(text) - 1
    )
    after = text.replace("return x", "return +x")
    result = Result(
        id="1",
        stage=Stage.REFINE,
        target=target,
        status=Status.SUGGESTED,
        reason="",
        text=after,
        edits=minimal_edits(target.path, text, after),
        evidence=faster(),
    )
    data = result_json(result)
    assert data["schema"] == 1 and data["status"] == "suggested"
    assert data["diff"].splitlines() == [
        "--- a/a.py", "+++ b/a.py", "@@ -1,2 +1,2 @@", " def f(x):", "-    return x", "+    return +x",
    ]  # fmt: skip
    assert data["evidence"]["speedup"] == {"estimate": 2.31, "low": 2.2, "high": 2.4, "confidence": 0.99, "at": 10_000}
    assert data["evidence"]["strength"] == {"mutants": 20, "killed": 18, "canary": True, "survivors": []}
