"""perforch models list, add, remove, test, rank."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from perforch_core.settings import ModelConfig
from perforch_core.task import Stage

app = typer.Typer(no_args_is_help=True, help="The language models PerfOrch may ask.", rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Show the configured models, and those that local servers offer."""
    from perforch_core import settings
    from perforch_core.models import catalog, keys

    loaded = settings.load(root=_root())
    found = asyncio.run(catalog.discover(known=loaded.models))
    if as_json:
        rows = [{**_row(m), "key": keys.where(m)} for m in loaded.models]
        print(json.dumps({"schema": 1, "models": rows, "found": [_row(m) for m in found]}))
        return
    for warning in loaded.warnings:
        typer.echo(f"note: {warning}", err=True)
    for model in loaded.models:
        price = f"${model.price_in:g}/${model.price_out:g} per million tokens" if model.price_in else "no price"
        typer.echo(f"{model.name:20} {model.model} at {model.base_url}; {price}; key: {keys.where(model)}")
    if not loaded.models:
        typer.echo("No model is configured. The built-in rules and the repairer work without one.")
    for model in found:
        add = f"perforch models add {model.model.split(':')[0].split('/')[-1]}"
        typer.echo(f"found: {model.model} at {model.base_url}")
        typer.echo(f"       to use it: {add} --base-url {model.base_url} --model {model.model}")


def _row(model: ModelConfig) -> dict[str, Any]:
    return {"name": model.name, "model": model.model, "base_url": model.base_url}


def _root() -> Path:
    from perforch_core.languages.python_project import find_root

    return find_root(Path.cwd() / "x.py")


@app.command("add")
def add_model(
    name: Annotated[str, typer.Argument(help="Your name for it.")],
    base_url: Annotated[str, typer.Option("--base-url", help="The server, e.g. http://localhost:11434/v1")],
    model: Annotated[str, typer.Option("--model", help="The server's name for it.")],
    key_env: Annotated[str, typer.Option("--key-env", help="The environment variable that holds the key.")] = "",
    ask_key: Annotated[bool, typer.Option("--ask-key", help="Ask for the key and keep it in the keyring.")] = False,
    price_in: Annotated[float, typer.Option("--price-in", help="Dollars per million tokens read.")] = 0.0,
    price_out: Annotated[float, typer.Option("--price-out", help="Dollars per million tokens written.")] = 0.0,
) -> None:
    """Add a model to your own settings, or replace the one of that name."""
    from perforch_core import settings
    from perforch_core.models import keys

    config = ModelConfig(
        name=name, base_url=base_url, model=model, key_env=key_env, price_in=price_in, price_out=price_out
    )
    path = settings.add_model(config)
    if ask_key:
        keys.store_key(config, typer.prompt("Key", hide_input=True, err=True))
    typer.echo(f"Added {name} to {path}. Try it: perforch models test {name}")


@app.command("remove")
def remove_model(name: Annotated[str, typer.Argument(help="The model's name.")]) -> None:
    """Take a model out of your own settings, and its key out of the keyring."""
    from perforch_core import settings
    from perforch_core.models import keys

    config = settings.load().model(name)
    path = settings.remove_model(name)
    keys.forget_key(config)
    typer.echo(f"Removed {name} from {path}.")


@app.command("test")
def test_model(name: Annotated[str, typer.Argument(help="The model's name.")], as_json: AsJson = False) -> None:
    """Ask a model for a small function, and say how it went."""
    from perforch_core import settings
    from perforch_core.models import catalog

    trial = asyncio.run(catalog.test(catalog.text_model(settings.load(root=_root()).model(name))))
    if as_json:
        print(json.dumps({"schema": 1, "name": name, "ok": trial.ok, "words": trial.words}))
    else:
        typer.echo(f"{name}: {trial.words}")
    raise typer.Exit(0 if trial.ok else 3)


@app.command("rank")
def rank_models(
    stage: Annotated[Stage | None, typer.Option("--stage", help="Only this stage.")] = None,
    language: Annotated[str, typer.Option("--language", help="The language.")] = "python",
    as_json: AsJson = False,
) -> None:
    """Show in which order the models would be asked, and why."""
    from perforch_core import settings
    from perforch_core.routing.posterior import Posterior
    from perforch_core.routing.profile import Profile, default_path
    from perforch_core.routing.router import Ask, rank

    loaded = settings.load(root=_root())
    names = tuple(model.name for model in loaded.models)
    with Profile(default_path()) as profile:
        table = {
            s.value: rank(
                Ask(models=names, stage=s, language=language),
                posterior=Posterior(profile.attempts(stage=s)),
                weights=loaded.routing,
                configs=loaded.models,
            )
            for s in ([stage] if stage else list(Stage))
        }
    if as_json:
        rows = {
            s: [{"name": r.model, "utility": r.utility, "reason": r.reason} for r in found]
            for s, found in table.items()
        }
        print(json.dumps({"schema": 1, "language": language, "stages": rows}))
        return
    for name, found in table.items():
        typer.echo(f"{name}:")
        for place, ranked in enumerate(found, 1):
            typer.echo(f"  {place}. {ranked.model:20} {ranked.reason}")
        if not found:
            typer.echo("  no model is configured (perforch models add)")
