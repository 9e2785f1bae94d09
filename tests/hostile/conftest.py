"""A small world that no attack may change, and the sandboxes it is attacked from."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from perforch_core.sandbox import Command, Ended, Limits, Outcome, Policy, Sandbox, base, bubblewrap, landlock

SECRET = "the-secret-" + secrets.token_hex(8)


@dataclass
class World:
    """What stands around the sandbox. `token` is on the command line of everything an attack starts."""

    project: Path
    outside: Path
    port: int
    listeners: list[socket.socket]
    bystander: subprocess.Popen[bytes]
    token: str = field(default_factory=lambda: "attack-" + secrets.token_hex(8))

    @property
    def canaries(self) -> list[Path]:
        return [self.project / "canary.txt", self.outside / "canary.txt"]

    @property
    def header(self) -> str:
        """What an attack knows: everything, so that it fails because of the sandbox and not for want of knowledge."""
        return (
            "import os, sys, ctypes, errno, signal, socket, time, json\n"
            f"CANARIES={[str(c) for c in self.canaries]!r}; SECRET_FILE={str(self.outside / 'secret.txt')!r}\n"
            f"PROJECT={str(self.project)!r}; PORT={self.port}; UNIX={str(self.outside / 'sock')!r}\n"
            f"ABSTRACT={self.abstract!r}; BYSTANDER={self.bystander.pid}; OWNER={os.getpid()}\n"
            "libc=ctypes.CDLL(None, use_errno=True)\n"
            "def attempt(what, f):\n"
            "    try: r=f()\n"
            "    except BaseException as e: print('refused', what, type(e).__name__, e, flush=True)\n"
            "    else: print('BREACH' if r is not False else 'refused', what, r, flush=True)\n"
            "def call(*args):\n"
            "    r=libc.syscall(*args)\n"
            "    if r<0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))\n"
            "    return r\n"
        )

    @property
    def abstract(self) -> str:
        return "\0perforch-" + self.token

    def check(self) -> None:
        """Raise AssertionError unless all is as it was and nothing of the attack still runs."""
        for canary in self.canaries:
            info = canary.stat()
            assert canary.read_text() == "unchanged"
            assert (info.st_mode & 0o777, int(info.st_mtime), info.st_nlink) == (0o644, 1_000_000_000, 1)
        assert sorted(p.name for p in self.project.iterdir()) == ["canary.txt", "sub"]
        assert self.bystander.poll() is None, "the bystander was killed"
        state = Path(f"/proc/{self.bystander.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state in "SR", "the bystander was stopped or is traced"
        for listener in self.listeners:
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.recv(1) if listener.type == socket.SOCK_DGRAM else listener.accept()
        assert self.left_running() == []

    def left_running(self) -> list[str]:
        """Command lines that carry the attack's token, once the kernel has had a moment."""
        for _ in range(20):
            found = []
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        line = (entry / "cmdline").read_bytes()
                    except OSError:
                        continue
                    if self.token.encode() in line:
                        found.append(line.decode(errors="replace")[-200:])
            if not found:
                return []
            time.sleep(0.05)
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("PERFORCH_TEST_SECRET", SECRET)
    project, outside = tmp_path / "project", tmp_path / "outside"
    (project / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    for folder in (project, outside):
        canary = folder / "canary.txt"
        canary.write_text("unchanged")
        canary.chmod(0o644)
        os.utime(canary, (1_000_000_000, 1_000_000_000))
    (outside / "open").mkdir()
    (outside / "open").chmod(0o777)
    bystander = subprocess.Popen(["sleep", "600"])
    made = World(project, outside, 0, [], bystander)
    for family, kind, address in (
        (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        (socket.AF_UNIX, socket.SOCK_STREAM, str(outside / "sock")),
        (socket.AF_UNIX, socket.SOCK_STREAM, made.abstract),
    ):
        listener = socket.socket(family, kind)
        listener.bind(address)
        listener.listen()
        made.listeners.append(listener)
    made.port = made.listeners[0].getsockname()[1]
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", made.port))
    made.listeners.append(datagrams)
    (outside / "sock").chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        # So that permissions alone do not save us: what holds must be the sandbox.
        if folder.stat().st_uid == os.getuid() and "pytest" in folder.name:
            folder.chmod(0o755)
    yield made
    bystander.kill()
    bystander.wait()
    for listener in made.listeners:
        listener.close()


@pytest.fixture(params=["bubblewrap", "base", "base, Landlock 5"])
async def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sandbox]:
    """Each backend in turn; the last is the base backend as on a kernel whose Landlock cannot scope signals."""
    found: Sandbox | None
    if request.param == "bubblewrap":
        found = await bubblewrap.find()
    elif request.param == "base":
        found = await base.find(cache_dir=tmp_path / "cache", allow_weak=True)
    else:
        version = min(landlock.version(), 5)
        found = base.Base(cache_dir=tmp_path / "cache", allow_weak=True, landlock_version=version) if version else None
    if found is None:
        pytest.skip(f"{request.param} does not work on this machine")
    yield found
    await found.aclose()


def python_folders() -> tuple[Path, ...]:
    """What an interpreter needs to see of itself."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix}
    return tuple(Path(p) for p in prefixes if Path(p) != Path("/usr"))


@pytest.fixture
def attack(sandbox: Sandbox, world: World):  # type: ignore[no-untyped-def]
    """Run Python code in the sandbox, then check that the world is as it was and no breach was reported."""

    async def run(
        code: str,
        *,
        policy: Policy = Policy.RUN,
        limits: Limits | None = None,
        writable: tuple[Path, ...] = (),
        ends: tuple[Ended, ...] = (Ended.EXITED,),
        **rest: object,
    ) -> Outcome:
        command = Command(
            argv=(sys.executable, "-I", "-S", "-c", world.header + code, world.token),
            policy=policy,
            cwd=world.project,
            limits=limits or Limits(wall=10, cpu=5, memory=1 << 30),
            readable=(world.project, *python_folders()),
            writable=writable,
            **rest,  # type: ignore[arg-type]
        )
        outcome = await sandbox.run(command)
        assert b"BREACH" not in outcome.stdout, outcome.stdout
        assert SECRET.encode() not in outcome.stdout + outcome.stderr
        assert outcome.ended in ends, outcome
        if ends == (Ended.EXITED,):
            assert outcome.returncode == 0, outcome.stderr
            assert b"refused" in outcome.stdout or b"fine" in outcome.stdout, outcome
        world.check()
        return outcome

    return run
