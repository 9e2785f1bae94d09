"""Validate one candidate: it loads, behaves as the original on the cases, and passes the tests. Cheapest first."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from perforch_core.evidence import Counterexample, Evidence, Strength, TestReport
from perforch_core.languages import named_function, new_state
from perforch_core.languages.interface import BuildFailed, Driver, DriverDied, Version
from perforch_core.oracle import examples as examples_module
from perforch_core.oracle import mutants, project_tests
from perforch_core.oracle.examples import Example, check
from perforch_core.oracle.generate import generate_cases
from perforch_core.oracle.judge import Baseline, Judgement, judge, minimal_counterexample, stable_cases
from perforch_core.understanding import Understanding

Screen = Callable[[str], Awaitable[TestReport | None]]
"""Runs the tests that reach the target on a text, up to the first failure."""

TEST_SECONDS = 60.0
MUTANTS = 20
SHRINK_SECONDS = 3.0
QUICK_SECONDS = 10.0
WIDER_CASES = 400
TRACED = 40
WIDER_SECONDS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What trying a candidate showed. `problem` is "" when it passed, else a few words on how it failed.

    `score` orders failed candidates: the share of tests and examples passed.
    """

    version: Version
    problem: str = ""
    build_error: str = ""
    tests: TestReport | None = None
    judgement: Judgement | None = None
    examples: tuple[Counterexample, ...] = ()
    examples_passed: int = 0

    @property
    def passed(self) -> bool:
        """Nothing was found against it."""
        return not self.problem

    @property
    def score(self) -> float:
        """0..1."""
        if self.build_error:
            return 0.0
        passed = self.examples_passed + (self.tests.passed if self.tests else 0)
        failed = len(self.examples) + (self.tests.failed if self.tests else 0)
        return passed / (passed + failed) if passed + failed else 0.5


async def validate_same(found: Understanding, version: Version, screen: Screen) -> Validation:
    """Try a candidate that must do as the original does: cases, then tests in a warm runner."""
    try:
        await (await found.harness.start(version)).close()
    except (BuildFailed, DriverDied) as error:
        return Validation(version=version, problem=f"does not load: {_last_line(error)}", build_error=str(error))
    judgement = None
    if found.baseline is not None:
        judgement = await judge(found.harness, version, found.baseline, symbol=found.task.target.symbol)
        if judgement.reason:
            judgement = await _smallest(found, version, judgement)
            return Validation(version=version, problem=_difference(judgement), judgement=judgement)
    tests = await screen(version.text)
    if _tests_problem(tests):
        # Before a candidate is called wrong, it gets a run of its own: the warm one is short of time on a busy machine.
        tests = await run_tests(found, version.text)
    return Validation(version=version, problem=_tests_problem(tests), tests=tests, judgement=judgement)


async def validate_wanted(found: Understanding, version: Version, examples: Sequence[Example]) -> Validation:
    """Try a candidate that must do what the tests and examples say, whatever the original does."""
    failed: list[Counterexample] = []
    try:
        driver = await found.harness.start(version)
        await driver.close()
        failed = await failing_examples(found, version, examples)
    except (BuildFailed, DriverDied) as error:
        return Validation(version=version, problem=f"does not load: {_last_line(error)}", build_error=str(error))
    tests = None
    if found.has_tests:
        known = version.text == found.original.text
        tests = found.plan.baseline if known else await run_tests(found, version.text)
    problem = f"example {in_words(failed[0])}" if failed else _tests_problem(tests)
    return Validation(
        version=version,
        problem=problem,
        tests=tests,
        examples=tuple(failed),
        examples_passed=len(examples) - len(failed),
    )


async def failing_examples(found: Understanding, version: Version, examples: Sequence[Example]) -> list[Counterexample]:
    """The examples that a version does not meet. Raises BuildFailed."""

    async def start() -> Driver:
        return await found.harness.start(version)

    return await examples_module.failing_examples(start, examples, symbol=found.task.target.symbol)


async def run_tests(found: Understanding, text: str) -> TestReport:
    """The tests that reach the target, on a version of its file."""
    return await project_tests.run(found.plan, text, found.sandbox, seconds=TEST_SECONDS)


def _tests_problem(tests: TestReport | None) -> str:
    if tests is None:
        return ""
    if tests.failures:
        first = tests.failures[0]
        return f"fails {first.name.rsplit('::', 1)[-1]}: {first.message.splitlines()[0][:120] if first.message else ''}"
    return tests.problem or ""


def in_words(example: Counterexample) -> str:
    """A counterexample in one line."""
    if example.actual.startswith(f"{example.expected}, but "):
        return f"{_cut(example.call)} gives {_cut(example.actual, 200)}"
    return f"{_cut(example.call)} gives {_cut(example.actual)}, not {_cut(example.expected)}"


def _cut(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else type(error).__name__


async def _smallest(found: Understanding, version: Version, judgement: Judgement) -> Judgement:
    """The judgement with its counterexample shrunk."""
    example = await minimal_counterexample(
        found.harness,
        found.original,
        version,
        judgement,
        symbol=found.task.target.symbol,
        signature=found.signature,
        seconds=SHRINK_SECONDS,
    )
    return replace(judgement, counterexample=example)


def _difference(judgement: Judgement) -> str:
    if judgement.counterexample is None:
        return judgement.words or judgement.reason
    if judgement.reason == "different":
        return in_words(judgement.counterexample)
    return f"{judgement.reason}: {judgement.words} on {_cut(judgement.counterexample.call)}"


async def decide(found: Understanding, validation: Validation, *, seconds: float) -> Validation:
    """The last word on the exact final bytes: held-back cases, the tests in a process of their own, then all others.

    `seconds` bounds those others; when they do not finish in it, that is a note, not a failure.
    """
    version = validation.version
    if found.held_back is not None and found.held_back.cases:
        judgement = await judge(found.harness, version, found.held_back, symbol=found.task.target.symbol)
        if judgement.reason:
            judgement = await _smallest(found, version, judgement)
            problem = "on a held-back case, " + _difference(judgement)
            return replace(validation, problem=problem, judgement=judgement)
    if found.has_tests:
        tests = await run_tests(found, version.text)
        validation = replace(validation, tests=tests, problem=_tests_problem(tests))
        if validation.problem:
            return validation
        seconds = min(seconds, TEST_SECONDS)
        rest = await project_tests.run(found.plan, version.text, found.sandbox, which="rest", seconds=seconds)
        if rest.problem:
            found.notes.append(f"the project's other tests were not finished: {rest.problem}")
        elif rest.failures:
            return replace(validation, problem="another test fails: " + _tests_problem(rest), tests=rest)
    return validation


async def strength_of(found: Understanding, text: str, examples: Sequence[Example], seconds: float) -> Strength:
    """How many mutants of `text` the oracle kills: by its cases and examples first, what survives by the tests."""
    function = named_function(text, found.task.target)
    if function is None:
        return found.strength
    lines = await _lines_run(found, text)
    chosen = mutants.choose(text, function, count=MUTANTS, seed=1, lines=lines)
    wider: list[Baseline | None] = []
    symbol = found.task.target.symbol

    async def kills(mutant: mutants.Mutant) -> bool | None:
        version = Version(label=mutant.label, text=mutant.text)
        try:
            if found.baseline is not None:
                for part in (found.baseline, found.held_back):
                    if (
                        part is not None
                        and (await judge(found.harness, version, part, symbol=symbol, seeds=(0,))).reason
                    ):
                        return True
            if examples and await failing_examples(found, version, examples):
                return True
        except (BuildFailed, DriverDied):
            return True
        return bool(_tests_problem(await screen(mutant.text)))

    async def agrees(mutant: mutants.Mutant) -> bool:
        if not wider:  # made when the first mutant survives: most oracles kill them all
            wider.append(await _more_cases(found, text))
        if wider[0] is None or not wider[0].cases:
            return False
        version = Version(label=mutant.label, text=mutant.text)
        return (await judge(found.harness, version, wider[0], symbol=symbol, seeds=(0,))).same

    async with screening(found) as screen:
        measured = await mutants.measure_strength(kills, chosen, agrees=agrees, seconds=seconds)
    return mutants.with_canary(measured, found.canary)


async def _lines_run(found: Understanding, text: str) -> frozenset[int] | None:
    """The lines of the file that some inputs run; None where no cases are known."""
    if found.baseline is None:
        return None
    driver = await found.harness.start(Version(label="traced", text=text))
    lines: set[int] = set()
    try:
        for case in found.baseline.cases[:TRACED]:
            lines |= (await driver.call(case, timeout=5.0, trace=True)).lines
    finally:
        await driver.close()
    return frozenset(lines) or None


async def _more_cases(found: Understanding, text: str) -> Baseline | None:
    """Many inputs independent of the oracle's own, by which mutants that mean the same are told."""
    if found.signature.problem:
        return None
    cases = generate_cases(found.signature, count=WIDER_CASES, seed=77, samples=found.samples)
    version = Version(label="reference", text=text)
    return await stable_cases(found.harness, version, cases, timeout=1.0, seconds=WIDER_SECONDS)


def evidence_of(found: Understanding, validation: Validation, **more: object) -> Evidence:
    """The evidence for a candidate that passed."""
    judgement = validation.judgement
    parts = [part for part in (found.baseline, found.held_back) if part is not None]
    state = new_state(found.task.target, validation.version.text)
    oracles = []
    compared = judgement is not None
    if compared:
        oracles.append("the original's behaviour")
    if validation.tests is not None and validation.tests.names:
        oracles.append(f"the project's tests ({found.plan.runner})")
    if validation.examples_passed:
        oracles.append("documented examples")
    return Evidence(
        oracles=tuple(oracles),
        builds=not validation.build_error,
        tests=validation.tests,
        cases=sum(len(part.cases) for part in parts) if compared else validation.examples_passed,
        held_back=len(found.held_back.cases) if compared and found.held_back else 0,
        normal_returns=sum(part.normal_returns for part in parts) if compared else validation.examples_passed,
        counterexample=judgement.counterexample if judgement else None,
        sandbox=found.sandbox.name,
        notes=tuple(dict.fromkeys((*state, *found.told, *(judgement.notes if judgement else ())))),
        **more,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def quick_check(
    found: Understanding, examples: Sequence[Example]
) -> AsyncIterator[Callable[[str], Awaitable[bool]]]:
    """A cheap test of many candidates: the examples, then the tests in a warm runner, those that failed first.

    What passes has still to be validated in full.
    """
    async with screening(found) as screen:

        async def passes(text: str) -> bool:
            version = Version(label="repair", text=text)
            try:
                if examples and await failing_examples(found, version, examples):
                    return False
            except (BuildFailed, DriverDied):
                return False
            return not _tests_problem(await screen(text))

        yield passes


@asynccontextmanager
async def screening(found: Understanding) -> AsyncIterator[Screen]:
    """Tests for many candidates: a warm runner, up to the first failure; None where no tests count."""
    if not found.has_tests:

        async def nothing(text: str) -> TestReport | None:
            return None

        yield nothing
        return
    # A test that failed on the original tells the most candidates apart, so it goes first.
    first = [name for name in found.plan.reaching if name in found.plan.failing]
    names = (*first, *(name for name in found.plan.reaching if name not in first))
    plan = replace(found.plan, reaching=names)
    slowest = max((plan.durations.get(name, 0.0) for name in names), default=0.0)
    async with project_tests.screening(plan, found.sandbox, seconds=min(QUICK_SECONDS, 2 + 5 * slowest)) as check:
        yield check


async def suspicion_of(found: Understanding, examples: Sequence[Example]) -> dict[int, float]:
    """How much the failing tests and examples point at each line (Ochiai; Abreu et al., 2007), by 1-based line."""
    runs: list[tuple[bool, frozenset[int]]] = []
    if found.has_tests:
        lines = await project_tests.run(
            found.plan, found.original.text, found.sandbox, seconds=TEST_SECONDS, lines=True
        )
        runs += [(name not in lines.names, ran) for name, ran in lines.by_test.items()]
    with contextlib.suppress(BuildFailed, DriverDied):
        driver = await found.harness.start(found.original)
        for example in examples:
            seen = await driver.call(example.case, timeout=5.0, trace=True)
            runs.append((check(example, seen) is not None, seen.lines))
            if driver.closed:
                driver = await found.harness.start(found.original)
        await driver.close()
    failing = sum(failed for failed, _ in runs)
    scores: dict[int, float] = {}
    for line in frozenset().union(*(ran for _, ran in runs)):
        hit = sum(failed and line in ran for failed, ran in runs)
        total = sum(line in ran for _, ran in runs)
        scores[line] = hit / math.sqrt(failing * total) if failing and total else 0.0
    return scores
