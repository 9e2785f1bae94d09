"""The workflow: understand, generate, fix, refine, decide, record; with rollback to the best so far.

Everything awaits, so a task can be cancelled at any moment; its processes end with the contexts that opened them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from perforch_core import settings as settings_module
from perforch_core.evidence import Comparison, Evidence, Verdict
from perforch_core.languages import retarget
from perforch_core.languages.interface import Observation, Version
from perforch_core.models.catalog import text_models
from perforch_core.models.interface import Hints, Message
from perforch_core.models.repairer import Repairer
from perforch_core.models.rules import RuleModel
from perforch_core.oracle.examples import Example
from perforch_core.oracle.shrink import call_text, outcome_text
from perforch_core.routing.profile import Profile, default_path
from perforch_core.sandbox import choose
from perforch_core.stages.fix import fix_messages
from perforch_core.stages.generate import generate_messages
from perforch_core.stages.refine import refine_messages
from perforch_core.suggestion import Result, Status
from perforch_core.task import Candidate, EnvironmentProblem, Event, Reporter, Stage, Target, Task, UserError, silent
from perforch_core.timing import Timing, fastest, prepare_timing
from perforch_core.understanding import Understanding, learn_cases, understanding_of
from perforch_core.validation import (
    Validation,
    decide,
    evidence_of,
    quick_check,
    screening,
    strength_of,
    suspicion_of,
    validate_same,
    validate_wanted,
)
from perforch_core.work import Services, Work, verdict_words

RULE_PROPOSALS = 12
REPAIR_PROPOSALS = 400
REPAIR_SECONDS = 12.0
REFINE_MODELS = 4
STRENGTH_SECONDS = 20.0
SHOWN_EXAMPLES = 5
FEWEST_SECONDS = 10.0
"""The last word gets at least so many seconds, whatever the budget."""


@asynccontextmanager
async def open_services(root: Path, *, models: tuple[str, ...] = ()) -> AsyncIterator[Services]:
    """The settings, sandbox, models and profile for the project at `root`; closed with the context.

    `models` limits the models to these names. Raises UserError for bad settings or unknown names, EnvironmentProblem
    without a sandbox.
    """
    settings = settings_module.load(root=root)
    rewriters = tuple(m for m in (RuleModel(), Repairer()) if not models or m.name in models)
    wanted = tuple(name for name in models if name not in (m.name for m in rewriters))
    sandbox = await choose(allow_weak=settings.allow_weak_sandbox)
    profile = None
    try:
        profile = Profile(default_path())
        for warning in profile.warnings:
            settings = replace(settings, warnings=(*settings.warnings, warning))
        yield Services(
            settings=settings,
            sandbox=sandbox,
            text_models=tuple(text_models(settings, only=wanted)) if wanted or not models else (),
            rewrite_models=rewriters,
            profile=profile,
        )
    finally:
        if profile is not None:
            profile.close()
        await sandbox.aclose()


async def run(task: Task, services: Services, report: Reporter = silent) -> Result:
    """Carry out one task. Raises UserError (bad input) and EnvironmentProblem (something missing on this machine)."""
    started = time.monotonic()
    for warning in services.settings.warnings:
        report(Event(kind="warning", text=warning))
    async with understanding_of(task, services.settings, services.sandbox, report) as found:
        work = Work(task=task, services=services, found=found, report=report, started=started)
        match task.stage:
            case Stage.REFINE:
                return await refine(work)
            case Stage.FIX:
                return await fix(work)
            case Stage.GENERATE:
                return await generate(work)


# --- refine -------------------------------------------------------------------------------------------------------


async def refine(work: Work) -> Result:
    """Several models and rules propose; each is validated; the fastest is confirmed, or everything rolled back."""
    found = work.found
    _must_work_before(found)
    if found.baseline is None and not found.has_tests:
        raise UserError(
            f"nothing can prove a rewrite of {work.task.target.symbol} right. "
            f"Tests: {found.plan.problem or 'none counts'} Inputs: {'; '.join(found.notes) or 'none are possible'}. "
            "Add a test that calls it or type hints; where time ran out, give more (--budget)"
        )
    if found.baseline is None:
        why = "; ".join(found.notes) or "no inputs are known"
        return work.finish(Status.UNCHANGED, f"{work.task.target.symbol} cannot be timed on its own: {why}")
    timing = await prepare_timing(found, work.report)
    valid = await _proposed_and_validated(work, timing)
    if not valid:
        return work.finish(Status.UNCHANGED, _nothing_better(work))
    work.report(Event(kind="stage", text=f"measuring {len(valid)} that do the same"))
    result = None
    by_version = {validation.version: (candidate, validation) for candidate, validation in valid}
    async for version, comparison in fastest(timing, list(by_version), left=work.left, report=work.report):
        result = await _settle_refined(work, *by_version.pop(version), comparison)
        if result is not None:
            break
    for candidate, _ in by_version.values():
        work.tried(candidate, "does the same; not the fastest", passed=True)
    if result is not None:
        return replace(result, tried=tuple(work.attempts))
    return work.finish(Status.UNCHANGED, _nothing_better(work))


async def _proposed_and_validated(work: Work, timing: Timing) -> list[tuple[Candidate, Validation]]:
    valid: list[tuple[Candidate, Validation]] = []
    work.report(Event(kind="stage", text="looking for faster versions"))
    seen: set[str] = set()
    async with screening(work.found) as screen:
        async for candidate in _refinements(work, timing):
            if candidate.text in seen:
                continue
            seen.add(candidate.text)
            version = Version(label=f"candidate {len(seen)}", text=candidate.text)
            validation = await validate_same(work.found, version, screen)
            if validation.passed:
                valid.append((candidate, validation))
                work.say(candidate, "does the same")
            else:
                work.tried(candidate, validation.problem, passed=False)
            if work.left() <= work.task.budget.seconds / 3:
                work.report(Event(kind="note", text="the rest of the budget goes to measuring"))
                break
    return valid


async def _refinements(work: Work, timing: Timing) -> AsyncIterator[Candidate]:
    target = work.task.target
    hints = Hints(hot_lines=timing.hot_lines)
    for model in work.rewriters():
        for rewrite in itertools.islice(model.propose(target, hints), RULE_PROPOSALS):
            yield Candidate(text=rewrite.text, model=model.name, why=rewrite.why, rule=rewrite.rule)
    for _ in range(REFINE_MODELS):
        tried = [f"{a.model}: {a.outcome}" for a in work.attempts if not a.rule]
        candidate = await work.ask_next(Stage.REFINE, target, _refine_prompt(work, timing, tried), again=False)
        if candidate is None:
            return
        if isinstance(candidate, Candidate):
            yield candidate


def _refine_prompt(work: Work, timing: Timing, tried: Sequence[str]) -> tuple[Message, ...]:
    return refine_messages(work.task, timing.measured, tried=tried, version=work.version)


async def _settle_refined(
    work: Work, candidate: Candidate, validation: Validation, comparison: Comparison
) -> Result | None:
    """A result when the confirmed comparison and the last word allow a claim; else the attempt is noted."""
    found = work.found
    if comparison.verdict is not Verdict.FASTER:
        work.tried(candidate, verdict_words(comparison), passed=True)
        return None
    work.report(Event(kind="stage", text="held-back cases, remaining tests, strength"))
    validation = await decide(found, validation, seconds=max(work.share(FEWEST_SECONDS), work.left()))
    if not validation.passed:
        work.tried(candidate, validation.problem, passed=False)
        return None
    strength = await strength_of(found, work.task.target.text, (), work.share(STRENGTH_SECONDS))
    evidence = evidence_of(found, validation, strength=strength, comparison=comparison)
    work.suggested(candidate, comparison)
    return work.finish(Status.SUGGESTED, candidate.why, candidate=candidate, evidence=evidence)


def _nothing_better(work: Work) -> str:
    tried = len(work.attempts)
    if not tried:
        more = "" if work.services.text_models else "; no language model is configured (perforch models add)"
        stopped = f" {work.stopped}" if work.stopped else ""
        return f"No faster version found: no rule fits {work.task.target.symbol}{more}.{stopped}"
    return f"No faster version found: {tried} tried, none that does the same and is measurably faster."


def _must_work_before(found: Understanding) -> None:
    """Optimizing starts from code that works. Raises UserError."""
    target = found.task.target
    if found.build_error:
        raise UserError(f"{target.path.name} does not load, so nothing can be measured:\n{found.build_error.strip()}")
    if found.plan.broken and not found.plan.reaching:
        raise UserError(f"{found.plan.problem} That was before any change, so nothing was tried. Mend it first")
    if found.plan.failing:
        names = ", ".join(name.rsplit("::", 1)[-1] for name in found.plan.failing[:5])
        raise UserError(
            f"tests of {target.symbol} fail before any change ({names}), so nothing was tried. "
            f"Mend them first; perforch fix {target.path.name}::{target.symbol} may help"
        )


# --- fix ----------------------------------------------------------------------------------------------------------


async def fix(work: Work) -> Result:
    """Repairs and models propose; the tests and examples judge; the best so far is kept and rolled back to."""
    found, target = work.found, work.task.target
    examples = found.examples
    if not found.has_tests and not examples:
        raise UserError(
            f"nothing says what is wrong with {target.symbol}: its documentation has no examples, and "
            f"no test counts ({found.plan.problem or 'none found'}). "
            "Add a failing test, or an example such as `>>> f(1)`"
        )
    best = await validate_wanted(found, found.original, examples)
    if best.passed:
        counted = f"{found.plan.baseline.passed} tests and {len(examples)} documented examples"
        return work.finish(Status.UNCHANGED, f"Nothing fails: {counted} pass. Add one that shows the fault.")
    work.report(Event(kind="note", text=f"to mend: {best.problem}"))
    repaired = await _repair(work, examples)
    if repaired is not None:
        return await _settle_wanted(work, *repaired, examples)
    return await _mend(work, best, examples)


async def _repair(work: Work, examples: Sequence[Example]) -> tuple[Candidate, Validation] | None:
    """Small edits, most suspicious lines first, until one passes everything."""
    models = list(work.rewriters())
    if not models or work.found.build_error:
        return None
    work.report(Event(kind="stage", text="trying small repairs"))
    hints = Hints(suspicion=await suspicion_of(work.found, examples))
    deadline = time.monotonic() + min(REPAIR_SECONDS, work.left() / 2)
    count = 0
    async with quick_check(work.found, examples) as passes:
        for model in models:
            for rewrite in itertools.islice(model.propose(work.task.target, hints), REPAIR_PROPOSALS):
                if time.monotonic() > deadline:
                    break
                count += 1
                work.report(Event(kind="progress", text=f"small repairs: {count} tried"))
                if not await passes(rewrite.text):
                    continue
                candidate = Candidate(text=rewrite.text, model=model.name, why=rewrite.title, rule=rewrite.rule)
                validation = await validate_wanted(
                    work.found, Version(label=rewrite.title, text=rewrite.text), examples
                )
                if validation.passed:
                    return candidate, validation
    work.tried(Candidate(text="", model="repairer"), f"{count} small repairs, none passes", passed=False)
    return None


async def _mend(work: Work, best: Validation, examples: Sequence[Example]) -> Result:
    """Models mend the best program so far, each told what still fails."""
    work.report(Event(kind="stage", text="asking models"))
    while True:
        target = retarget(work.task.target, best.version.text)
        candidate = await work.ask_next(Stage.FIX, target, _fix_prompt(work, target, best))
        if candidate is None:
            return work.finish(Status.UNCHANGED, _not_mended(work, best))
        if not isinstance(candidate, Candidate):
            continue
        version = Version(label=f"{candidate.model}'s", text=candidate.text)
        validation = await validate_wanted(work.found, version, examples)
        if validation.passed:
            return await _settle_wanted(work, candidate, validation, examples)
        work.tried(candidate, validation.problem, passed=False)
        if validation.score > best.score:
            best = validation


def _fix_prompt(work: Work, target: Target, best: Validation) -> tuple[Message, ...]:
    tests = best.tests
    return fix_messages(
        replace(work.task, target=target, stage=Stage.FIX),
        failures=tests.failures if tests else (),
        examples=best.examples,
        passing=[name.rsplit("::", 1)[-1] for name in tests.names] if tests else (),
        build_error=best.build_error,
        version=work.version,
    )


async def _settle_wanted(
    work: Work, candidate: Candidate, validation: Validation, examples: Sequence[Example]
) -> Result:
    """The last word on a candidate that its tests and examples accept."""
    work.report(Event(kind="stage", text="remaining tests, strength"))
    found = work.found
    validation = await decide(found, validation, seconds=max(work.share(FEWEST_SECONDS), work.left()))
    if not validation.passed:
        work.tried(candidate, validation.problem, passed=False)
        return work.finish(Status.UNCHANGED, f"The best attempt breaks something else: {validation.problem}")
    strength = await strength_of(found, candidate.text, examples, work.share(STRENGTH_SECONDS))
    evidence = evidence_of(found, validation, strength=strength, shown=work.task.stage is Stage.GENERATE)
    work.suggested(candidate, None)
    return work.finish(Status.SUGGESTED, candidate.why, candidate=candidate, evidence=evidence)


def _not_mended(work: Work, best: Validation) -> str:
    if not work.services.text_models:
        unasked = "was to be asked" if work.task.models else "is configured (perforch models add)"
        repairs = "no small repair passes" if work.attempts else "no small repair was tried"
        return f"Not mended: {repairs} ({best.problem}), and no language model {unasked}."
    return f"Not mended: {len(work.attempts)} attempts, none passes. Still: {best.problem}"


# --- generate -----------------------------------------------------------------------------------------------------


async def generate(work: Work) -> Result:
    """The router's models write the target; what fails goes to the next model to fix."""
    found, target = work.found, work.task.target
    if not work.services.text_models:
        raise EnvironmentProblem(
            "generating code needs a language model, and none is configured. Start a local one (Ollama, LM Studio, "
            "llama.cpp) and run `perforch models list`, or add a hosted one with `perforch models add`"
        )
    examples = found.examples
    work.report(Event(kind="stage", text="asking models"))
    best: Validation | None = None
    while True:
        if best is None:
            prompt = generate_messages(
                work.task, examples=work.task.examples, tests=found.plan.reaching, version=work.version
            )
            candidate = await work.ask_next(Stage.GENERATE, target, prompt)
        else:
            now = retarget(target, best.version.text)
            candidate = await work.ask_next(Stage.FIX, now, _fix_prompt(work, now, best))
        if candidate is None:
            still = f" Still: {best.problem}" if best else ""
            stopped = f" ({work.stopped})" if work.stopped else ""
            tried = f"{len(work.attempts)} attempt{'' if len(work.attempts) == 1 else 's'}, none passes"
            return work.finish(Status.UNCHANGED, f"Not written: {tried}{stopped}.{still}")
        if not isinstance(candidate, Candidate):
            continue
        version = Version(label=f"{candidate.model}'s", text=candidate.text)
        validation = await validate_wanted(found, version, examples)
        if validation.passed and not found.has_tests and not examples:
            return await _unproven(work, candidate, validation)
        if validation.passed:
            return await _settle_wanted(work, candidate, validation, examples)
        work.tried(candidate, validation.problem, passed=False)
        if best is None or validation.score > best.score:
            best = validation


async def _unproven(work: Work, candidate: Candidate, validation: Validation) -> Result:
    """It loads, and nothing else is known: show what it does on a few inputs, for the user to confirm."""
    found = work.found
    lines = await _examples_to_confirm(found, validation.version)
    evidence = replace(evidence_of(found, validation), notes=(*found.told, *lines))
    why = "No test and no example says what is right: it builds, unproven."
    if lines:
        why += " Confirm what is right of what it does, as a test or as an example:\n  " + "\n  ".join(lines)
    work.say(candidate, "builds, unproven")
    return work.finish(Status.UNPROVEN, why, candidate=candidate, evidence=evidence)


async def _examples_to_confirm(found: Understanding, version: Version) -> list[str]:
    """What a written candidate does on a few small inputs, those on which it returns first."""
    await learn_cases(found, silent, version=version)
    if found.baseline is None:
        return []
    ranked = sorted(
        zip(found.baseline.cases, found.baseline.observations, strict=True),
        key=lambda pair: (pair[1].raised is not None, abs(len(pair[0].arguments["nodes"]) - 5)),
    )
    symbol = found.task.target.symbol
    return [f"{call_text(symbol, case)} {_outcome(seen)}" for case, seen in ranked[:SHOWN_EXAMPLES]]


def _outcome(seen: Observation) -> str:
    """What a call did, in the form in which a user can confirm it."""
    if seen.raised is not None:
        return f"raises {seen.raised[0].rsplit('.', 1)[-1]}"
    return f"== {outcome_text(seen)}"


# --- compare ------------------------------------------------------------------------------------------------------


async def compare_files(
    before: Target, after: Target, services: Services, *, seconds: float, report: Reporter = silent
) -> tuple[Evidence, float]:
    """`perforch compare`: the evidence on AFTER as a replacement of BEFORE, and the seconds it took."""
    from perforch_core.task import Budget

    started = time.monotonic()
    task = Task(stage=Stage.REFINE, target=before, budget=Budget(seconds=seconds))
    async with understanding_of(task, services.settings, services.sandbox, report) as found:
        work = Work(task=task, services=services, found=found, report=report, started=started)
        if found.build_error:
            raise UserError(f"{before.path.name} does not load:\n{found.build_error.strip()}")
        if found.baseline is None:
            raise UserError(
                f"no inputs are known on which {before.symbol} returns: {'; '.join(found.notes)}. "
                "Add type hints, or a test that calls it"
            )
        version = Version(label=after.path.name, text=after.text)
        async with screening(found) as screen:
            validation = await validate_same(found, version, screen)
        if validation.passed:
            validation = await decide(found, validation, seconds=work.left())
        if not validation.passed:
            return evidence_of(found, validation, strength=found.strength), time.monotonic() - started
        report(Event(kind="stage", text="measuring"))
        timing = await prepare_timing(found, report)
        comparison = await timing.compare(version, budget=work.left(), report=report)
        strength = await strength_of(found, before.text, (), work.share(STRENGTH_SECONDS))
        evidence = evidence_of(found, validation, strength=strength, comparison=comparison)
        return evidence, time.monotonic() - started
