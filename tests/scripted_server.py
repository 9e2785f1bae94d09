"""A real HTTP server on this machine whose answers a test scripts, one function per expected request."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request, and the ways to answer it."""

    handler: BaseHTTPRequestHandler
    body: dict[str, Any]
    gone: threading.Event

    @property
    def headers(self) -> Any:
        return self.handler.headers

    def reply(self, status: int, body: Any, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.handler.send_response(status)
        for name, value in {"content_type": "application/json", **headers}.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Content-Length", str(len(data)))
        self.handler.end_headers()
        self.handler.wfile.write(data)

    def start_stream(self, content_type: str = "text/event-stream") -> None:
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", content_type)
        self.handler.send_header("Connection", "close")
        self.handler.end_headers()
        self.handler.close_connection = True

    def raw(self, text: str) -> None:
        self.handler.wfile.write(text.encode())
        self.handler.wfile.flush()

    def chunk(self, text: str | None = None, *, finish: str | None = None, **more: Any) -> None:
        delta = {} if text is None else {"content": text}
        self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})

    def event(self, value: Any) -> None:
        self.raw(f"data: {json.dumps(value)}\n\n")

    def wait_until_gone(self, seconds: float = 10) -> None:
        """Block until the client closes its end of the connection."""
        self.handler.connection.settimeout(seconds)
        try:
            if self.handler.connection.recv(1) == b"":
                self.gone.set()
        except TimeoutError:
            pass
        except OSError:
            self.gone.set()


@dataclass
class Server:
    """`requests` holds what came; `gone` is set when a client was seen to close its connection."""

    scripts: list[Script]
    requests: list[Exchange] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    get: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


def simple(text: str = "hello", **usage: int) -> Script:
    """A script that streams `text` in two chunks, with usage."""

    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        half = len(text) // 2
        exchange.chunk(text[:half])
        exchange.chunk(text[half:], finish="stop")
        exchange.event({"choices": [], "usage": usage or {"prompt_tokens": 11, "completion_tokens": 7}})
        exchange.raw("data: [DONE]\n\n")

    return script


@contextmanager
def serve(*scripts: Script, get: dict[str, Any] | None = None) -> Iterator[Server]:
    """Serve the scripts in turn; the last one answers every further request."""
    state = Server(list(scripts), get=get or {})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            known = self.path in state.get
            Exchange(self, {}, state.gone).reply(200 if known else 404, state.get.get(self.path, {}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            exchange = Exchange(self, body, state.gone)
            state.requests.append(exchange)
            state.scripts[min(len(state.requests), len(state.scripts)) - 1](exchange)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that hangs up is part of the tests

    server = Quiet(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
