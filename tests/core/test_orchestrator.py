"""Whole tasks: real sandbox, real tests, a real HTTP server in place of hosted models."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from scripted_server import Exchange, Server, serve, simple

from perforch_core import settings
from perforch_core.evidence import Verdict
from perforch_core.languages import find_target
from perforch_core.orchestrator import open_services, run
from perforch_core.routing.posterior import Posterior
from perforch_core.routing.profile import Profile, default_path
from perforch_core.routing.router import Ask, rank
from perforch_core.settings import ModelConfig
from perforch_core.suggestion import Result, Status
from perforch_core.task import Budget, EnvironmentProblem, Event, Stage, Task, UserError

pytestmark = pytest.mark.slow

UNIQUE = '''
def unique(words: list[str]) -> list[str]:
    """Each word once, in order of first appearance."""
    result = []
    for word in words:
        if word not in result:
            result.append(word)
    return result
'''
UNIQUE_TESTS = """
from tools import unique

def test_order():
    assert unique(["b", "a", "b"]) == ["b", "a"]

def test_empty():
    assert unique([]) == []
"""
CLAMP = '''
def clamp(value: int, low: int, high: int) -> int:
    """The value, moved into low..high.

    >>> clamp(5, 0, 3)
    3
    >>> clamp(-5, 0, 3)
    0
    """
    if value < low:
        return high
    return min(value, high)
'''
STUB = '''
def initials(name: str) -> str:
    """The upper-case first letters of the words of a name.

    >>> initials("ada lovelace")
    'AL'
    """
    raise NotImplementedError
'''


async def carry_out(
    root: Path, symbol: str, stage: Stage, *, seconds: float = 60, calls: int = 8, models: tuple[str, ...] = ()
) -> tuple[Result, list[Event]]:
    path = root / "tools.py"
    target = find_target(path, path.read_text(), symbol=symbol)
    events: list[Event] = []
    async with open_services(root, models=models) as services:
        task = Task(stage=stage, target=target, models=models, budget=Budget(seconds=seconds, calls=calls))
        return await run(task, services, events.append), events


@asynccontextmanager
async def models(answer: Callable[[str, str], str], *names: str) -> AsyncIterator[Server]:
    """Configure models whose answers are `answer(model, prompt)`."""

    def script(exchange: Exchange) -> None:
        simple(answer(exchange.body["model"], exchange.body["messages"][-1]["content"]))(exchange)

    with serve(script) as server:
        for name in names:
            settings.add_model(ModelConfig(name=name, base_url=server.url, model=name))
        yield server


def fenced(code: str) -> str:
    return f"Here it is.\n\n```python\n{code.strip()}\n```\n"


# --- refine ---


async def test_a_rule_is_verified_measured_and_suggested(project: Callable[..., Path]) -> None:
    root = project({"tools.py": UNIQUE, "test_tools.py": UNIQUE_TESTS})
    result, events = await carry_out(root, "unique", Stage.REFINE)
    assert result.status is Status.SUGGESTED, (result.reason, result.tried)
    evidence = result.evidence
    assert evidence.word == "verified"
    assert evidence.comparison is not None and evidence.comparison.verdict is Verdict.FASTER
    assert evidence.comparison.speedup is not None and evidence.comparison.speedup.low > 1.05
    assert evidence.tests is not None and evidence.tests.passed == 2 and evidence.strength.canary
    assert evidence.cases > 100 and evidence.held_back > 20
    assert re.match(
        r"[\d.,]+x faster at n = [\d,]+ \(.*\); 2 tests, \d+ cases, \d+ of \d+ mutants killed", result.title
    )
    assert "seen" in result.diff and (root / "tools.py").read_text() == UNIQUE.lstrip("\n")
    assert [e.kind for e in events].count("stage") >= 4


async def test_a_model_that_changes_behaviour_is_refuted_with_the_input(project: Callable[..., Path]) -> None:
    root = project({"tools.py": UNIQUE, "test_tools.py": UNIQUE_TESTS})

    def answer(model: str, prompt: str) -> str:
        assert "per call" in prompt and "of the time in" in prompt  # timings by size and hot lines
        return fenced("def unique(words: list[str]) -> list[str]:\n    return sorted(set(words), key=words.index)[:50]")

    async with models(answer, "hasty"):
        result, _ = await carry_out(root, "unique", Stage.REFINE, models=("hasty",))
    assert result.status is Status.UNCHANGED
    assert result.tried[0].model == "hasty" and result.tried[0].outcome.startswith("unique([")
    assert result.text is None and not result.edits


async def test_what_is_no_faster_is_not_suggested(project: Callable[..., Path]) -> None:
    root = project({"tools.py": UNIQUE, "test_tools.py": UNIQUE_TESTS})
    same = UNIQUE.replace("result", "found").replace("Each word once, in order of first appearance.", "Once each.")
    async with models(lambda *_: fenced(same), "renamer"):
        result, _ = await carry_out(root, "unique", Stage.REFINE, models=("renamer",))
    assert result.status is Status.UNCHANGED, result.title
    assert "no measurable difference" in result.tried[0].outcome


# --- fix ---


async def test_a_small_repair_is_found_without_a_model(project: Callable[..., Path]) -> None:
    root = project({"tools.py": CLAMP})
    result, _ = await carry_out(root, "clamp", Stage.FIX)
    assert result.status is Status.SUGGESTED, (result.reason, result.tried)
    assert result.model == "repairer"
    assert "+        return low" in result.diff


async def test_useless_answers_cost_an_attempt_each_and_the_fix_prompt_tells_all(project: Callable[..., Path]) -> None:
    root = project(
        {
            "tools.py": CLAMP,
            "test_tools.py": "from tools import clamp\ndef test_low():\n    assert clamp(1, 2, 9) == 2\n",
        }
    )
    answers = iter([
        "",
        "I am sorry, I cannot help with that.",
        "```python\ndef clamp(value, low,",
        fenced("def other():\n    pass"),
        fenced(CLAMP.replace("return high", "return low + 1")),
        fenced(CLAMP.replace("return high", "return low")),
    ])  # fmt: skip
    prompts: list[str] = []

    def answer(model: str, prompt: str) -> str:
        prompts.append(prompt)
        return next(answers)

    async with models(answer, "a", "b", "c"):
        result, _ = await carry_out(root, "clamp", Stage.FIX, models=("a", "b", "c"))
    assert result.status is Status.SUGGESTED, (result.reason, result.tried)
    assert len(result.tried) == 6
    assert "clamp(-5, 0, 3)" in prompts[0] and "expected: `0`" in prompts[0] and "`3`" in prompts[0]
    assert "test_low" in prompts[0] and "assert" in prompts[0]


async def test_nothing_to_fix_is_said(project: Callable[..., Path]) -> None:
    root = project({"tools.py": UNIQUE, "test_tools.py": UNIQUE_TESTS})
    result, _ = await carry_out(root, "unique", Stage.FIX)
    assert result.status is Status.UNCHANGED
    assert result.reason.startswith("Nothing fails: 2 tests")
    root = project({"tools.py": UNIQUE})
    (root / "test_tools.py").unlink()
    with pytest.raises(UserError, match="nothing says what is wrong with unique"):
        await carry_out(root, "unique", Stage.FIX)


# --- generate ---


async def test_a_written_function_that_fails_goes_to_the_next_model_to_fix(project: Callable[..., Path]) -> None:
    root = project({"tools.py": STUB})
    head = STUB.split("    raise")[0]

    def answer(model: str, prompt: str) -> str:
        if "What fails" in prompt:
            assert "initials('ada lovelace')" in prompt and "'AL'" in prompt and "'al'" in prompt
            return fenced(head + "    return ''.join(word[0].upper() for word in name.split())")
        return fenced(head + "    return ''.join(word[0] for word in name.split())")

    async with models(answer, "writer", "mender"):
        result, _ = await carry_out(root, "initials", Stage.GENERATE)
    assert result.status is Status.SUGGESTED, (result.reason, result.tried)
    assert [a.outcome for a in result.tried][-1] == "passes" and len(result.tried) == 2
    assert result.title.startswith("written, ")


async def test_without_an_oracle_it_is_unproven_with_examples_to_confirm(project: Callable[..., Path]) -> None:
    root = project({"tools.py": STUB.replace(">>> initials(\"ada lovelace\")\n    'AL'\n", "")})
    body = "def initials(name: str) -> str:\n    return ''.join(word[0].upper() for word in name.split())"
    async with models(lambda *_: fenced(body), "writer"):
        result, _ = await carry_out(root, "initials", Stage.GENERATE)
    assert result.status is Status.UNPROVEN and result.evidence.word == "unproven"
    assert "Confirm what is right" in result.reason and "initials(" in result.reason and " == '" in result.reason


async def test_generating_needs_a_model(project: Callable[..., Path]) -> None:
    with pytest.raises(EnvironmentProblem, match="perforch models add"):
        await carry_out(project({"tools.py": STUB}), "initials", Stage.GENERATE)


async def test_a_server_that_is_down_is_an_attempt_with_a_reason(project: Callable[..., Path]) -> None:
    settings.add_model(ModelConfig(name="gone", base_url="http://127.0.0.1:9/v1", model="x"))
    result, _ = await carry_out(project({"tools.py": STUB}), "initials", Stage.GENERATE, calls=1)
    assert result.status is Status.UNCHANGED
    assert "127.0.0.1:9" in result.tried[0].outcome


# --- routing ---


async def test_the_order_becomes_what_the_records_say(project: Callable[..., Path]) -> None:
    """One model mends and never speeds up, one the other way round, one does neither."""
    fixed = CLAMP.replace("return high", "return low")
    quick = UNIQUE.split("    result")[0] + "    return list(dict.fromkeys(words))"

    def answer(model: str, prompt: str) -> str:
        fixing = "What fails" in prompt
        if model == "mender" and fixing:
            return fenced(fixed)
        if model == "racer" and not fixing:
            return fenced(quick)
        return fenced("def nothing():\n    pass")

    names = ("neither", "racer", "mender")
    root = project({"tools.py": CLAMP + UNIQUE, "test_tools.py": UNIQUE_TESTS})
    async with models(answer, *names):
        for _ in range(3):
            result, _ = await carry_out(root, "clamp", Stage.FIX, models=names)
            assert result.model == "mender", result.tried
        for _ in range(2):
            result, _ = await carry_out(root, "unique", Stage.REFINE, models=names, calls=3)
            assert result.model == "racer", result.tried
        order = {}
        with Profile(default_path()) as profile:
            for stage in (Stage.FIX, Stage.REFINE):
                choices = rank(
                    Ask(models=names, stage=stage, language="python"),
                    posterior=Posterior(profile.attempts(stage=stage)),
                    weights=settings.load().routing,
                )
                order[stage] = choices
    assert order[Stage.FIX][0].model == "mender" and "in 3 of 3 tries" in order[Stage.FIX][0].reason
    assert order[Stage.REFINE][0].model == "racer" and "in 2 of 2 tries" in order[Stage.REFINE][0].reason


# --- before anything is tried ---


async def test_optimizing_stops_when_tests_fail_before(project: Callable[..., Path]) -> None:
    root = project({"tools.py": UNIQUE, "test_tools.py": UNIQUE_TESTS.replace('["b", "a"]\n', '["a", "b"]\n')})
    with pytest.raises(UserError, match=r"fail before any change \(test_order\)"):
        await carry_out(root, "unique", Stage.REFINE)


async def test_optimizing_stops_when_no_test_comes_to_an_end(project: Callable[..., Path]) -> None:
    hanging = "from tools import unique\ndef test_it():\n    unique([])\n    while True: pass\n"
    root = project({"tools.py": UNIQUE, "test_tools.py": hanging})
    with pytest.raises(UserError, match=r"no test of unique comes to an end \(test_it\)"):
        await carry_out(root, "unique", Stage.REFINE)


async def test_what_was_not_tried_is_not_said_to_have_failed(project: Callable[..., Path]) -> None:
    examples = '    """\n    >>> inc(2)\n    7919\n    >>> inc(3)\n    104729\n    """\n'
    wrong = f"def inc(x: int) -> int:\n{examples}    return x + 1\n"
    root = project({"tools.py": wrong})
    result, _ = await carry_out(root, "inc", Stage.FIX)
    assert "no small repair passes" in result.reason and "is configured (perforch models add)" in result.reason
    result, _ = await carry_out(root, "inc", Stage.FIX, models=("rules",))
    assert "no small repair was tried" in result.reason and "was to be asked" in result.reason


async def test_optimizing_stops_when_the_tests_end_the_process(project: Callable[..., Path]) -> None:
    exiting = "import os\nfrom tools import unique\ndef test_it():\n    unique([])\n    os._exit(0)\n"
    root = project({"tools.py": UNIQUE, "test_tools.py": exiting})
    with pytest.raises(
        UserError, match=r"The test process ended with exit code 0 in test_tools.py::test_it.*Mend it first"
    ):
        await carry_out(root, "unique", Stage.REFINE)


async def test_an_answer_made_for_the_examples_is_not_called_verified(project: Callable[..., Path]) -> None:
    root = project({"tools.py": STUB})
    body = "def initials(name: str) -> str:\n    return 'AL' if name == 'ada lovelace' else ''"
    async with models(lambda *_: fenced(body), "cheat"):
        result, _ = await carry_out(root, "initials", Stage.GENERATE)
    assert result.evidence.word == "passes its tests" and "verified" not in result.title


async def test_why_nobody_was_asked_is_said(project: Callable[..., Path]) -> None:
    quick = "def unique(words: list[str]) -> list[str]:\n    return list(dict.fromkeys(words))\n"
    root = project({"tools.py": quick, "test_tools.py": UNIQUE_TESTS})
    async with models(lambda *_: "no idea", "quiet"):
        result, _ = await carry_out(root, "unique", Stage.REFINE, calls=0)
    assert "budget of requests" in result.reason
