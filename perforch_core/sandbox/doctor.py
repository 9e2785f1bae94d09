"""Proves on this machine what a sandbox holds, by attacking it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from perforch_core.sandbox import supervisor
from perforch_core.sandbox.interface import Command, Ended, Limits, Outcome, Policy, Sandbox

ENFORCED, WATCHED, NONE = "enforced", "watched", "none"

_ATTACKS = Path(__file__).with_name("attacks.py")
_MEMORY = 128 << 20
_SWARM = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        block = bytearray(60 << 20)
        for i in range(0, len(block), 4096): block[i] = 1
        time.sleep(20)
time.sleep(20)
"""
_PERMISSIONS = """
import os, sys
try: os.chmod(sys.argv[1], 0o777)
except OSError: print("refused")
"""
_DAEMON = """
import os, time
if os.fork() == 0:
    try: os.setsid()
    except OSError: pass
    if os.fork() == 0: time.sleep(20)
    os._exit(0)
os.wait()
"""


async def prove(sandbox: Sandbox) -> dict[str, str]:
    """Attack `sandbox` and say for each attack what held: "enforced", "watched" or "none". Takes a few seconds.

    Evidence, where `Sandbox.guarantees` is knowledge. Raises EnvironmentProblem when nothing can be started in it.
    """
    with _world() as world:
        single, *others = await asyncio.gather(
            _single(sandbox, world),
            _ends(sandbox, "while True: pass", "endless loop", {Ended.CPU: ENFORCED, Ended.WALL: ENFORCED}),
            _ends(
                sandbox, "import os\nwhile True: os.write(1, b'x' * 65536)", "output flood", {Ended.OUTPUT: ENFORCED}
            ),
            _ends(sandbox, _SWARM, "memory of the tree", {Ended.MEMORY: WATCHED}, policy=Policy.COMPILE),
            _permissions(sandbox, world),
            _daemon(sandbox),
        )
        killed = world.bystander.poll() is not None
    found = dict(single)
    for name, word in others:
        found[name] = word
    if killed:
        found["signals to others"] = NONE
    return found


async def _single(sandbox: Sandbox, world: _World) -> Mapping[str, str]:
    outcome = await _python(sandbox, _ATTACKS.read_text(), json.dumps(world.told))
    if not outcome.ok:
        return {"attacks": NONE}
    breached: dict[str, bool] = json.loads(outcome.stdout)
    return {name: NONE if bad else ENFORCED for name, bad in breached.items()}


async def _ends(
    sandbox: Sandbox, code: str, name: str, words: Mapping[Ended, str], *, policy: Policy = Policy.RUN
) -> tuple[str, str]:
    outcome = await _python(sandbox, code, policy=policy)
    return name, words.get(outcome.ended, NONE)


async def _permissions(sandbox: Sandbox, world: _World) -> tuple[str, str]:
    """Build scripts are the weaker case: a linker must be able to change modes."""
    outcome = await _python(sandbox, _PERMISSIONS, str(world.told["owned"]), policy=Policy.COMPILE)
    return "change permissions", ENFORCED if outcome.stdout.strip() == b"refused" else NONE


async def _daemon(sandbox: Sandbox) -> tuple[str, str]:
    token = "perforch-daemon-" + secrets.token_hex(8)
    await _python(sandbox, _DAEMON, token, policy=Policy.COMPILE)
    for _ in range(10):
        if not supervisor.running_with(token):
            return "daemon left behind", ENFORCED
        await asyncio.sleep(0.05)
    return "daemon left behind", NONE


async def _python(sandbox: Sandbox, code: str, *arguments: str, policy: Policy = Policy.RUN) -> Outcome:
    prefixes = {Path(p) for p in (sys.prefix, sys.base_prefix)} - {Path("/usr")}
    return await sandbox.run(
        Command(
            argv=(sys.executable, "-I", "-S", "-c", code, *arguments),
            policy=policy,
            cwd=Path("/"),
            limits=Limits(wall=4.0, cpu=0.5 if policy is Policy.RUN else 4.0, memory=_MEMORY, output=1 << 20),
            readable=tuple(sorted(prefixes)),
        )
    )


@dataclass(frozen=True, slots=True)
class _World:
    bystander: subprocess.Popen[bytes]
    told: Mapping[str, object]


@contextlib.contextmanager
def _world() -> Iterator[_World]:
    """Things to attack: files, a process, sockets, a variable. All are our own."""
    variable = "PERFORCH_DOCTOR_SECRET"
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="perforch-doctor-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        secret, owned, public = folder / "secret", folder / "owned", folder / "public"
        secret.write_text("secret")
        owned.write_text("owned")
        public.mkdir()
        public.chmod(0o777)
        bystander = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
        stack.callback(bystander.wait)
        stack.callback(bystander.kill)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        path = stack.enter_context(socket.socket(socket.AF_UNIX))
        path.bind(str(folder / "socket"))
        path.listen()
        os.environ[variable] = "secret"
        stack.callback(os.environ.pop, variable, None)
        told = {
            "writable": [str(public), "/dev/shm", "/var/tmp", "/tmp"],
            "secrets": [str(secret), "/etc/shadow", f"/proc/{os.getpid()}/environ"],
            "variable": variable,
            "port": tcp.getsockname()[1],
            "socket": str(folder / "socket"),
            "bystander": bystander.pid,
            "owned": str(owned),
            "memory": _MEMORY,
        }
        yield _World(bystander, told)
