"""One task under way: its budget, what was tried, which model is asked next, and the result at its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from perforch_core.evidence import Comparison, Evidence
from perforch_core.models.interface import Message, RewriteModel, TextModel
from perforch_core.routing.categories import categories_of
from perforch_core.routing.profile import Profile
from perforch_core.routing.router import choose_next
from perforch_core.sandbox import Sandbox
from perforch_core.settings import Settings
from perforch_core.stages.ask import NoCandidate, ask
from perforch_core.suggestion import Attempt, Result, Status, minimal_edits, title_of
from perforch_core.task import Candidate, Event, Reporter, Stage, Target, Task, Usage
from perforch_core.understanding import Understanding

MODEL_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What tasks of one project share."""

    settings: Settings
    sandbox: Sandbox
    text_models: tuple[TextModel, ...]
    rewrite_models: tuple[RewriteModel, ...]
    profile: Profile


@dataclass(slots=True, kw_only=True)
class Work:
    """The state of one task. Every attempt goes into the profile as it ends."""

    task: Task
    services: Services
    found: Understanding
    report: Reporter
    attempts: list[Attempt] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds of the budget that are left."""
        return max(0.0, self.task.budget.seconds - (time.monotonic() - self.started))

    @property
    def version(self) -> str:
        """The language with its version, for prompts."""
        return f"Python {self.found.interpreter_version}"

    def rewriters(self) -> Iterator[RewriteModel]:
        """The models without prompts that serve this stage and language."""
        for model in self.services.rewrite_models:
            if self.task.stage in model.stages and self.task.target.language in model.languages:
                yield model
