"""Understand a target: its project, signature, tests and cases, with the original run on all of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from perforch_core.evidence import Evidence, Strength
from perforch_core.languages import function_of
from perforch_core.languages.interface import BuildFailed, Case, DriverDied, Function, Project, Signature, Version
from perforch_core.languages.python_harness import LOAD_SECONDS, DriverLimits, PythonHarness
from perforch_core.languages.python_project import describe_interpreter, find_project
from perforch_core.oracle import project_tests
from perforch_core.oracle.examples import Example, find_examples, user_example
from perforch_core.oracle.judge import Baseline, find_cases, split
from perforch_core.oracle.project_tests import TestPlan
from perforch_core.sandbox.interface import Sandbox
from perforch_core.settings import Settings
from perforch_core.task import EnvironmentProblem, Event, Reporter, Stage, Target, Task, UserError

CASES = 240
CASES_SECONDS = 15.0
TESTS_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Understanding:
    """All that is known of a task's target before anything is proposed."""

    task: Task
    function: Function
    harness: PythonHarness
    sandbox: Sandbox
    signature: Signature
    plan: TestPlan
    examples: tuple[Example, ...]
    baseline: Baseline | None = None
    held_back: Baseline | None = None
    canary: bool | None = None
    build_error: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def original(self) -> Version:
        """The target as it stands."""
        return Version(label="original", text=self.task.target.text)

    @property
    def language_version(self) -> str:
        """The language and its version in the project, for prompts."""
        return "Python {}.{}".format(*describe_interpreter(self.harness.project.interpreter).version)

    @property
    def has_tests(self) -> bool:
        """Whether tests reach the target and the canary did not show them to be blind."""
        return bool(self.plan.reaching) and self.canary is not False

    @property
    def told(self) -> tuple[str, ...]:
        """The notes for the evidence, and why tests that exist say nothing."""
        tests = (f"tests: {self.plan.problem}",) if self.plan.problem and self.plan.baseline.problem else ()
        return tuple(dict.fromkeys((*tests, *self.notes)))

    @property
    def samples(self) -> list[Case]:
        """Calls known to make sense: from the documentation and captured from the tests."""
        return [*(example.case for example in self.examples), *self.plan.captured]

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
    limits = DriverLimits(memory=settings.limits.memory, load=min(LOAD_SECONDS, max(5.0, task.budget.seconds / 2)))
    harness = PythonHarness(project, target, sandbox, limits=limits)
    try:
        report(Event(kind="stage", text=f"understanding {target.symbol} in {target.path.name}"))
        seconds = min(TESTS_SECONDS, max(5.0, task.budget.seconds / 2))
        planning = asyncio.create_task(_plan(project, target, sandbox, seconds, report))
        try:
            signature, build_error = await _signature(harness)
            plan = await planning
        finally:
            await _ended(planning)
        function = function_of(target)
        in_class = function.in_class
        found = Understanding(
            task=task,
            function=function,
            harness=harness,
            sandbox=sandbox,
            signature=signature,
            plan=plan,
            examples=(*_confirmed(task), *find_examples(function.docstring, target.symbol, method=in_class).found),
            build_error=build_error,
        )
        found.notes += found.plan.notes
        if task.stage is Stage.REFINE and found.plan.late:
            # They fail by their time alone, which says nothing about the code; the plan's notes tell of them.
            late = found.plan.late
            found.plan = project_tests.without(found.plan, late)
            if not found.plan.reaching:
                names = ", ".join(name.rsplit("::", 1)[-1] for name in late[:3])
                raise UserError(f"no test of {target.symbol} comes to an end ({names}), so nothing was tried")
        if found.plan.reaching and not (task.stage is Stage.REFINE and found.plan.failing):
            trying = asyncio.create_task(_try_canary(found, report))
            try:
                if task.stage is Stage.REFINE and not build_error:
                    await learn_cases(found, report)  # meanwhile: they do not need to know
                await trying
            finally:
                await _ended(trying)
        elif task.stage is Stage.REFINE and not build_error and not found.plan.failing:
            await learn_cases(found, report)
        yield found
    except (DriverDied, BuildFailed) as error:
        raise EnvironmentProblem(
            f"a sandboxed run of {target.symbol} ended where it should not have ({error}). Try again; "
            "perforch doctor shows whether the sandbox is well"
        ) from error
    finally:
        await harness.aclose()


async def _plan(project: Project, target: Target, sandbox: Sandbox, seconds: float, report: Reporter) -> TestPlan:
    try:
        return await project_tests.discover(project, target, sandbox, seconds=seconds, report=report)
    except EnvironmentProblem as problem:
        # Without a sandbox for tests the cases can still judge; what is missing is said beside the evidence.
        report(Event(kind="warning", text=str(problem)))
        return TestPlan(target=target, project=project, problem=str(problem), notes=(str(problem),))


async def _ended(task: asyncio.Task[Any]) -> None:
    """End a task for good; its own error, if it has one, was told or is about to be."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _confirmed(task: Task) -> tuple[Example, ...]:
    return tuple(user_example(text, task.target.symbol) for text in task.examples)


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


async def learn_cases(found: Understanding, report: Reporter, *, version: Version | None = None) -> None:
    """Find inputs on which the original (or `version` in its place) is steady; part of them is held back."""
    if found.signature.problem:
        found.notes.append(f"no cases: {found.signature.problem}")
        return
    version = version or found.original
    report(Event(kind="progress", text="running the original on generated inputs"))
    seconds = min(CASES_SECONDS, found.task.budget.seconds / 4)
    baseline = await find_cases(
        found.harness,
        version,
        found.signature,
        source=found.task.target.code,
        count=CASES,
        samples=found.samples,
        seconds=seconds,
    )
    found.notes += baseline.notes
    if not baseline.normal_returns:
        if baseline.cases:
            raised = Counter(seen.raised[0] for seen in baseline.observations if seen.raised)
            named = "".join(f" (mostly {name.rsplit('.', 1)[-1]})" for name, _ in raised.most_common(1))
            why = f"it returns normally on none of those tried{named}"
        elif baseline.dropped:
            tried = [reason for _, reason in baseline.dropped if not reason.startswith("not tried")]
            first = Counter(tried).most_common(1)[0][0] if tried else ""
            never = first.startswith(("no answer", "the process"))
            why = f"it never returns: {first}" if never else "none of those tried could be kept"
        else:
            why = "its arguments cannot be made up, and no test passes any that could be recorded"
        found.notes.append(f"no cases: {why}")
        return
    found.signature = baseline.signature
    found.baseline, found.held_back = split(baseline, seed=CASES)
    text = f"{len(baseline.cases)} inputs to compare on; the original returns normally on {baseline.normal_returns}"
    report(Event(kind="note", text=text))


def evidence_on_original(found: Understanding) -> Evidence:
    """What was established about the target as it stands, for a task that ends without a suggestion."""
    parts = [part for part in (found.baseline, found.held_back) if part is not None]
    return Evidence(
        builds=not found.build_error,
        tests=found.plan.baseline if found.plan.reaching else None,
        cases=sum(len(part.cases) for part in parts),
        held_back=len(found.held_back.cases) if found.held_back else 0,
        normal_returns=sum(part.normal_returns for part in parts),
        strength=found.strength,
        sandbox=found.sandbox.name,
        notes=found.told,
    )
