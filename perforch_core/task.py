"""The nouns of a request: stage, target, budget, task, candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Stage(StrEnum):
    """What is wanted of a target. The user's "optimize" is the refine stage."""

    GENERATE = "generate"
    FIX = "fix"
    REFINE = "refine"


class Objective(StrEnum):
    """What a refined target should use less of."""

    TIME = "time"
    PEAK_MEMORY = "memory"
    MEAN_MEMORY = "mean-memory"
    CPU = "cpu"


class UserError(Exception):
    """Bad input: exit code 2. The message says what is wrong and what to do next."""

    def __init__(self, message: str, *, choices: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.choices = choices


class EnvironmentProblem(Exception):
    """A toolchain, model or sandbox is missing: exit code 3. The message says how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The function being written.

    `text` is the whole file as it was when the request was made, newlines untouched. `start` and `end`
    are offsets into it, counted in code points; they span the function with its decorators.
    """

    path: Path
    symbol: str
    language: str
    root: Path
    text: str
    start: int
    end: int

    @property
    def code(self) -> str:
        """The function's own text, decorators included."""
        return self.text[self.start : self.end]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a task may spend. `seconds` is wall time, `calls` requests to models, `money` US dollars."""

    seconds: float = 60.0
    calls: int = 8
    money: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One request. `models` limits the routing to these names; empty means all that are configured.

    `examples` are calls with their results that the user confirmed, such as "f(1, 2) == 3"; they judge like documented
    ones.
    """

    stage: Stage
    target: Target
    budget: Budget = field(default_factory=Budget)
    objective: Objective = Objective.TIME
    specification: str = ""
    examples: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    workload: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one request to a model took. Tokens are 0 for the rules; `cost` is in US dollars."""

    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            seconds=self.seconds + other.seconds,
            cost=self.cost + other.cost,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One proposed replacement of the target: `text` is the whole file with it in place.

    `why` is one sentence for the user; `rule` names the built-in rule, if one made it. `stage` is what its model was
    asked for, which may differ from the task's (a written function that needs fixing).
    """

    text: str
    model: str
    why: str = ""
    rule: str | None = None
    usage: Usage = field(default_factory=Usage)
    stage: Stage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Progress of a task, for a person: `kind` is "stage", "attempt", "note" or "warning"."""

    kind: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """A reporter that drops every event."""
