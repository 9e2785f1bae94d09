"""Positions and rebasing, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from perforch_core.evidence import Evidence, evidence_json
from perforch_core.languages import find_functions
from perforch_core.suggestion import minimal_edits
from perforch_lsp import report
from perforch_lsp.edits import Stale, rebase
from perforch_lsp.positions import Lines, units
from perforch_lsp.settings import EditorSettings, parse
from perforch_lsp.suggestions import Suggestion, apply

ENCODINGS = ["utf-8", "utf-16", "utf-32"]
TEXTS = st.text(st.sampled_from("ab ä€😋\n\r\x0c\u2028\t"), max_size=40)


@given(TEXTS, st.sampled_from(ENCODINGS))
def test_every_offset_goes_to_a_position_and_back(text: str, encoding: str) -> None:
    lines = Lines(text)
    for offset in range(len(text) + 1):
        if text[offset - 1 : offset + 1] == "\r\n":
            continue  # between the two there is no position
        position = lines.position(offset, encoding)
        assert lines.offset(position, encoding) == offset
        assert position.line == len(text[:offset].replace("\r\n", "\n").replace("\r", "\n").split("\n")) - 1


@given(TEXTS)
def test_the_lines_are_the_text(text: str) -> None:
    assert "".join(Lines(text).split()) == text


def test_units_and_positions_in_the_middle_or_beyond() -> None:
    assert [units("a€😋", e) for e in ENCODINGS] == [1 + 3 + 4, 1 + 1 + 2, 3]
    lines = Lines("😋b\nc")
    assert lines.offset(types.Position(line=0, character=1), "utf-16") == 0
    assert lines.offset(types.Position(line=0, character=2), "utf-16") == 1
    assert lines.offset(types.Position(line=0, character=99), "utf-8") == 2
    assert lines.offset(types.Position(line=99, character=0), "utf-8") == 4


BASE = """\
import os

LIMIT = 3


def helper(x):
    return x


def deep(x):
    return helper(x)


def target(x):
    y = deep(x)
    return y + LIMIT


def other(x):
    return x
"""


def suggestion(base: str = BASE, after: str | None = None) -> Suggestion:
    after = after or ("import math\n" + base.replace("y + LIMIT", "LIMIT + y"))
    start = base.index("def target")
    end = base.index("\n\n\ndef other")
    return Suggestion(
        id="s",
        job="j",
        uri="file:///m.py",
        stage="refine",
        symbol="target",
        title="2.0x faster",
        proven=True,
        base=base,
        start=start,
        end=end,
        edits=minimal_edits(Path("/m.py"), base, after),
        result={},
    )


def placed(text: str) -> str:
    return apply(text, rebase(suggestion(), text, find_functions(text, "python")))


def test_the_new_code_is_the_targets_own() -> None:
    assert suggestion().new_code == suggestion().code.replace("y + LIMIT", "LIMIT + y")
    assert suggestion().after.startswith("import math\nimport os")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x\n\n\ndef deep", "return x\n\n\n# a remark\n\n\ndef deep"),
        ("def other(x):\n    return x\n", "def other(x):\n    return x + 1\n"),
        ("def other(x):\n    return x\n", ""),
        ("\n\ndef other", "\n\nunrelated = 1\n\n\ndef other"),
        ("import os\n", "import os\nimport unrelated\n"),
    ],
)
def test_changes_elsewhere_move_the_edit(old: str, new: str) -> None:
    assert BASE.count(old) >= 1
    text = BASE[: BASE.rindex(old)] + new + BASE[BASE.rindex(old) + len(old) :]
    result = placed(text)
    assert result.count("LIMIT + y") == 1
    assert result.count("import math\n") == 1
    assert result.replace("import math\n", "").replace("LIMIT + y", "y + LIMIT") == text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("y = deep(x)", "y = deep(x) ", "target has changed"),
        ("def target(x):", "@cache\ndef target(x, z):", "target has changed"),
        ("    y = deep(x)\n", "", "target has changed"),
        ("def helper(x):\n    return x", "def helper(x):\n    return -x", "target uses helper"),
        ("    return helper(x)", "    return 1", "target uses deep"),
        ("LIMIT = 3", "LIMIT = 4", "target uses LIMIT"),
        ("LIMIT = 3\n", "", "target uses LIMIT"),
        ("\n\ndef other", "\n\ndef helper(x):\n    return 0\n\n\ndef other", "target uses helper"),
        ("import os\n", "import os\nfrom new import deep\n", "target uses deep"),
    ],
)
def test_changes_of_the_target_or_of_what_it_uses_make_it_stale(old: str, new: str, words: str) -> None:
    assert old in BASE
    with pytest.raises(Stale, match=words):
        placed(BASE.replace(old, new, 1))


LINES = st.lists(st.sampled_from(["a = 1\n", "\n", "# b\n", "def z():\n    pass\n", "c = [\n]\n"]), max_size=6)


@given(LINES, LINES)
def test_any_text_around_the_target_keeps_the_rest_as_it_is(above: list[str], below: list[str]) -> None:
    """Whatever is put around, either the edit is refused or it changes the target and the import alone."""
    code = suggestion().code
    text = "import os\n" + "".join(above) + BASE[BASE.index("\nLIMIT") : BASE.index("def target")] + code + "\n"
    text += "".join(below)
    try:
        result = placed(text)
    except Stale:
        return
    assert result.replace("import math\n", "", 1).replace("LIMIT + y", "y + LIMIT") == text


def test_a_repeated_target_is_not_mistaken_for_another() -> None:
    base = BASE + "\n\n" + suggestion().code.replace("y + LIMIT", "y - LIMIT") + "\n"
    one = suggestion(base)
    text = base.replace(one.code, one.code.replace("deep(x)", "deep(-x)"), 1)
    with pytest.raises(Stale):
        rebase(one, text, None)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"models": "gpt"}, "perforch.models must be a list"),
        ({"models": [1]}, "perforch.models must be a list"),
        ({"applyDirectly": "yes"}, "perforch.applyDirectly must be true or false"),
        ({"budget": {"seconds": -1}}, "perforch.budget.seconds must be a number"),
        ({"budget": 5}, "perforch.budget must be an object"),
        ({"python": True}, "perforch.python must be the path"),
        ([], "the settings must be an object"),
    ],
)
def test_wrong_settings_are_told_and_left_at_their_default(data: Any, problem: str) -> None:
    settings, problems = parse(data)
    assert settings == EditorSettings()
    assert len(problems) == 1
    assert problem in problems[0]


def test_settings_with_and_without_the_section() -> None:
    data = {"models": ["a"], "budget": {"seconds": 5, "calls": 3, "money": 0.5}, "hints": False, "python": "/py"}
    one, problems = parse({"perforch": data})
    assert (one, []) == parse(data) == (one, problems)
    assert (one.models, one.budget, one.hints, one.python) == (("a",), data["budget"], False, "/py")
    assert parse(None) == (EditorSettings(), [])


def test_a_report_of_little_evidence_says_so() -> None:
    result = {
        "reason": "",
        "evidence": evidence_json(Evidence()),
        "diff": "-a\n+b\n",
        "tried": [],
        "cost": {"seconds": 1.0, "dollars": 0.0},
        "model": "m",
    }
    one = suggestion()
    object.__setattr__(one, "result", result)
    page = report.markdown(one)
    assert "Word: unproven" in page
    assert "Project tests: none reach this function" in page
