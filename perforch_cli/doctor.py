"""perforch doctor: what this machine has, and what its sandbox was just shown to hold."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perforch_core.task import EnvironmentProblem


def examine(*, as_json: bool) -> None:
    """Look at everything and print it. Exit 3 when candidates could not be run here."""
    data = asyncio.run(_examine())
    if as_json:
        print(json.dumps({"schema": 1, **data}))
    else:
        _show(data)
    raise typer.Exit(0 if data["sandbox"]["backend"] else 3)


async def _examine() -> dict[str, Any]:
    from perforch_core import settings
    from perforch_core.languages.python_project import find_root
    from perforch_core.measure import machine
    from perforch_core.models import keys

    root = find_root(Path.cwd() / "x.py")
    loaded = settings.load(root=root)
    noise = machine.conditions()
    return {
        "toolchains": {"python": _python(root, loaded.interpreter)},
        "sandbox": await _sandbox(loaded.allow_weak_sandbox),
        "models": [{"name": m.name, "model": m.model, "key": keys.where(m)} for m in loaded.models],
        "noise": {name: getattr(noise, name) for name in noise.__dataclass_fields__},
        "warnings": list(loaded.warnings),
    }


def _python(root: Path, wanted: str | None) -> dict[str, Any]:
    from perforch_core.languages.python_project import find_interpreter

    try:
        found = find_interpreter(root, python=wanted)
    except EnvironmentProblem as problem:
        return {"problem": str(problem)}
    return {"path": str(found.path), "version": ".".join(map(str, found.version))}


async def _sandbox(allow_weak: bool) -> dict[str, Any]:
    from perforch_core.sandbox import choose
    from perforch_core.sandbox.doctor import prove

    try:
        sandbox = await choose(allow_weak=allow_weak)
    except EnvironmentProblem as problem:
        return {"backend": None, "problem": str(problem), "guarantees": {}}
    try:
        return {"backend": sandbox.name, "guarantees": dict(sorted((await prove(sandbox)).items()))}
    finally:
        await sandbox.aclose()


def _show(data: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    python, sandbox = data["toolchains"]["python"], data["sandbox"]
    words = python.get("problem") or f"{python['version']} at {python['path']}"
    console.print(Text.assemble(("python   ", "bold"), words))
    console.print(Text.assemble(("sandbox  ", "bold"), sandbox["backend"] or sandbox["problem"]))
    table = Table.grid(padding=(0, 2))
    styles = {"enforced": "green", "watched": "yellow", "none": "red"}
    for attack, held in sandbox["guarantees"].items():
        table.add_row(Text(f"  {attack}"), Text(held, style=styles.get(held, "")))
    console.print(table)
    for model in data["models"]:
        console.print(Text.assemble(("model    ", "bold"), f"{model['name']}: {model['model']}, key: {model['key']}"))
    if not data["models"]:
        console.print(Text.assemble(("models   ", "bold"), "none configured (perforch models list finds local ones)"))
    noise = {k: v for k, v in data["noise"].items() if v is not None}
    console.print(Text.assemble(("noise    ", "bold"), ", ".join(f"{k} {v}" for k, v in noise.items())))
    for warning in data["warnings"]:
        console.print(Text.assemble(("note     ", "bold"), warning))
