"""The project's own tests as an oracle for Python: which reach the target, and do they pass on a candidate.

Tests run in the candidate's own process, so they are weaker evidence than cases compared from outside: a candidate
that tampers with the test runner could fake an outcome. It cannot do so by ending the process or by silence, because
every test that is expected must be reported by name, with the run's nonce, before a report counts as complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, overload

from perforch_core.evidence import TestFailure, TestReport
from perforch_core.languages.interface import Case, Project
from perforch_core.oracle import find_tests
from perforch_core.oracle.sandboxed_tests import WARM, Call, Result, Run, TestRun, WarmRunner, run_tests
from perforch_core.sandbox.interface import Ended, Sandbox
from perforch_core.task import Event, Reporter, Target
from perforch_core.values import source_text

CAPTURED = 200
"""At most so many distinct calls of the target are captured."""

_TEST_SECONDS = 10.0
_LATE_ALLOWED = 3
_FRAME_LINES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class TestLines(TestReport):
    """A report with the lines of the target that each test executed: by test name, 1-based lines of the file."""

    __test__ = False

    by_test: Mapping[str, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPlan:
    """Which of the project's tests judge the target.

    `reaching` names the tests that ran the target and passed or failed on the original; `failing` those among
    them that failed. `others` are tests that ran without reaching it, `rest` the files that did not have to be
    run yet. `captured` are calls that the tests made. `problem` says why there is no evidence to be had here
    (then `reaching` is empty), `notes` what a user should know besides; `late` are those of `failing` that only ran
    over their time. `durations` are seconds per test on the original, `modules` what the run loaded that is not the
    project's own. `broken`: the run ended in the middle, by an exit or a crash.
    """

    __test__ = False

    target: Target
    project: Project
    runner: str = ""
    reaching: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    baseline: TestReport = field(default_factory=TestReport)
    captured: tuple[Case, ...] = ()
    problem: str | None = None
    broken: bool = False
    notes: tuple[str, ...] = ()
    durations: Mapping[str, float] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    rest_baseline: dict[str, Run] = field(default_factory=dict, repr=False, compare=False)


async def discover(project: Project, target: Target, sandbox: Sandbox, *, seconds: float, report: Reporter) -> TestPlan:
    """Find the tests that reach the target and run them on the original, within `seconds` of wall time.

    Files that mention the target's name, class or module are tried first; only when none of their tests reaches the
    target are all others run too. Raises EnvironmentProblem when the sandbox cannot start the interpreter.
    """
    deadline = time.monotonic() + seconds
    found = await asyncio.to_thread(find_tests.find, project, target)
    plan = TestPlan(target=target, project=project)
    if not found.likely and not found.others:
        return replace(plan, problem=f"{project.root} has no tests ({found.looked_for}).")
    report(Event(kind="note", text=f"running the tests in {_files(found.likely or found.others)}"))
    first = found.likely or found.others
    run = await _baseline(plan, first, sandbox, deadline)
    left = found.others if found.likely else ()
    if not run.reached and left and deadline - time.monotonic() > 1:
        report(Event(kind="note", text=f"none reaches {target.symbol}; running all other tests"))
        run = run.merged(await _baseline(plan, left, sandbox, deadline))
        left = ()
    if not run.reached and run.uncollected and deadline - time.monotonic() > 1:
        run = await _with_stub(plan, run, sandbox, deadline)
    plan = _planned(plan, run, left)
    report(Event(kind="note", text=_summary(plan)))
    return plan


async def _with_stub(plan: TestPlan, run: Run, sandbox: Sandbox, deadline: float) -> Run:
    """Which tests would reach the target, where the original cannot even be loaded: they fail for that reason."""
    files = tuple(name for name in run.uncollected if name.endswith(".py"))
    again = run
    for text in dict.fromkeys((find_tests.canary_text(plan.target), find_tests.stub_text(plan.target))):
        if files and not again.reached:
            stubbed = replace(plan, target=replace(plan.target, text=text))
            again = await _baseline(stubbed, files, sandbox, deadline)
    if not again.reached:
        return run
    text = next(iter(run.uncollected.values()))
    failed = Result(outcome="error", message=_last_line(text), text=text)
    results = {name: failed if name in again.reached else result for name, result in again.results.items()}
    return replace(again, results={**run.results, **results}, names=run.names + again.names, calls=())


async def _baseline(plan: TestPlan, files: Sequence[str], sandbox: Sandbox, deadline: float) -> Run:
    seconds = max(1.0, deadline - time.monotonic())
    settings = TestRun(
        files=tuple(files),
        text=plan.target.text,
        seconds=seconds,
        test_seconds=min(_TEST_SECONDS, max(1.0, seconds / 4)),
        late_allowed=_LATE_ALLOWED,
        calls=CAPTURED,
        modules=True,
    )
    return await run_tests(plan.project, plan.target, settings, sandbox)


def _planned(plan: TestPlan, run: Run, left: Sequence[str]) -> TestPlan:
    reaching = {n: r for n, r in run.results.items() if n in run.reached and r.outcome in ("passed", "failed", "error")}
    walled = [name for name, result in reaching.items() if result.outcome != "passed" and _walled(result)]
    for name in walled:
        del reaching[name]
    failing = tuple(name for name, result in reaching.items() if result.outcome != "passed")
    trouble = _trouble(run)
    notes = [] if not reaching or trouble is None else [trouble]
    if walled:
        notes.append(
            f"{_count(len(walled), 'test')} left out, for the sandbox gives no network and no right to write into the "
            f"project: {_listed(walled)}."
        )
    if failing:
        fail = "fails" if len(failing) == 1 else "fail"
        notes.append(
            f"On the original {_count(len(failing), 'test')} of {plan.target.symbol} {fail}: {_listed(failing)}."
        )
    problem = None
    if not reaching:
        problem = trouble or " ".join(
            [f"None of {_count(len(run.results), 'test')} reaches {plan.target.symbol}.", *notes]
        )
    return replace(
        plan,
        runner=run.runner,
        reaching=tuple(reaching),
        failing=failing,
        late=tuple(name for name in failing if _LATE in reaching[name].message),
        others=tuple(name for name in run.results if name not in reaching),
        rest=tuple(left),
        baseline=_report(plan, reaching, run, problem=problem),
        captured=tuple(_case(call) for call in run.calls if not call.broken),
        problem=problem,
        broken=not run.complete and run.ended in (Ended.EXITED, Ended.SIGNALLED) and not run.unusable,
        notes=tuple(notes) if reaching else (),
        durations={name: result.seconds for name, result in run.results.items()},
        modules=run.modules,
    )


_LATE = "TestTimeout"
"""What a test that ran over its time raises, see perforch_probe.py."""

_WALLS = ("Read-only file system", "Network is unreachable", "Temporary failure in name resolution")


def _walled(result: Result) -> bool:
    """Whether a test failed on the original because of what the sandbox withholds."""
    return any(words in result.message or words in result.text for words in _WALLS)


def _case(call: Call) -> Case:
    return Case(arguments=call.wire, keywords=call.keywords, origin="captured", size=call.size)


def _trouble(run: Run) -> str | None:
    """What went wrong with a run as a whole, in words for the user; None when it is complete."""
    if run.unusable:
        return run.unusable
    if not run.complete:
        return _broken_off(run)
    if run.uncollected:
        name, text = next(iter(run.uncollected.items()))
        more = f" (and {len(run.uncollected) - 1} more)" if len(run.uncollected) > 1 else ""
        return f"{name} could not be loaded{more}: {_last_line(text)}"
    if run.stopped:
        return f"The tests stopped early: {run.stopped}"
    if run.late >= _LATE_ALLOWED:
        return f"The tests were stopped because {run.late} of them ran over their time."
    return None


def _broken_off(run: Run) -> str:
    where = f" in {run.started}" if run.started else " while they were being collected"
    done = f" ({len(run.results)} of {len(run.names)} tests had run)" if run.names else ""
    match run.ended:
        case Ended.WALL:
            return f"The tests did not finish within {run.seconds:.0f} s: stopped{where}{done}."
        case Ended.EXITED:
            return f"The test process ended with exit code {run.returncode}{where}{done}."
        case Ended.SIGNALLED:
            return f"The test process crashed (signal {-(run.returncode or 0)}){where}{done}."
        case Ended.OUTPUT:
            return f"The tests printed too much{where}{done}."
        case _:
            return f"The tests used up their {run.ended.value}{where}{done}."


@overload
async def run(
    plan: TestPlan,
    text: str,
    sandbox: Sandbox,
    *,
    which: Literal["reaching", "rest"] = ...,
    seconds: float,
    lines: Literal[False] = ...,
) -> TestReport: ...


@overload
async def run(
    plan: TestPlan,
    text: str,
    sandbox: Sandbox,
    *,
    which: Literal["reaching", "rest"] = ...,
    seconds: float,
    lines: Literal[True],
) -> TestLines: ...


async def run(
    plan: TestPlan,
    text: str,
    sandbox: Sandbox,
    *,
    which: Literal["reaching", "rest"] = "reaching",
    seconds: float,
    lines: bool = False,
) -> TestReport:
    """Run the plan's tests with `text` in place of the target's file, within `seconds` of wall time.

    "reaching": every test of `plan.reaching` must be reported; one that is missing has failed. "rest": all other
    tests of the project; those count that passed on the original (which is run for it once, on the first call).
    With `lines`, also the target's lines that each test executed. Raises EnvironmentProblem.
    """
    if which == "rest":
        return await _run_rest(plan, text, sandbox, seconds)
    if not plan.reaching:
        return TestReport(problem=plan.problem)
    done = await _candidate_run(plan, text, sandbox, names=plan.reaching, seconds=seconds, lines=lines)
    return _judged(plan, plan.reaching, done, lines=lines)


async def _run_rest(plan: TestPlan, text: str, sandbox: Sandbox, seconds: float) -> TestReport:
    files = tuple(dict.fromkeys([*(name.partition("::")[0] for name in plan.others), *plan.rest]))
    if not files:
        return TestReport()
    began = time.monotonic()
    if "rest" not in plan.rest_baseline:
        settings = TestRun(
            files=files,
            text=plan.target.text,
            skip=plan.reaching,
            seconds=seconds / 2,
            test_seconds=min(_TEST_SECONDS, max(1.0, seconds / 8)),
            late_allowed=_LATE_ALLOWED,
        )
        plan.rest_baseline["rest"] = await run_tests(plan.project, plan.target, settings, sandbox)
    before = plan.rest_baseline["rest"]
    names = tuple(name for name, result in before.results.items() if result.outcome == "passed")
    if not names:
        return TestReport(seconds=time.monotonic() - began)
    durations = {name: result.seconds for name, result in before.results.items()}
    left = max(1.0, seconds - (time.monotonic() - began))
    wider = replace(plan, durations={**plan.durations, **durations})
    done = await _candidate_run(wider, text, sandbox, names=names, seconds=left, lines=False)
    # "names" means tests that reach the target; these do not, as far as is known.
    return replace(_judged(plan, names, done, lines=False), names=())


async def _candidate_run(
    plan: TestPlan, text: str, sandbox: Sandbox, *, names: Sequence[str], seconds: float, lines: bool
) -> Run:
    settings = _candidate_settings(plan, text, names=names, seconds=seconds, lines=lines)
    return await run_tests(plan.project, plan.target, settings, sandbox)


def _candidate_settings(
    plan: TestPlan, text: str, *, names: Sequence[str], seconds: float, lines: bool = False, first_failure: bool = False
) -> TestRun:
    slowest = max((plan.durations.get(name, 0.0) for name in names), default=0.0)
    return TestRun(
        files=tuple(dict.fromkeys(name.partition("::")[0] for name in names)),
        text=text,
        select=tuple(names),
        seconds=seconds,
        test_seconds=min(seconds, max(2.0, 10 * slowest)),
        late_allowed=1 if first_failure else 2,
        calls=0 if first_failure else CAPTURED,
        lines=lines,
        first_failure=first_failure,
    )


@contextlib.asynccontextmanager
async def screening(
    plan: TestPlan, sandbox: Sandbox, *, seconds: float = 20.0, lifetime: float = 600.0
) -> AsyncIterator[Callable[[str], Awaitable[TestReport]]]:
    """For many candidates in a row: gives a function that runs the reaching tests on a text, up to the first failure.

    The test runner is loaded once and forked for each, which makes a run several times cheaper than `run`; what
    passes here still has to pass there. `seconds` bound one run, `lifetime` all of them. Raises EnvironmentProblem.
    """
    runner: WarmRunner | None = None

    async def check(text: str) -> TestReport:
        nonlocal runner
        if not plan.reaching:
            return TestReport(problem=plan.problem)
        settings = _candidate_settings(plan, text, names=plan.reaching, seconds=seconds, first_failure=True)
        for _ in range(2):
            if runner is None or not runner.alive:
                if runner is not None:
                    await runner.close()
                runner = await WarmRunner.start(
                    plan.project, plan.target, sandbox, runner=plan.runner, seconds=lifetime, preload=plan.modules
                )
            if done := await runner.run(settings):
                return _judged(plan, plan.reaching, done, lines=False)
        return await run(plan, text, sandbox, seconds=seconds)

    try:
        yield check
    finally:
        if runner is not None:
            await runner.close()


def _judged(plan: TestPlan, names: Sequence[str], run: Run, *, lines: bool) -> TestReport:
    """The report on a candidate: every expected name, the missing ones as failures."""
    trouble = _trouble(run)
    results = {name: run.results.get(name) or _missing(name, run, trouble) for name in names}
    report = _report(plan, results, run, problem=None if run.complete else trouble)
    if not lines:
        return report
    by_test = {name: run.lines.get(name, frozenset()) for name in names}
    fields = {name: getattr(report, name) for name in TestReport.__dataclass_fields__}
    return TestLines(**fields, by_test=by_test)


def _missing(name: str, run: Run, trouble: str | None) -> Result:
    file = name.partition("::")[0]
    text = run.uncollected.get(file) or next((t for n, t in run.uncollected.items() if file.startswith(n)), "")
    if name == run.running and trouble:
        return Result(outcome="error", message=trouble)
    silence = "Not run: a test before it failed." if run.runner == WARM else "The test was not reported."
    message = _last_line(text) if text else trouble or silence
    return Result(outcome="error", message=message, text=text)


def _report(plan: TestPlan, results: Mapping[str, Result], run: Run, *, problem: str | None) -> TestReport:
    failures, passed, skipped = [], [], 0
    for name, result in results.items():
        if result.outcome == "passed":
            passed.append(name)
        elif name in plan.reaching or result.outcome in ("failed", "error"):
            failures.append(_failure(plan, name, result, run.calls))
        else:
            skipped += 1
    return TestReport(
        passed=len(passed),
        failed=len(failures),
        skipped=skipped,
        names=tuple(passed),
        failures=tuple(failures),
        seconds=run.wall,
        problem=problem,
    )


# --- failures, for people and for prompts -------------------------------------------------------------------------


def _failure(plan: TestPlan, name: str, result: Result, calls: Sequence[Call]) -> TestFailure:
    message = result.message or _last_line(result.text) or f"the test was {result.outcome}"
    if result.last is not None and result.last < len(calls) and not calls[result.last].broken:
        message += f"\nlast call: {call_text(plan.target.symbol, calls[result.last])}"
    return TestFailure(name=name, message=message, traceback=user_frames(result.text))


def call_text(symbol: str, call: Call) -> str:
    """A captured call as source text, e.g. "dedupe([1, 1])"; a method's receiver comes first."""
    roots = call.wire["roots"]
    plain = len(roots) - len(call.keywords)
    pieces = [source_text(call.wire, root, limit=600) for root in roots]
    pieces = [*pieces[:plain], *(f"{k}={v}" for k, v in zip(call.keywords, pieces[plain:], strict=True))]
    return f"{symbol.rsplit('.', 1)[-1]}({', '.join(pieces)})"


def user_frames(text: str) -> str:
    """A short traceback without the frames of installed packages; what went wrong ("E" lines) always stays."""
    kept: list[str] = []
    inside = True
    for line in text.splitlines():
        place, separator, _ = line.partition(": in ")
        if separator and place.rsplit(":", 1)[-1].isdigit() and not line.startswith((" ", "E ")):
            inside = not place.startswith(("/", "..")) and "site-packages" not in place
        if inside or line.startswith("E "):
            kept.append(line)
    if len(kept) > _FRAME_LINES:
        half = _FRAME_LINES // 2
        kept = [*kept[:half], "[...]", *kept[-half:]]
    return "\n".join(kept)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (errors or lines or [""])[-1]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(names: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _files(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{len(files)} files"


def _summary(plan: TestPlan) -> str:
    if plan.problem:
        return plan.problem
    text = f"{_count(len(plan.reaching), 'test')} reach{'es' if len(plan.reaching) == 1 else ''} {plan.target.symbol}"
    return " ".join([f"{text}.", *plan.notes])


# --- the canary ---------------------------------------------------------------------------------------------------


async def canary(plan: TestPlan, sandbox: Sandbox, *, seconds: float = 30.0) -> bool:
    """Whether the reaching tests fail on a body that aborts. When they do not, they are no evidence."""
    return bool(plan.reaching) and not await canary_survivors(plan, sandbox, seconds=seconds)


async def canary_survivors(plan: TestPlan, sandbox: Sandbox, *, seconds: float = 30.0) -> tuple[str, ...]:
    """The reaching tests that pass although the target's body aborts (they swallow whatever it raises)."""
    report = await run(plan, find_tests.canary_text(plan.target), sandbox, seconds=seconds)
    return report.names


def without(plan: TestPlan, names: Iterable[str]) -> TestPlan:
    """The plan with some reaching tests counted among the others."""
    gone = frozenset(names)
    baseline = replace(
        plan.baseline,
        passed=sum(name not in gone for name in plan.baseline.names),
        names=tuple(name for name in plan.baseline.names if name not in gone),
    )
    return replace(
        plan,
        reaching=tuple(name for name in plan.reaching if name not in gone),
        failing=tuple(name for name in plan.failing if name not in gone),
        late=tuple(name for name in plan.late if name not in gone),
        others=(*plan.others, *(name for name in plan.reaching if name in gone)),
        baseline=baseline,
    )
