"""The language server: the table of what it answers. Each method has its own file under features/."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from lsprotocol import types

from perforch_lsp.features import (
    code_action,
    code_lens,
    configuration,
    diagnostics,
    did_change,
    execute_command,
    lifecycle,
    listing,
)
from perforch_lsp.jobs import Jobs
from perforch_lsp.session import Session


def create_server(*, engine_command: Sequence[str] | None = None) -> Session:
    """A server that is not started yet. `engine_command` replaces the worker that jobs run in."""
    server = Session()
    server.jobs = Jobs(server, engine_command)

    server.feature(types.INITIALIZE)(lifecycle.initialize)
    server.feature(types.INITIALIZED)(lifecycle.initialized)
    server.feature(types.SHUTDOWN)(lifecycle.shutdown)
    server.feature(types.WINDOW_WORK_DONE_PROGRESS_CANCEL)(lifecycle.cancel_progress)
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(configuration.changed)
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(diagnostics.opened)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(did_change.handle)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE)(diagnostics.saved)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(diagnostics.closed)
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, code_action.OPTIONS)(code_action.handle)
    server.feature(types.CODE_ACTION_RESOLVE)(code_action.resolve)
    server.feature(types.TEXT_DOCUMENT_CODE_LENS, code_lens.OPTIONS)(code_lens.handle)
    server.feature("perforch/jobs")(listing.jobs)
    server.feature("perforch/suggestions")(listing.suggestions)
    for name, command in execute_command.COMMANDS.items():
        server.command(name)(command)
    return server


def run(server: Session) -> int:
    """Serve on stdin and stdout until the client says `exit` or is gone; the exit code."""
    # pygls logs whole messages with the user's source text in them, and tracebacks of what is answered properly.
    logging.getLogger("pygls").setLevel(logging.CRITICAL)
    server.start_io()
    return server.wire.exit_code


def main(arguments: Sequence[str] | None = None) -> None:
    """`perforch-lsp` and `perforch lsp`."""
    parser = argparse.ArgumentParser(
        prog="perforch-lsp", description="PerfOrch's language server, on stdin and stdout."
    )
    parser.add_argument("--stdio", action="store_true", help="accepted, because some clients add it; always the case")
    parser.add_argument("--verbose", action="store_true", help="write what happens to stderr")
    options = parser.parse_args(arguments)
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    sys.exit(run(create_server()))


if __name__ == "__main__":
    main()
