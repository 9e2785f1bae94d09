"""Nothing outlives the owner: no process 2 s after kill -9, no folder after the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perforch_core.sandbox import Command, Policy, base
from perforch_core.sandbox.leftovers import Scratch, sweep

ROOT = Path(__file__).resolve().parents[3]
OWNER = """
import asyncio, sys
from pathlib import Path
from perforch_core.sandbox import Command, Limits, Policy, base, bubblewrap
SWARM = '''
import os, signal, time
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
for _ in range(2):
    if os.fork() == 0: break
while True: time.sleep(1)
'''
async def main():
    cache = Path(sys.argv[3])
    if sys.argv[1] == "bubblewrap": sandbox = await bubblewrap.find()
    else: sandbox = await base.find(cache_dir=cache, allow_weak=True)
    if sandbox is None: sys.exit(9)
    prefixes = tuple(Path(p) for p in {sys.prefix, sys.base_prefix} if p != "/usr")
    argv = (sys.executable, "-I", "-S", "-c", SWARM, sys.argv[2])
    for policy, may_fork in ((Policy.COMPILE, False), (Policy.TEST, False), (Policy.RUN, True)):
        await sandbox.open(Command(argv=argv, policy=policy, cwd=Path("/"), readable=prefixes, may_fork=may_fork))
    await asyncio.sleep(0.3)
    print("up", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def running(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if word.encode() in line:
                found.append(entry.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["bubblewrap", "base"])
@pytest.mark.parametrize("victim", ["owner", "supervisor", "both"])
def test_killed_owner(backend: str, victim: str, tmp_path: Path) -> None:
    token = f"orphan-{os.getpid()}-{tmp_path.name}"
    cache = tmp_path / "cache"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, backend, token, str(cache)], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert owner.stdout is not None
        if owner.stdout.readline() != b"up\n":
            pytest.skip(f"{backend} does not work on this machine")
        children = [int(p) for p in Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()]
        supervisor = next(p for p in children if b"supervisor" in Path(f"/proc/{p}/cmdline").read_bytes())
        sandboxed = [p for p in running(token) if int(p) != owner.pid]
        assert len(sandboxed) >= 6
        if victim in ("supervisor", "both"):
            os.kill(supervisor, signal.SIGKILL)
        if victim in ("owner", "both"):
            owner.kill()
        deadline = time.monotonic() + 2
        left = sandboxed
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = [p for p in running(token) if int(p) != owner.pid]
        if backend == "base" and victim == "both":
            # The one gap, see docs/security.md: nobody is left who knows of the first processes' children.
            for pid in left:
                os.kill(int(pid), signal.SIGKILL)
        else:
            assert left == []
    finally:
        owner.kill()
        owner.wait()
        if owner.stdout:
            owner.stdout.close()


def test_folders_of_dead_owners_go_at_the_next_start(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from perforch_core.sandbox.leftovers import Scratch\n"
        "folder = Scratch(Path(sys.argv[1])).new(); (folder / 'f').write_text('x'); print(folder, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    dead = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    left = Path(dead.stdout.strip())
    assert (left / "f").exists()
    alive = Scratch(tmp_path)
    mine = alive.new()
    assert not left.exists()
    sweep(tmp_path)
    assert mine.exists(), "the folder of a living owner was removed"
    alive.close()
    assert list(tmp_path.iterdir()) == []


async def test_every_run_removes_its_own_folder(tmp_path: Path) -> None:
    sandbox = await base.find(cache_dir=tmp_path / "cache", allow_weak=True)
    if sandbox is None:
        pytest.skip("the base backend does not work on this machine")
    command = Command(
        argv=("sh", "-c", "echo x > $TMPDIR/left"), policy=Policy.COMPILE, cwd=tmp_path, readable=(tmp_path,),
        shadow={tmp_path / "new.txt": b"new"},
    )  # fmt: skip
    assert (await sandbox.run(command)).ok
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []
    await sandbox.aclose()
    assert list((tmp_path / "cache").iterdir()) == []
