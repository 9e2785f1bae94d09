"""The command line: progress and prose on stderr, the answer on stdout, exit codes 0 done, 1 an honest no, 2 bad input,
3 something missing on this machine."""

from __future__ import annotations

import errno
import json
import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer

from perforch_cli import compare, models, run
from perforch_core.task import EnvironmentProblem, UserError

INTERRUPTED = 130
"""The exit code after Ctrl-C."""

app = typer.Typer(
    name="perforch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Generates, fixes and speeds up code, and proves every suggestion on this machine before showing it.",
    epilog="Exit codes: 0 done, 1 an honest no, 2 bad input, 3 something missing on this machine, 130 cancelled.",
)
app.command("optimize")(run.optimize)
app.command("fix")(run.fix)
app.command("generate")(run.generate)
app.command("compare")(compare.compare)
app.add_typer(models.app, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"perforch {version('perforch')}")
        raise typer.Exit()


@app.callback()
def options(
    show: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Generates, fixes and speeds up code, and proves every suggestion on this machine before showing it."""


@app.command("lsp")
def lsp(
    stdio: Annotated[bool, typer.Option("--stdio", help="Speak over stdin and stdout (the default).")] = True,
) -> None:
    """Run the language server (for editors)."""
    import subprocess

    # The server is another face of the core; this one does not import it, it only starts it in its place.
    # -P: the workspace, where editors start it, must not be where Python looks for modules.
    raise typer.Exit(subprocess.call([sys.executable, "-P", "-m", "perforch_lsp.server"]))


@app.command("doctor")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False) -> None:
    """Show what this machine has: interpreters, the sandbox with what it was proven to hold, models."""
    from perforch_cli.doctor import examine

    examine(as_json=as_json)


def main() -> None:
    """The entry point. An answer that cannot be written (a full disk, a closed pipe) ends with 3 and the reason."""
    try:
        try:
            _main()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EPIPE, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer must not fail once more
        print(f"perforch: the answer could not be written: {error.strerror}", file=sys.stderr)
        sys.exit(3)


def _main() -> None:
    """Maps errors to messages and exit codes. Never shows a traceback for what a user can mend."""
    as_json = "--json" in sys.argv[1:]
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        fail(str(error), code=2, kind="input", as_json=as_json, choices=error.choices)
    except EnvironmentProblem as error:
        fail(str(error), code=3, kind="environment", as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own errors of usage have it
            raise
        fail(f"{error.format_message()} (perforch --help lists the commands)", code=2, kind="input", as_json=as_json)
    if code == INTERRUPTED:
        fail("cancelled; nothing was changed", code=INTERRUPTED, kind="cancelled", as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)


def fail(message: str, *, code: int, kind: str, as_json: bool, choices: tuple[str, ...] = ()) -> None:
    """Say what is wrong where it is looked for, and exit with `code`."""
    if as_json:
        error: dict[str, Any] = {"kind": kind, "message": message, "choices": list(choices)}
        print(json.dumps({"schema": 1, "status": "failed", "reason": message, "error": error}))
    print(f"perforch: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
