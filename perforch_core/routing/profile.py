"""What is known of each model, kept in one SQLite file: every attempt with its outcome, rules, the user's verdicts.

The file may be written by several processes at once and survives their being killed at any moment (WAL). A file that
cannot be read is set aside, never deleted; where none can be written, a record in memory serves the session.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from perforch_core.settings import config_folder
from perforch_core.task import Stage, Usage, UserError

SCHEMA = 1
FILE = "profile.sqlite"
MOST_READ = 50_000
"""Attempts that routing looks at: the latest."""


class Outcome(StrEnum):
    """How an attempt ended. "passed" is right but not shown (not faster, say); "invalid" could not even be tried."""

    SUGGESTED = "suggested"
    PASSED = "passed"
    FAILED = "failed"
    INVALID = "invalid"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One model asked once. `order` counts the attempts of the task from 0; with `task` it identifies the attempt.

    `failed_before` are the models that had failed in this task's stage by then. `speedup` is time before / after.
    """

    task: str
    order: int
    model: str
    language: str
    stage: Stage
    outcome: Outcome
    categories: tuple[str, ...] = ()
    failed_before: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    speedup: float | None = None
    at: float = 0.0

    @property
    def won(self) -> bool:
        """It did what its stage is for: right code, or for refine, code that is shown to be better."""
        return self.outcome is Outcome.SUGGESTED or (self.outcome is Outcome.PASSED and self.stage is not Stage.REFINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRecord:
    """What became of a rule's proposals in one language."""

    rule: str
    language: str
    proposed: int
    verified: int

    @property
    def share(self) -> float:
        """The share that was verified, smoothed (1 of 2 before anything is known)."""
        return (self.verified + 1) / (self.proposed + 2)


_TABLES = """
CREATE TABLE IF NOT EXISTS attempts (
    task TEXT NOT NULL, place INTEGER NOT NULL, at REAL NOT NULL, model TEXT NOT NULL, language TEXT NOT NULL,
    stage TEXT NOT NULL, outcome TEXT NOT NULL, categories TEXT NOT NULL, failed_before TEXT NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, seconds REAL NOT NULL, cost REAL NOT NULL, speedup REAL,
    PRIMARY KEY (task, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempts_at ON attempts (at);
CREATE TABLE IF NOT EXISTS rules (
    rule TEXT NOT NULL, language TEXT NOT NULL, proposed INTEGER NOT NULL, verified INTEGER NOT NULL,
    PRIMARY KEY (rule, language)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verdicts (
    suggestion TEXT PRIMARY KEY, model TEXT NOT NULL, rule TEXT, language TEXT NOT NULL, stage TEXT NOT NULL,
    accepted INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = (
    "task, place, at, model, language, stage, outcome, categories, failed_before, "
    "tokens_in, tokens_out, seconds, cost, speedup"
)


def default_path() -> Path:
    """Where the user's profile is kept: the platform's data folder, or PERFORCH_CONFIG where that is set."""
    if os.environ.get("PERFORCH_CONFIG"):
        return config_folder() / FILE
    import platformdirs

    return Path(platformdirs.user_data_dir("perforch", appauthor=False)) / FILE


class Profile:
    """An open profile. Safe to use from several threads. `warnings` are for the user."""

    def __init__(self, path: Path | None) -> None:
        """Open or start the profile at `path` (None: in memory). Never raises for the state of the file."""
        self.path = path
        self.warnings: list[str] = []
        self._lock = threading.Lock()
        self._database = self._opened(path)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing ---------------------------------------------------------------------------------------------------

    def record(self, attempt: AttemptRecord) -> None:
        """Keep one attempt. One of the same task and order is kept as it was."""
        self._write(f"INSERT OR IGNORE INTO attempts ({_COLUMNS}) VALUES ({_marks(14)})", _row(attempt))

    def record_rule(self, rule: str, language: str, *, proposed: int = 0, verified: int = 0) -> None:
        """Add to the counts of a rule."""
        self._write(
            "INSERT INTO rules VALUES (?, ?, ?, ?) ON CONFLICT (rule, language) DO UPDATE SET "
            "proposed = proposed + excluded.proposed, verified = verified + excluded.verified",
            (rule, language, proposed, verified),
        )

    def record_verdict(
        self, suggestion: str, *, model: str, language: str, stage: Stage, accepted: bool, rule: str | None = None
    ) -> None:
        """Keep what the user did with a suggestion; the last word counts."""
        self._write(
            f"INSERT OR REPLACE INTO verdicts VALUES ({_marks(7)})",
            (suggestion, model, rule, language, stage.value, int(accepted), time.time()),
        )

    # --- reading ---------------------------------------------------------------------------------------------------

    def attempts(self, *, stage: Stage | None = None, most: int = MOST_READ) -> list[AttemptRecord]:
        """The latest attempts, oldest first."""
        where, values = ("WHERE stage = ?", (stage.value,)) if stage else ("", ())
        rows = self._read(f"SELECT {_COLUMNS} FROM attempts {where} ORDER BY at DESC LIMIT ?", (*values, most))
        return [_attempt(row) for row in reversed(rows)]

    def rules(self) -> list[RuleRecord]:
        """Every rule's counts, by rule and language."""
        rows = self._read("SELECT rule, language, proposed, verified FROM rules ORDER BY rule, language", ())
        return [RuleRecord(rule=r[0], language=r[1], proposed=r[2], verified=r[3]) for r in rows]

    def rule_shares(self, language: str) -> dict[str, float]:
        """The smoothed share of verified proposals by rule; rules not listed have not been tried."""
        return {record.rule: record.share for record in self.rules() if record.language == language}

    def acceptance(self, model: str, *, stage: Stage | None = None) -> tuple[int, int]:
        """(accepted, decided) of the model's suggestions."""
        extra, values = (" AND stage = ?", (stage.value,)) if stage else ("", ())
        rows = self._read(f"SELECT SUM(accepted), COUNT(*) FROM verdicts WHERE model = ?{extra}", (model, *values))
        return (rows[0][0] or 0, rows[0][1]) if rows else (0, 0)

    def export(self) -> dict[str, Any]:
        """Everything but the user's verdicts, as plain JSON data, for a file that a team shares."""
        return {
            "schema": SCHEMA,
            "attempts": [_plain(attempt) for attempt in self.attempts(most=1 << 60)],
            "rules": [asdict(record) for record in self.rules()],
        }

    def merge(self, data: Any) -> int:
        """Add what `export` gave, here or elsewhere; the number of new attempts. Attempts already known are skipped.

        Rule counts take the larger of both, so that importing twice changes nothing. Raises UserError.
        """
        try:
            if data["schema"] != SCHEMA:
                raise UserError(f"The profile has format {data['schema']!r}; this PerfOrch reads format {SCHEMA}.")
            rows = [_row(_from_plain(item)) for item in data["attempts"]]
            rules = [
                (str(r["rule"]), str(r["language"]), int(r["proposed"]), int(r["verified"])) for r in data["rules"]
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"This is not an exported profile ({type(error).__name__}: {error}).") from None
        with self._lock, self._database:
            before = self._database.total_changes
            self._database.executemany(f"INSERT OR IGNORE INTO attempts ({_COLUMNS}) VALUES ({_marks(14)})", rows)
            added = self._database.total_changes - before
            self._database.executemany(
                "INSERT INTO rules VALUES (?, ?, ?, ?) ON CONFLICT (rule, language) DO UPDATE SET "
                "proposed = max(proposed, excluded.proposed), verified = max(verified, excluded.verified)",
                rules,
            )
        return added

    # --- the file --------------------------------------------------------------------------------------------------

    def _opened(self, path: Path | None) -> sqlite3.Connection:
        if path is None:
            return _started(":memory:")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _started(str(path))
        except _TooNew as error:
            self.warnings.append(f"{path} was written by a newer PerfOrch ({error}); it is neither read nor changed.")
        except (OSError, sqlite3.OperationalError) as error:  # no right to write, disk full, locked for long
            self.warnings.append(f"{path} cannot be used ({error}); what is learned now lasts for this session only.")
        except sqlite3.DatabaseError as error:
            aside = _set_aside(path)
            if aside is not None:
                self.warnings.append(
                    f"The profile was damaged ({error}). It is kept as {aside}; a new one was started."
                )
                with contextlib.suppress(sqlite3.Error, OSError):
                    return _started(str(path))
            self.warnings.append(f"{path} is damaged and cannot be replaced; what is learned now is not kept.")
        return _started(":memory:")

    def _write(self, statement: str, values: Sequence[Any]) -> None:
        """Losing a record must never cost the user's task: trouble becomes a warning."""
        try:
            with self._lock, self._database:
                self._database.execute(statement, values)
        except sqlite3.Error as error:
            self.warnings.append(f"The profile could not be written: {error}.")

    def _read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        try:
            with self._lock:
                return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self.warnings.append(f"The profile could not be read: {error}.")
            return []


class _TooNew(Exception):
    """The file's format is from the future."""


def _started(name: str) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=10, check_same_thread=False)
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise _TooNew(f"format {version}")
        damage = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(" ".join(damage.split()))
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        if version < SCHEMA:
            database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
    except BaseException:
        database.close()
        raise
    return database


def _set_aside(path: Path) -> Path | None:
    """Rename a damaged file with its companions; None where that is not possible."""
    aside = path.with_name(f"{path.stem}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}{path.suffix}")
    try:
        path.rename(aside)
    except OSError:
        return None
    for ending in ("-wal", "-shm"):
        with contextlib.suppress(OSError):
            Path(f"{path}{ending}").rename(f"{aside}{ending}")
    return aside


def _marks(number: int) -> str:
    return ", ".join("?" * number)


def _row(attempt: AttemptRecord) -> tuple[Any, ...]:
    usage = attempt.usage
    return (
        attempt.task,
        attempt.order,
        attempt.at or time.time(),
        attempt.model,
        attempt.language,
        attempt.stage.value,
        attempt.outcome.value,
        json.dumps(attempt.categories),
        json.dumps(sorted(attempt.failed_before)),
        usage.tokens_in,
        usage.tokens_out,
        usage.seconds,
        usage.cost,
        attempt.speedup,
    )


def _attempt(row: Sequence[Any]) -> AttemptRecord:
    return AttemptRecord(
        task=row[0],
        order=row[1],
        at=row[2],
        model=row[3],
        language=row[4],
        stage=Stage(row[5]),
        outcome=Outcome(row[6]),
        categories=tuple(json.loads(row[7])),
        failed_before=tuple(json.loads(row[8])),
        usage=Usage(tokens_in=row[9], tokens_out=row[10], seconds=row[11], cost=row[12]),
        speedup=row[13],
    )


def _plain(attempt: AttemptRecord) -> dict[str, Any]:
    data = asdict(attempt)
    return {**data, "stage": attempt.stage.value, "outcome": attempt.outcome.value}


def _from_plain(data: dict[str, Any]) -> AttemptRecord:
    used = data["usage"]
    usage = Usage(
        tokens_in=int(used["tokens_in"]),
        tokens_out=int(used["tokens_out"]),
        seconds=float(used["seconds"]),
        cost=float(used["cost"]),
    )
    return AttemptRecord(
        task=str(data["task"]),
        order=int(data["order"]),
        at=float(data["at"]),
        model=str(data["model"]),
        language=str(data["language"]),
        stage=Stage(data["stage"]),
        outcome=Outcome(data["outcome"]),
        categories=tuple(str(item) for item in data["categories"]),
        failed_before=tuple(str(item) for item in data["failed_before"]),
        usage=usage,
        speedup=None if data["speedup"] is None else float(data["speedup"]),
    )


def by_task(attempts: Iterable[AttemptRecord]) -> Iterator[list[AttemptRecord]]:
    """The attempts of each task and stage, in their order."""
    groups: dict[tuple[str, Stage], list[AttemptRecord]] = {}
    for attempt in attempts:
        groups.setdefault((attempt.task, attempt.stage), []).append(attempt)
    for group in groups.values():
        yield sorted(group, key=lambda attempt: attempt.order)
