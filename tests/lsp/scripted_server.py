"""The real server, except that its worker runs the scripted orchestrator."""

from __future__ import annotations

import sys
from pathlib import Path

from perforch_lsp.server import create_server, run

if __name__ == "__main__":
    sys.exit(run(create_server(engine_command=[sys.executable, "-P", str(Path(__file__).with_name("scripted.py"))])))
