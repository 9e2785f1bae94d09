"""Reading a model's answer: a candidate, or a reason in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from perforch_core.models.interface import Completion
from perforch_core.stages.ask import NoCandidate, first_sentence, read_answer
from perforch_core.task import Candidate, Target, Usage

TEXT = "def double(x):\n    return x + x\n"
TARGET = Target(
    path=Path("/p/a.py"), symbol="double", language="python", root=Path("/p"), text=TEXT, start=0, end=len(TEXT) - 1
)


def read(text: str, finish: str = "stop") -> Candidate | NoCandidate:
    return read_answer("m", TARGET, Completion(text=text, finish=finish, usage=Usage(tokens_out=7)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no code"),
        ("I cannot help with that.", "no code"),
        (f"```python\n{TEXT}```", "changes nothing"),
        ("```python\ndef other(x):\n    return 2\n\n\ndef third(x):\n    return 3\n```", "double"),
    ],
)
def test_a_useless_answer_says_why(text: str, reason: str) -> None:
    answer = read(text)
    assert isinstance(answer, NoCandidate) and reason in answer.reason
    assert answer.usage.tokens_out == 7


def test_an_answer_cut_off_says_so() -> None:
    answer = read("Let me think about it: the function", finish="length")
    assert isinstance(answer, NoCandidate) and "cut off" in answer.reason


def test_a_good_answer_becomes_a_candidate_with_its_first_sentence() -> None:
    answer = read("<think>hm,\nhm</think>\nShifting is quick.\n```python\ndef double(x):\n    return x << 1\n```")
    assert isinstance(answer, Candidate)
    assert answer.text == "def double(x):\n    return x << 1\n" and answer.why == "Shifting is quick."


def test_long_prose_is_cut_between_words() -> None:
    line = first_sentence("word " * 60)
    assert len(line) <= 160 and line.endswith("word …")
