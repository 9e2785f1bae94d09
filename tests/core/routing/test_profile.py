"""The profile's file: what is kept, and what happens to it when processes die or share it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from perforch_core.routing.profile import AttemptRecord, Outcome, Profile, RuleRecord, default_path
from perforch_core.task import Stage, Usage, UserError


def attempt(task: str = "t", order: int = 0, **changes: Any) -> AttemptRecord:
    usual: dict[str, Any] = {
        "model": "a",
        "language": "python",
        "stage": Stage.FIX,
        "outcome": Outcome.PASSED,
        "categories": ("Array", "Math"),
        "failed_before": ("b", "c"),
        "usage": Usage(tokens_in=1, tokens_out=2, seconds=3.5, cost=0.25),
        "speedup": 2.5,
        "at": 1000.0 + order,
    }
    return AttemptRecord(task=task, order=order, **{**usual, **changes})


def test_attempts_come_back_as_they_were(tmp_path: Path) -> None:
    first, second = attempt(), attempt(order=1, stage=Stage.REFINE, outcome=Outcome.ERROR, speedup=None)
    with Profile(tmp_path / "sub" / "p.sqlite") as profile:
        profile.record(second)
        profile.record(first)
        profile.record(attempt(outcome=Outcome.FAILED))  # the same task and order: the first word counts
    with Profile(tmp_path / "sub" / "p.sqlite") as profile:
        assert profile.attempts() == [first, second] and profile.warnings == []
        assert profile.attempts(stage=Stage.FIX) == [first]
        assert profile.attempts(most=1) == [second]


def test_winning_depends_on_the_stage() -> None:
    assert attempt().won and not attempt(stage=Stage.REFINE).won
    assert attempt(stage=Stage.REFINE, outcome=Outcome.SUGGESTED).won
    assert not any(attempt(outcome=outcome).won for outcome in (Outcome.FAILED, Outcome.INVALID, Outcome.ERROR))


def test_rules_and_verdicts_are_counted() -> None:
    profile = Profile(None)
    profile.record_rule("set-membership", "python", proposed=3)
    profile.record_rule("set-membership", "python", proposed=1, verified=2)
    profile.record_rule("set-membership", "go", proposed=1)
    assert profile.rules()[1] == RuleRecord(rule="set-membership", language="python", proposed=4, verified=2)
    assert profile.rule_shares("python") == {"set-membership": 0.5}
    for suggestion, accepted in (("s1", True), ("s2", False), ("s2", True), ("s3", False)):
        profile.record_verdict(suggestion, model="a", language="python", stage=Stage.FIX, accepted=accepted)
    assert profile.acceptance("a") == (2, 3) and profile.acceptance("a", stage=Stage.REFINE) == (0, 0)


def test_export_and_merge_add_only_what_is_new(tmp_path: Path) -> None:
    theirs, mine = Profile(tmp_path / "a.sqlite"), Profile(tmp_path / "b.sqlite")
    for order in range(3):
        theirs.record(attempt(order=order))
    theirs.record_rule("r", "python", proposed=5, verified=1)
    mine.record(attempt(order=2))
    mine.record_rule("r", "python", proposed=2, verified=2)
    data = json.loads(json.dumps(theirs.export()))
    assert (mine.merge(data), mine.merge(data)) == (2, 0)
    assert mine.attempts() == theirs.attempts()
    assert mine.rules() == [RuleRecord(rule="r", language="python", proposed=5, verified=2)]


@pytest.mark.parametrize(
    "data", [None, [], {}, {"schema": 1}, {"schema": 9}, {"schema": 1, "attempts": [{}], "rules": []}]
)
def test_merging_nonsense_is_refused_and_changes_nothing(data: Any) -> None:
    profile = Profile(None)
    with pytest.raises(UserError):
        profile.merge(data)
    assert profile.attempts() == []


@pytest.mark.parametrize("damage", ["text", "middle"])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "p.sqlite"
    if damage == "text":
        path.write_bytes(b"this is no database, but somebody's notes\n" * 100)
    else:
        with Profile(path) as profile:
            for order in range(500):
                profile.record(attempt(order=order))
        raw = bytearray(path.read_bytes())
        raw[4096 : len(raw) - 4096] = b"\xff" * (len(raw) - 8192)
        path.write_bytes(raw)
    before = path.read_bytes()
    with Profile(path) as profile:
        assert len(profile.warnings) == 1 and "damaged" in profile.warnings[0]
        profile.record(attempt())
    aside = list(tmp_path.glob("p.damaged-*.sqlite"))
    assert len(aside) == 1 and aside[0].read_bytes() == before and str(aside[0]) in profile.warnings[0]
    with Profile(path) as profile:
        assert profile.attempts() == [attempt()] and profile.warnings == []


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    with Profile(path) as profile:
        profile.record(attempt())
        assert "newer" in profile.warnings[0] and len(profile.attempts()) == 1
    assert path.read_bytes() == before


def test_where_nothing_can_be_written_the_session_still_learns(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Profile(tmp_path / "file" / "p.sqlite") as profile:
        profile.record(attempt())
        assert len(profile.attempts()) == 1 and "session only" in profile.warnings[0]


def test_threads_share_a_profile(tmp_path: Path) -> None:
    with Profile(tmp_path / "p.sqlite") as profile:
        threads = [
            threading.Thread(target=lambda n=n: [profile.record(attempt(task=str(n), order=i)) for i in range(20)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(profile.attempts()) == 80 and profile.warnings == []


WRITER = """
import sys
from pathlib import Path
from perforch_core.routing.profile import *
from perforch_core.task import Stage
with Profile(Path(sys.argv[1])) as profile:
    for order in range(int(sys.argv[3])):
        profile.record(AttemptRecord(task=sys.argv[2], order=order, model="a", language="python", stage=Stage.FIX,
                                     outcome=Outcome.PASSED))
        print(order, flush=True)
    print(profile.warnings)
"""


def writer(path: Path, task: str, number: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WRITER, str(path), task, str(number)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_killing_a_writer_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite"
    process = writer(path, "t", 1_000_000)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 50:
        pass
    process.kill()
    last = [int(line) for line in process.stdout.read().split("\n")[:-1] if line][-1:] or [50]
    process.wait()
    process.stdout.close()
    with Profile(path) as profile:
        orders = [record.order for record in profile.attempts()]
        assert sorted(orders) == list(range(len(orders))) and len(orders) > last[0] and profile.warnings == []


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite"
    processes = [writer(path, name, 60) for name in "abc"]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert all(output.endswith("59\n[]\n") for output in outputs)
    with Profile(path) as profile:
        assert len(profile.attempts()) == 180


def test_the_place_follows_the_config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFORCH_CONFIG", str(tmp_path))
    assert default_path() == tmp_path / "profile.sqlite"
    monkeypatch.delenv("PERFORCH_CONFIG")
    assert default_path().name == "profile.sqlite" and "perforch" in str(default_path())
