"""What the rest of the core asks of a sandbox. One file per backend implements it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Policy(StrEnum):
    """How much a sandboxed program may do.

    prepare: fetch dependencies. compile: fork, one writable folder. test: fork, a private writable /tmp, loopback.
    run: nothing writable, no sockets; no fork either, unless `Command.may_fork` (a trusted zygote, whose children
    give up the right themselves with `Sandbox.no_fork_filter`). A zygote's tree has no /proc, so that its children
    cannot reach each other.
    """

    PREPARE = "prepare"
    COMPILE = "compile"
    TEST = "test"
    RUN = "run"


class Ended(StrEnum):
    """Why a sandboxed program is no longer running."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    WALL = "wall time"
    CPU = "CPU time"
    MEMORY = "memory"
    OUTPUT = "output"
    KILLED = "killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds and bytes. `memory` holds for the whole process tree, `output` for stdout and stderr together."""

    wall: float = 30.0
    cpu: float = 30.0
    memory: int = 2 << 30
    output: int = 8 << 20
    processes: int = 256
    file_size: int = 256 << 20
    scratch: int = 512 << 20


MOST_SHADOWS = 200
"""How many files one command may shadow; more raise ValueError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to run in the sandbox.

    `env` is the whole environment (the sandbox adds PATH, HOME, LANG and TMPDIR where absent, nothing else).
    `readable` are folders outside the system's own that must be visible read-only (project root, interpreter prefix).
    `writable` are folders that may be written (compile and prepare only).
    `shadow` maps absolute paths of files to the bytes that the program must see there instead; the real file is
    never touched. A shadowed path need not exist; at most MOST_SHADOWS. Where there are no namespaces the program is
    run in a mirror of the folders instead, with all paths rewritten (see sandbox/mirror.py).
    `reserves_memory` is for programs that reserve far more address space than they use (sanitizers): the memory limit
    is then only watched.
    """

    argv: tuple[str, ...]
    policy: Policy
    cwd: Path
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict)
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    shadow: Mapping[Path, bytes] = field(default_factory=dict)
    stdin: bytes = b""
    may_fork: bool = False
    reserves_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a sandboxed program ended. `cpu` and `wall` in seconds, `peak_memory` in bytes, as seen from outside."""

    ended: Ended
    returncode: int | None
    stdout: bytes
    stderr: bytes
    wall: float
    cpu: float
    peak_memory: int

    @property
    def ok(self) -> bool:
        """Exited by itself with code 0."""
        return self.ended is Ended.EXITED and self.returncode == 0


class Process(Protocol):
    """A live sandboxed program that its owner talks to over `channel` and must close.

    The program finds its end of the channel (a connected SOCK_STREAM unix socket) at the descriptor whose number
    is in its environment variable PERFORCH_CHANNEL. All its output is collected up to `Limits.output`.
    """

    channel: socket.socket

    async def wait(self) -> Outcome:
        """Wait for the end, however it comes (limits included)."""

    async def close(self) -> Outcome:
        """Kill everything that the program started, free all it held, and say how it went. Safe to call twice."""


class Sandbox(Protocol):
    """One backend. Cancelling `run` kills the program's whole tree before the cancellation is delivered."""

    name: str
    """For people: "bubblewrap", "base (seccomp + Landlock)"."""

    guarantees: Mapping[str, str]
    """attack -> "enforced", "watched" or "none"."""

    async def run(self, command: Command) -> Outcome:
        """Run to the end.

        Raises EnvironmentProblem when the program cannot be started at all, ValueError for an impossible shadow.
        """

    async def open(self, command: Command) -> Process:
        """Start a program to talk to. Raises EnvironmentProblem when it cannot be started at all."""

    def no_fork_filter(self) -> bytes:
        """A seccomp program (array of struct sock_filter) by which a process gives up fork, exec and sockets."""

    async def aclose(self) -> None:
        """End the supervisor and everything that still runs."""
