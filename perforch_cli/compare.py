"""perforch compare: are two versions of a function equivalent, and is the second faster? Needs no model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from perforch_core.evidence import Evidence, Verdict, evidence_json


def compare(
    before: Annotated[Path, typer.Argument(help="The file with the original.")],
    after: Annotated[Path, typer.Argument(help="The file with the other version.")],
    symbol: Annotated[str, typer.Option("--symbol", metavar="S", help="The function in both files.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="Most time to spend.")] = "60s",
) -> None:
    """Compare two versions of a function: same behaviour, and faster or not, with the interval."""
    from perforch_cli import render
    from perforch_cli.run import parse_seconds
    from perforch_core.languages import find_target, read_source
    from perforch_core.orchestrator import compare_files, open_services

    first = find_target(before, read_source(before), symbol=symbol)
    second = find_target(after, read_source(after), symbol=symbol)
    seconds = parse_seconds(budget)

    async def work(report: render.Report) -> tuple[Evidence, float]:
        async with open_services(first.root) as services:
            return await compare_files(first, second, services, seconds=seconds, report=report)

    with render.Progress() as progress:
        evidence, spent = asyncio.run(work(progress.report))
    verdict = render.compare_verdict(evidence)
    if as_json:
        data = {**evidence_json(evidence), "verdict": verdict.value}
        data.pop("tests"), data.pop("oracles")
        print(json.dumps({"schema": 1, **data, "symbol": first.symbol, "seconds": round(spent, 3)}))
    else:
        render.show_comparison(evidence, first, second)
    raise typer.Exit(0 if verdict is Verdict.FASTER else 1)
