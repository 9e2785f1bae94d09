"""One task under way: its budget, what was tried, which model is asked next, and the result at its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from perforch_core.evidence import Comparison, Evidence, Verdict
from perforch_core.models.interface import Message, RewriteModel, TextModel
from perforch_core.routing.categories import guess
from perforch_core.routing.posterior import Posterior
from perforch_core.routing.profile import AttemptRecord, Outcome, Profile
from perforch_core.routing.router import Ask, Stop, next_model
from perforch_core.sandbox import Sandbox
from perforch_core.settings import Settings
from perforch_core.stages.ask import NoCandidate, ask
from perforch_core.suggestion import Attempt, Result, Status, minimal_edits, times, title_of
from perforch_core.task import Budget, Candidate, Event, Reporter, Stage, Target, Task, Usage
from perforch_core.understanding import Understanding, evidence_on_original

MODEL_SECONDS = 300.0
FEWEST_SECONDS = 4.0
ROUNDS = 2
"""A model may be asked so often in one stage of a task: once more when all have failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What tasks of one project share. `text_models` may be empty, then only the rewrite models propose."""

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
    asked: list[tuple[Stage, str]] = field(default_factory=list)
    stopped: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds of the budget that are left."""
        return max(0.0, self.task.budget.seconds - (time.monotonic() - self.started))

    def share(self, most: float) -> float:
        """`most` seconds, less where the whole budget is small: for what has to be done however late it is."""
        return min(most, max(FEWEST_SECONDS, self.task.budget.seconds / 3))

    @property
    def version(self) -> str:
        """The language with its version, for prompts."""
        return self.found.language_version

    def rewriters(self) -> Iterator[RewriteModel]:
        """The models without prompts that serve this stage and language."""
        for model in self.services.rewrite_models:
            if self.task.stage in model.stages and self.task.target.language in model.languages:
                yield model

    async def ask_next(
        self, stage: Stage, target: Target, messages: Sequence[Message], *, again: bool = True
    ) -> Candidate | NoCandidate | None:
        """Ask the router's next model. None when there is none left, or the budget is spent.

        With `again` a model may be asked more than once in a task; a useless answer is noted as an attempt.
        """
        model = self._next_model(stage, again=again)
        if model is None:
            return None
        self.asked.append((stage, model.name))
        self.report(Event(kind="progress", text=f"asking {model.name}"))
        timeout = max(1.0, min(MODEL_SECONDS, self.left()))
        answer = await ask(model, target, messages, timeout=timeout, on_text=self._streaming(model.name))
        self.usage = self.usage + answer.usage
        if isinstance(answer, NoCandidate):
            outcome = Outcome.ERROR if answer.failed_request else Outcome.INVALID
            self._note(stage, answer.model, None, answer.reason, answer.usage, outcome=outcome)
            return answer
        return replace(answer, stage=stage)

    def _next_model(self, stage: Stage, *, again: bool) -> TextModel | None:
        models = {model.name: model for model in self.services.text_models}
        asked = [name for s, name in self.asked if s is stage]
        rounds = min((asked.count(name) for name in models), default=0)
        if models and rounds and not (again and rounds < ROUNDS):
            self.stopped = "every model was asked"
            return None
        choice = next_model(
            Ask(
                models=tuple(models),
                stage=stage,
                language=self.task.target.language,
                categories=self.categories,
                failed=tuple(dict.fromkeys(name for name in asked if asked.count(name) > rounds)),
            ),
            left=self._budget_left(),
            posterior=Posterior(self.services.profile.attempts(stage=stage)),
            weights=self.services.settings.routing,
            configs=self.services.settings.models,
        )
        if isinstance(choice, Stop):
            self.stopped = choice.reason
            return None
        self.report(Event(kind="note", text=f"asking {choice.model} to {stage.value}: {choice.reason}"))
        return models[choice.model]

    def _budget_left(self) -> Budget:
        budget = self.task.budget
        money = None if budget.money is None else budget.money - self.usage.cost
        return Budget(seconds=self.left(), calls=budget.calls - len(self.asked), money=money)

    @property
    def categories(self) -> tuple[str, ...]:
        """The likeliest categories of the target, for routing."""
        function = self.found.function
        return guess(self.task.target.code, name=function.symbol, docstring=function.docstring)

    def _streaming(self, name: str) -> Callable[[str], None]:
        count = 0

        def on_text(piece: str) -> None:
            nonlocal count
            count += len(piece)
            self.report(Event(kind="progress", text=f"{name} is answering ({count:,} characters)"))

        return on_text

    # --- what came of it ---

    def say(self, candidate: Candidate, words: str) -> None:
        """A candidate is on its way: a line of progress, no attempt yet."""
        data = {"ok": True, "model": candidate.model, "rule": candidate.rule}
        self.report(Event(kind="attempt", text=f"{_name(candidate)}: {words}", data=data))

    def tried(self, candidate: Candidate, words: str, *, passed: bool) -> None:
        """An attempt ended without a suggestion. `passed`: it was right, but not better."""
        stage = candidate.stage or self.task.stage
        outcome = Outcome.PASSED if passed else Outcome.FAILED
        self._note(stage, candidate.model, candidate.rule, words, candidate.usage, outcome=outcome)

    def suggested(self, candidate: Candidate, comparison: Comparison | None) -> None:
        """An attempt became the suggestion."""
        ratio = comparison.speedup.estimate if comparison and comparison.speedup else None
        words = f"{times(ratio)} faster" if ratio else "passes"
        self._note(
            candidate.stage or self.task.stage,
            candidate.model,
            candidate.rule,
            words,
            candidate.usage,
            outcome=Outcome.SUGGESTED,
            speedup=ratio,
        )

    def _note(
        self,
        stage: Stage,
        model: str,
        rule: str | None,
        words: str,
        usage: Usage,
        *,
        outcome: Outcome,
        speedup: float | None = None,
    ) -> None:
        self._record(stage, model, rule, usage, outcome, speedup)
        self.attempts.append(Attempt(model=model, outcome=words, rule=rule, usage=usage))
        ok = outcome is Outcome.SUGGESTED
        name = f"{model}: {rule}" if rule else model
        self.report(Event(kind="attempt", text=f"{name}: {words}", data={"ok": ok, "model": model, "rule": rule}))

    def _record(
        self, stage: Stage, model: str, rule: str | None, usage: Usage, outcome: Outcome, speedup: float | None
    ) -> None:
        profile, language = self.services.profile, self.task.target.language
        for part in rule.split("+") if rule else ():
            profile.record_rule(part, language, proposed=1, verified=outcome in (Outcome.PASSED, Outcome.SUGGESTED))
        profile.record(
            AttemptRecord(
                task=self.id,
                order=len(self.attempts),
                model=model,
                language=language,
                stage=stage,
                outcome=outcome,
                categories=self.categories,
                failed_before=tuple(dict.fromkeys(name for s, name in self.asked if s is stage and name != model)),
                usage=usage,
                speedup=speedup,
            )
        )

    def finish(
        self,
        status: Status,
        reason: str,
        *,
        candidate: Candidate | None = None,
        evidence: Evidence | None = None,
    ) -> Result:
        """The result of the task."""
        target = self.task.target
        evidence = evidence or evidence_on_original(self.found)
        return Result(
            id=self.id,
            stage=self.task.stage,
            target=target,
            status=status,
            reason=reason,
            title=title_of(self.task.stage, evidence) if status is Status.SUGGESTED else "",
            model=candidate.model if candidate else None,
            text=candidate.text if candidate else None,
            edits=minimal_edits(target.path, target.text, candidate.text) if candidate else (),
            evidence=evidence,
            tried=tuple(self.attempts),
            usage=self.usage,
            seconds=time.monotonic() - self.started,
        )


def _name(candidate: Candidate) -> str:
    return f"{candidate.model}: {candidate.rule}" if candidate.rule else candidate.model


def verdict_words(comparison: Comparison) -> str:
    """Why a comparison allows no claim, in a few words."""
    words = {
        Verdict.FASTER: "faster",
        Verdict.INDISTINGUISHABLE: "no measurable difference",
        Verdict.SLOWER: "slower",
        Verdict.TRADE_OFF: "a trade-off",
        Verdict.NOT_EQUIVALENT: "differs on a timed input",
        Verdict.FAILED: "could not be measured",
    }[comparison.verdict]
    speedup = comparison.speedup
    if speedup is None and comparison.verdict is Verdict.INDISTINGUISHABLE:
        words = "not measured"
    if speedup is not None:
        words += f": {speedup.estimate:.2f}x ({speedup.low:.2f}-{speedup.high:.2f})"
    return "; ".join((words, *comparison.notes[:1]))
