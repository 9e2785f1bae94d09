"""perforch compare: are two versions of a function equivalent, and is the second faster? Needs no model."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from perforch_core.evidence import Evidence, Verdict, evidence_json
from perforch_core.task import UserError


def compare(
    before: Annotated[str, typer.Argument(help="The file with the original, or FILE::FUNCTION.")],
    after: Annotated[str, typer.Argument(help="The file with the other version, or FILE::FUNCTION.")],
    symbol: Annotated[str, typer.Option("--symbol", metavar="S", help="The function in both files.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="Most time to spend.")] = "60s",
) -> None:
    """Compare two versions of a function: same behaviour, and faster or not, with the interval."""
    from perforch_cli import render
    from perforch_cli.run import parse_seconds, split_target
    from perforch_core.languages import find_target, read_source
    from perforch_core.orchestrator import compare_files, open_services

    places = [split_target(text if "::" in text or not symbol else f"{text}::{symbol}") for text in (before, after)]
    if places[0][1] != places[1][1]:
        raise UserError(f"the function must have one name in both files, not {places[0][1]} and {places[1][1]}")
    first, second = (find_target(path, read_source(path), symbol=name) for path, name in places)
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
