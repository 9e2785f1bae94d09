"""Validate one candidate: it loads, behaves as the original on the cases, and passes the tests. Cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from perforch_core.evidence import Counterexample, Evidence, Strength, TestReport
from perforch_core.languages import find_functions
from perforch_core.languages.interface import BuildFailed, Case, DriverDied, Function, Observation, Version
from perforch_core.oracle import mutants, project_tests
from perforch_core.oracle.equivalence import difference
from perforch_core.oracle.generate import generate_cases
from perforch_core.oracle.judge import Judgement, judge
from perforch_core.understanding import Known, Understanding
from perforch_core.values import source_text

TEST_SECONDS = 60.0
MUTANTS = 20


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


async def validate_same(found: Understanding, version: Version) -> Validation:
    """Try a candidate that must do as the original does: cases, then tests."""
    try:
        await (await found.harness.start(version)).close()
    except (BuildFailed, DriverDied) as error:
        return Validation(version=version, problem=f"does not load: {_last_line(error)}", build_error=str(error))
    judgement = None
    if found.known.cases:
        judgement = await judge(found.harness, found.known.cases, found.known.seen, version)
        if judgement.counterexample:
            problem = "differs: " + in_words(judgement.counterexample)
            return Validation(version=version, problem=problem, judgement=judgement)
    tests = await run_tests(found, version.text) if found.has_tests else None
    return Validation(version=version, problem=_tests_problem(tests), tests=tests, judgement=judgement)


async def validate_wanted(found: Understanding, version: Version, examples: Sequence[Case]) -> Validation:
    """Try a candidate that must do what the tests and examples say, whatever the original does."""
    failed: list[Counterexample] = []
    try:
        driver = await found.harness.start(version)
        await driver.close()
        failed = await failing_examples(found, version, examples)
    except (BuildFailed, DriverDied) as error:
        return Validation(version=version, problem=f"does not load: {_last_line(error)}", build_error=str(error))
    tests = await run_tests(found, version.text) if found.has_tests else None
    problem = f"example {in_words(failed[0])}" if failed else _tests_problem(tests)
    return Validation(
        version=version,
        problem=problem,
        tests=tests,
        examples=tuple(failed),
        examples_passed=len(examples) - len(failed),
    )


async def failing_examples(found: Understanding, version: Version, examples: Sequence[Case]) -> list[Counterexample]:
    """The examples whose expected result a version does not give. Raises BuildFailed."""
    failed = []
    driver = await found.harness.start(version)
    try:
        for case in examples:
            seen = await driver.call(case, timeout=5.0)
            example = _unmet(found, case, seen)
            if example is not None:
                failed.append(example)
            if driver.closed:
                driver = await found.harness.start(version)
    finally:
        await driver.close()
    return failed


def _unmet(found: Understanding, case: Case, seen: Observation) -> Counterexample | None:
    assert case.expected is not None
    expected = source_text(case.expected, case.expected["roots"][0])
    if seen.graph is not None and seen.raised is None:
        result = {"nodes": seen.graph["nodes"], "roots": seen.graph["roots"][:1]}
        wanted = Observation(graph=case.expected)
        if difference(wanted, Observation(graph=result)) is None:  # type: ignore[arg-type]
            return None
    return Counterexample(
        call=call_text(found.task.target.symbol, case), expected=expected, actual=shown(seen), traceback=seen.traceback
    )


def call_text(symbol: str, case: Case) -> str:
    """A case as a call a person can paste."""
    roots = case.arguments["roots"]
    plain = len(roots) - len(case.keywords)
    parts = [source_text(case.arguments, root) for root in roots[:plain]]
    named = zip(case.keywords, roots[plain:], strict=True)
    parts += [f"{name}={source_text(case.arguments, root)}" for name, root in named]
    return f"{symbol.rsplit('.', 1)[-1]}({', '.join(parts)})"


def shown(seen: Observation) -> str:
    """What a call did, in one line."""
    if seen.dead:
        return seen.dead
    if seen.raised is not None:
        return f"raises {seen.raised[0]}: {seen.raised[1]}"[:300]
    assert seen.graph is not None
    return source_text(seen.graph, seen.graph["roots"][0], limit=300)


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
    return f"{_cut(example.call)} gives {_cut(example.actual)}, not {_cut(example.expected)}"


def _cut(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else type(error).__name__


async def decide(found: Understanding, validation: Validation) -> Validation:
    """The last word: the held-back cases and the tests not run yet, on the exact final bytes."""
    version, known = validation.version, found.known
    if known.held_back:
        judgement = await judge(found.harness, known.held_back, known.held_seen, version)
        if judgement.counterexample:
            problem = "differs on a held-back case: " + in_words(judgement.counterexample)
            return replace(validation, problem=problem, judgement=judgement)
    if found.has_tests:
        rest = await project_tests.run(found.plan, version.text, found.sandbox, which="rest", seconds=TEST_SECONDS)
        if rest.failures:
            return replace(validation, problem="another test fails: " + _tests_problem(rest), tests=rest)
    return validation


async def strength_of(
    found: Understanding, text: str, known: Known, examples: Sequence[Case], seconds: float
) -> Strength:
    """How many mutants of `text` the oracle kills: by its cases first, what survives those by the tests."""
    function = _same_function(found, text)
    if function is None:
        return found.strength
    chosen = mutants.choose(text, function, count=MUTANTS, seed=1, lines=_lines_run(known) or None)
    wider = await _more_cases(found, text)

    async def kills(mutant: mutants.Mutant) -> bool | None:
        version = Version(label=mutant.label, text=mutant.text)
        try:
            if known.cases and (await judge(found.harness, known.cases, known.seen, version)).counterexample:
                return True
            if examples and await failing_examples(found, version, examples):
                return True
        except (BuildFailed, DriverDied):
            return True
        if not found.has_tests:
            return False
        report = await run_tests(found, mutant.text)
        return bool(report.failed or report.problem)

    async def agrees(mutant: mutants.Mutant) -> bool:
        version = Version(label=mutant.label, text=mutant.text)
        return bool(wider.cases) and not (await judge(found.harness, wider.cases, wider.seen, version)).counterexample

    measured = await mutants.measure_strength(kills, chosen, agrees=agrees, seconds=seconds)
    return mutants.with_canary(measured, found.canary)


def _same_function(found: Understanding, text: str) -> Function | None:
    named = [f for f in find_functions(text, found.task.target.language) if f.symbol == found.task.target.symbol]
    return named[0] if len(named) == 1 else None


def _lines_run(known: Known) -> frozenset[int]:
    return frozenset().union(*(o.lines for o in known.seen)) if known.seen else frozenset()


async def _more_cases(found: Understanding, text: str) -> Known:
    """Many inputs independent of the oracle's own, by which mutants that mean the same are told."""
    if found.signature.problem:
        return Known()
    cases = generate_cases(found.signature, count=400, seed=77, samples=found.samples)
    version = Version(label="reference", text=text)
    seen: list[Observation] = []
    driver = await found.harness.start(version)
    try:
        for case in cases:
            seen.append(await driver.call(case, timeout=2.0))
            if driver.closed:
                driver = await found.harness.start(version)
    finally:
        await driver.close()
    kept = [i for i, o in enumerate(seen) if not o.dead]
    return Known(cases=[cases[i] for i in kept], seen=[seen[i] for i in kept])


def evidence_of(found: Understanding, validation: Validation, **more: object) -> Evidence:
    """The evidence for a candidate that passed."""
    known, judgement = found.known, validation.judgement
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
        cases=len(known.cases) + len(known.held_back) if compared else validation.examples_passed,
        held_back=len(known.held_back) if compared else 0,
        normal_returns=known.normal_returns if compared else validation.examples_passed,
        counterexample=judgement.counterexample if judgement else None,
        sandbox=found.sandbox.name,
        notes=(*dict.fromkeys((*found.notes, *(judgement.notes if judgement else ()))),),
        **more,  # type: ignore[arg-type]
    )
