"""perforch optimize, fix and generate."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Annotated

import typer

from perforch_core.suggestion import Result, Status, result_json
from perforch_core.task import Budget, Objective, Reporter, Stage, Task, UserError

TargetArgument = Annotated[str, typer.Argument(metavar="PATH::SYMBOL", help="The function, e.g. app.py::Cart.total")]
Apply = Annotated[bool, typer.Option("--apply", help="Write the suggestion into the file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Models = Annotated[list[str] | None, typer.Option("--model", metavar="M", help="Ask only this model (repeatable).")]
Seconds = Annotated[
    str | None,
    typer.Option("--budget", metavar="TIME", help="Most time to spend, e.g. 30s or 2m (60s, or your settings')."),
]
Money = Annotated[
    float | None, typer.Option("--max-cost", min=0, metavar="DOLLARS", help="Most money to spend on models.")
]
Calls = Annotated[int | None, typer.Option("--calls", min=0, help="Most requests to models.")]
Spec = Annotated[str, typer.Option("--spec", help="What the function should do, beyond its documentation.")]
Examples = Annotated[
    list[str] | None,
    typer.Option("--example", metavar="CALL", help='A call with its result, e.g. "f(1, 2) == 3" (repeatable).'),
]
Goal = Annotated[Objective, typer.Option("--objective", help="What to use less of.")]


def optimize(
    where: TargetArgument,
    apply: Apply = False,
    as_json: AsJson = False,
    model: Models = None,
    budget: Seconds = None,
    max_cost: Money = None,
    calls: Calls = None,
    objective: Goal = Objective.TIME,
) -> None:
    """Look for a faster version that does the same, and prove it."""
    task = make_task(Stage.REFINE, where, budget, calls, max_cost, model, objective=objective)
    finish(task, apply=apply, as_json=as_json)


def fix(
    where: TargetArgument,
    apply: Apply = False,
    as_json: AsJson = False,
    model: Models = None,
    budget: Seconds = None,
    max_cost: Money = None,
    calls: Calls = None,
    spec: Spec = "",
    example: Examples = None,
) -> None:
    """Mend a function whose tests or examples fail."""
    task = make_task(Stage.FIX, where, budget, calls, max_cost, model, spec=spec, examples=example)
    finish(task, apply=apply, as_json=as_json)


def generate(
    where: TargetArgument,
    apply: Apply = False,
    as_json: AsJson = False,
    model: Models = None,
    budget: Seconds = None,
    max_cost: Money = None,
    calls: Calls = None,
    spec: Spec = "",
    example: Examples = None,
) -> None:
    """Write the body of a function from its signature, documentation, tests and examples."""
    task = make_task(Stage.GENERATE, where, budget, calls, max_cost, model, spec=spec, examples=example)
    finish(task, apply=apply, as_json=as_json)


def make_task(
    stage: Stage,
    where: str,
    budget: str | None,
    calls: int | None,
    money: float | None,
    models: list[str] | None,
    *,
    spec: str = "",
    examples: list[str] | None = None,
    objective: Objective = Objective.TIME,
) -> Task:
    """A task from what was typed. Raises UserError."""
    from perforch_core import settings
    from perforch_core.languages import find_target, read_source

    path, symbol = split_target(where)
    target = find_target(path, read_source(path), symbol=symbol)
    usual = settings.load(root=target.root).budget
    return Task(
        stage=stage,
        target=target,
        budget=Budget(
            seconds=parse_seconds(budget) if budget else usual.seconds,
            calls=usual.calls if calls is None else calls,
            money=usual.money if money is None else money,
        ),
        specification=spec,
        examples=tuple(examples or ()),
        models=tuple(models or ()),
        objective=objective,
    )


def split_target(where: str) -> tuple[Path, str]:
    """PATH::SYMBOL in two. Raises UserError."""
    path, separator, symbol = where.partition("::")
    if not separator or not symbol:
        raise UserError(f"{where}: name the function too, as in {path or 'app.py'}::function or app.py::Class.method")
    return Path(path).expanduser(), symbol


def parse_seconds(text: str) -> float:
    """A time such as "30s", "2m", "1500ms" or "45" in seconds. Raises UserError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min)?\s*", text)
    seconds = float(found[1]) * {"ms": 0.001, "m": 60, "min": 60}.get(found[2] or "s", 1) if found else 0.0
    if seconds <= 0:
        raise UserError(f"--budget {text}: give a time such as 30s or 2m")
    return seconds


def finish(task: Task, *, apply: bool, as_json: bool) -> None:
    """Run a task, show its result, and exit with the code that tells how it went."""
    from perforch_cli import render

    with render.Progress() as progress:
        result = asyncio.run(run_task(task, progress.report))
    applied = apply and result.status is Status.SUGGESTED and write(result)
    if as_json:
        print(json.dumps({**result_json(result), "applied": applied}))
    else:
        render.show(result, applied=applied)
    raise typer.Exit(0 if result.status is Status.SUGGESTED else 1)


async def run_task(task: Task, report: Reporter) -> Result:
    """Run one task with services of its own, which end with it."""
    from perforch_core.orchestrator import open_services, run

    async with open_services(task.target.root, models=task.models) as services:
        return await run(task, services, report)


def write(result: Result) -> bool:
    """Replace the file by the suggestion's text, in one step. Raises UserError when it changed meanwhile."""
    from perforch_core.files import replace_text

    assert result.text is not None
    replace_text(result.target.path, before=result.target.text, after=result.text)
    return True
