"""Understand a target: its project, signature, tests and cases, with the original run on all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from perforch_core.evidence import Strength
from perforch_core.languages import function_of
from perforch_core.languages.interface import BuildFailed, Case, DriverDied, Function, Observation, Signature, Version
from perforch_core.languages.python_harness import DriverLimits, PythonHarness
from perforch_core.languages.python_project import find_project
from perforch_core.oracle import project_tests
from perforch_core.oracle.examples import examples_of
from perforch_core.oracle.generate import generate_cases, informative
from perforch_core.oracle.guess import guess_types, source_constants
from perforch_core.oracle.judge import hold_back, stable_cases
from perforch_core.oracle.project_tests import TestPlan
from perforch_core.sandbox.interface import Sandbox
from perforch_core.settings import Settings
from perforch_core.task import Event, Reporter, Stage, Task

CASES = 240
TESTS_SECONDS = 60.0
TRIAL = 30
"""Cases tried for each guess at the types of a target without hints."""


@dataclass(slots=True, kw_only=True)
class Known:
    """Inputs with what the original did on them; `held_back` are shown to no model and tried last."""

    cases: list[Case] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    held_back: list[Case] = field(default_factory=list)
    held_seen: list[Observation] = field(default_factory=list)

    @property
    def normal_returns(self) -> int:
        """On how many of all the cases the original returns instead of raising."""
        return sum(o.raised is None for o in (*self.seen, *self.held_seen))


@dataclass(slots=True, kw_only=True)
class Understanding:
    """All that is known of a task's target before anything is proposed."""

    task: Task
    function: Function
    harness: PythonHarness
    sandbox: Sandbox
    signature: Signature
    plan: TestPlan
    examples: list[Case]
    known: Known = field(default_factory=Known)
    canary: bool | None = None
    build_error: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def original(self) -> Version:
        """The target as it stands."""
        return Version(label="original", text=self.task.target.text)

    @property
    def has_tests(self) -> bool:
        """Whether tests reach the target and the canary did not show them to be blind."""
        return bool(self.plan.reaching) and self.canary is not False

    @property
    def samples(self) -> list[Case]:
        """Calls known to make sense: from the documentation and captured from the tests."""
        return [*self.examples, *self.plan.captured]

    @property
    def strength(self) -> Strength:
        """What is known of the oracle's strength before mutants are tried."""
        return Strength(canary=self.canary)


@asynccontextmanager
async def understanding_of(
    task: Task, settings: Settings, sandbox: Sandbox, report: Reporter
) -> AsyncIterator[Understanding]:
    """Open a task's target; its processes end with the context. Raises UserError, EnvironmentProblem."""
    target = task.target
    project = await asyncio.to_thread(find_project, target.path, python=settings.interpreter)
    limits = DriverLimits(memory=settings.limits.memory)
    harness = PythonHarness(project, target, sandbox, limits=limits)
    try:
        report(Event(kind="stage", text=f"understanding {target.symbol} in {target.path.name}"))
        async with asyncio.TaskGroup() as group:
            signed = group.create_task(_signature(harness))
            seconds = min(TESTS_SECONDS, max(5.0, task.budget.seconds / 2))
            planned = group.create_task(
                project_tests.discover(project, target, sandbox, seconds=seconds, report=report)
            )
        signature, build_error = signed.result()
        found = Understanding(
            task=task,
            function=function_of(target),
            harness=harness,
            sandbox=sandbox,
            signature=signature,
            plan=planned.result(),
            examples=examples_of(target, signature).cases,
            build_error=build_error,
        )
        found.notes += found.plan.notes
        if found.plan.reaching and not (task.stage is Stage.REFINE and found.plan.failing):
            await _try_canary(found, report)
        yield found
    except* (DriverDied,) as group:
        raise group.exceptions[0] from None
    finally:
        await harness.aclose()


async def _signature(harness: PythonHarness) -> tuple[Signature, str]:
    try:
        return await harness.signature(), ""
    except BuildFailed as error:
        return Signature(parameters=(), problem="the file does not load"), str(error)


async def _try_canary(found: Understanding, report: Reporter) -> None:
    blind = await project_tests.canary_survivors(found.plan, found.sandbox)
    if blind:
        found.plan = project_tests.without(found.plan, blind)
        text = f"{len(blind)} tests pass even on a body that aborts, so they do not count"
        report(Event(kind="warning", text=text))
        found.notes.append(text)
    found.canary = bool(found.plan.reaching)


async def learn_cases(found: Understanding, report: Reporter, *, seed: int) -> None:
    """Generate cases and run the original on them; what varies from run to run is dropped and said."""
    if found.signature.problem:
        found.notes.append(f"no cases: {found.signature.problem}")
        return
    signature = await _with_types(found, seed)
    constants = source_constants(found.task.target.code)
    cases = [
        *found.samples,
        *generate_cases(signature, count=CASES, seed=seed, samples=found.samples, constants=constants),
    ]
    if not cases:
        found.notes.append("no cases: its arguments cannot be made up, and no test passes any that could be recorded")
        return
    report(Event(kind="progress", text=f"running the original on {len(cases)} inputs"))
    stable = await stable_cases(found.harness, found.original, cases)
    found.notes += stable.notes
    kept = informative(stable.cases, stable.observations)
    cases = [stable.cases[i] for i in kept]
    seen = [stable.observations[i] for i in kept]
    if not any(o.raised is None for o in seen):
        found.notes.append("no cases: the original returns normally on none of the inputs tried")
        return
    found.signature = signature
    found.known = _split(cases, seen, seed)
    returned = found.known.normal_returns
    report(Event(kind="note", text=f"{len(cases)} inputs to compare on; the original returns on {returned} of them"))


def _split(cases: Sequence[Case], seen: Sequence[Observation], seed: int) -> Known:
    shown, held = hold_back(range(len(cases)), seed=seed)
    return Known(
        cases=[cases[i] for i in shown],
        seen=[seen[i] for i in shown],
        held_back=[cases[i] for i in held],
        held_seen=[seen[i] for i in held],
    )


async def _with_types(found: Understanding, seed: int) -> Signature:
    """The signature with its untyped parameters guessed: the guess on which the original returns most often."""
    guesses = guess_types(found.signature, found.task.target.code)
    if len(guesses) < 2 or found.samples:
        return found.signature if found.samples else guesses[0]
    best, most = guesses[0], -1
    for guess in guesses:
        cases = generate_cases(guess, count=TRIAL, seed=seed)
        returned = await _returns(found, cases)
        if returned > most:
            best, most = guess, returned
        if returned >= 0.9 * TRIAL:
            break
    return best


async def _returns(found: Understanding, cases: Sequence[Case]) -> int:
    """On how many cases the original returns, in one process; what kills it counts as not."""
    driver = await found.harness.start(found.original)
    returned = 0
    try:
        for case in cases:
            seen = await driver.call(case, timeout=1.0)
            returned += not seen.dead and seen.raised is None
            if driver.closed:
                driver = await found.harness.start(found.original)
    finally:
        await driver.close()
    return returned


def with_examples(found: Understanding) -> list[Case]:
    """The documented examples whose result is known."""
    return [replace(case, origin="docs") for case in found.examples if case.expected is not None]
