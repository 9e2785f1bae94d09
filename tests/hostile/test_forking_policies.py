"""Attacks of build scripts and project tests, which may fork and have a place to write."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perforch_core.sandbox import Command, Ended, Limits, Policy, Sandbox

pytestmark = pytest.mark.slow

FORKING = (Policy.COMPILE, Policy.TEST)
WATCHED = (Ended.EXITED, Ended.MEMORY, Ended.SIGNALLED, Ended.KILLED, Ended.CPU, Ended.WALL)


@pytest.mark.parametrize("policy", FORKING)
async def test_fork_bomb(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
try:
    while True: os.fork()
except OSError: pass
time.sleep(60)
"""
    await attack(code, policy=policy, limits=Limits(wall=1.0, cpu=20, processes=40), ends=WATCHED)


@pytest.mark.parametrize("policy", FORKING)
async def test_limit_on_processes(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
def many():
    for n in range(200):
        if os.fork() == 0: time.sleep(30); os._exit(0)
attempt('200 processes', many)
sys.stdout.flush(); os._exit(0)
"""
    await attack(code, policy=policy, limits=Limits(wall=10, cpu=10, processes=40))


@pytest.mark.parametrize("policy", FORKING)
async def test_children_of_400_megabytes(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
for n in range(8):
    if os.fork() == 0:
        b = bytearray(400 << 20)
        for i in range(0, len(b), 4096): b[i] = 1
        time.sleep(60)
time.sleep(60)
"""
    outcome = await attack(code, policy=policy, limits=Limits(wall=30, cpu=60, memory=500 << 20), ends=(Ended.MEMORY,))
    assert outcome.peak_memory > 500 << 20


@pytest.mark.parametrize("policy", FORKING)
async def test_shared_anonymous_memory(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
import mmap
m = mmap.mmap(-1, 3 << 30)
for i in range(0, len(m), 4096): m[i] = 1
print('BREACH')
"""
    await attack(
        code, policy=policy, limits=Limits(wall=20, cpu=30, memory=400 << 20), ends=(Ended.MEMORY, Ended.SIGNALLED)
    )


@pytest.mark.parametrize("policy", FORKING)
async def test_daemon_left_behind(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
if os.fork() == 0:
    try: os.setsid()
    except OSError: pass
    if os.fork() == 0:
        try: os.setsid()
        except OSError: pass
        for n in range(1, 65):
            try: signal.signal(n, signal.SIG_IGN)
            except (OSError, ValueError): pass
        for fd in range(3): os.close(fd)
        while True:
            time.sleep(0.2)
            try: open(CANARIES[1], 'w').write('changed')
            except OSError: pass
    os._exit(0)
time.sleep(0.3)
print('fine', flush=True)
"""
    await attack(code, policy=policy)


@pytest.mark.parametrize("policy", FORKING)
async def test_daemon_when_the_time_is_up(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
for n in range(5):
    if os.fork() == 0:
        if os.fork(): os._exit(0)
        while True: time.sleep(1)
while True: time.sleep(1)
"""
    await attack(code, policy=policy, limits=Limits(wall=0.7), ends=(Ended.WALL,))


@pytest.mark.parametrize("policy", FORKING)
async def test_kill_everything(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
for pid in (BYSTANDER, OWNER, os.getppid()):
    if pid > 1: attempt(pid, lambda pid=pid: os.kill(pid, 9))
if os.fork() == 0:
    try: os.kill(-1, 9)
    except OSError: pass
    os._exit(0)
time.sleep(0.2)
print('refused', flush=True)
"""
    await attack(code, policy=policy, ends=(Ended.EXITED, Ended.SIGNALLED))


@pytest.mark.parametrize("policy", FORKING)
async def test_outside_is_out_of_reach(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
attempt('secret', lambda: print(open(SECRET_FILE).read()))
for c in CANARIES:
    attempt(c, lambda: open(c, 'w'))
    attempt(c, lambda: os.unlink(c))
    attempt(c, lambda: os.link(c, os.environ['TMPDIR'] + '/linked'))
    attempt(c, lambda: os.rename(c, os.environ['TMPDIR'] + '/moved'))
attempt('open folder', lambda: open(os.path.dirname(SECRET_FILE) + '/open/x', 'w'))
attempt('tcp', lambda: socket.create_connection(('127.0.0.1', PORT), 1))
for a in (UNIX, ABSTRACT): attempt(a, lambda: socket.socket(socket.AF_UNIX).connect(a))
def look(path):
    with open(path, 'rb') as f: return f.read(1) or False
for name in ('environ', 'mem', 'cmdline'): attempt(name, lambda: look(f'/proc/{OWNER}/{name}'))
"""
    await attack(code, policy=policy)


@pytest.mark.parametrize("policy", FORKING)
async def test_a_link_that_leads_out(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
t = os.environ['TMPDIR'] + '/link'
os.symlink(SECRET_FILE, t)
attempt('read through', lambda: print(open(t).read()))
os.symlink(CANARIES[1], t + '2')
attempt('write through', lambda: open(t + '2', 'w'))
"""
    await attack(code, policy=policy)


@pytest.mark.parametrize("policy", FORKING)
async def test_a_huge_file(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def write():
    with open(os.environ['TMPDIR'] + '/big', 'wb', buffering=0) as f:
        for n in range(64):
            if f.write(b'x' * (1 << 20)) < 1 << 20: raise OSError('short')
attempt('64 MB', write)
"""
    await attack(code, policy=policy, limits=Limits(file_size=8 << 20, wall=10))


@pytest.mark.parametrize("policy", FORKING)
async def test_core_dumps_are_off(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    code = """
os.chdir(os.environ['TMPDIR'])
pid = os.fork()
if pid == 0: os.abort()
os.waitpid(pid, 0)
attempt('core', lambda: [n for n in os.listdir('.') if 'core' in n] or False)
"""
    await attack(code, policy=policy)


@pytest.mark.parametrize("policy", FORKING)
async def test_nothing_outlives_the_run(policy: Policy, attack) -> None:  # type: ignore[no-untyped-def]
    def tables() -> list[list[str]]:
        return [Path(f"/proc/sysvipc/{name}").read_text().splitlines()[1:] for name in ("shm", "msg", "sem")]

    before = tables()
    code = """
libc.shmget(0x5eed, 4096, 0o1666); libc.msgget(0x5eed, 0o1666); libc.semget(0x5eed, 1, 0o1666)
open(os.environ['TMPDIR'] + '/left', 'w').write('x')
print('fine')
"""
    await attack(code, policy=policy)
    assert tables() == before
    assert not Path("/tmp/left").exists()


async def test_the_temporary_folder_is_bounded(attack, sandbox: Sandbox) -> None:  # type: ignore[no-untyped-def]
    if sandbox.name != "bubblewrap":
        pytest.skip("without mounts the disk's free space is watched instead")
    code = """
def fill(path):
    for n in range(100):
        with open(f'{path}/{n}', 'wb') as f: f.write(b'x' * (1 << 20))
for path in ('/tmp', '/dev/shm'): attempt(path, lambda: fill(path))
"""
    await attack(code, policy=Policy.TEST, limits=Limits(scratch=16 << 20, wall=20))


@pytest.mark.slow
async def test_inode_bomb(attack, sandbox: Sandbox) -> None:  # type: ignore[no-untyped-def]
    if sandbox.name != "bubblewrap":
        pytest.skip("without mounts the disk's free space is watched instead")
    code = "n = 0\nwhile True:\n  os.close(os.open(f'/tmp/{n}', os.O_CREAT)); n += 1"
    await attack(code, policy=Policy.TEST, limits=Limits(wall=60, cpu=60), ends=(Ended.MEMORY,))


async def test_loopback_is_the_tests_own(attack, sandbox: Sandbox) -> None:  # type: ignore[no-untyped-def]
    if sandbox.name != "bubblewrap":
        pytest.skip("needs a network namespace")
    code = """
s = socket.socket(); s.bind(('127.0.0.1', PORT)); s.listen()
c = socket.create_connection(('127.0.0.1', PORT), 2); c.send(b'hi')
assert s.accept()[0].recv(2) == b'hi'
attempt('outside', lambda: socket.create_connection(('1.1.1.1', 53), 1))
"""
    await attack(code, policy=Policy.TEST)


async def test_a_session_cannot_be_left(attack, sandbox: Sandbox) -> None:  # type: ignore[no-untyped-def]
    if sandbox.name == "bubblewrap":
        pytest.skip("the namespace ends every session")
    code = """
if os.fork() == 0:
    attempt('setsid', os.setsid); sys.stdout.flush(); os._exit(0)
os.wait()
"""
    await attack(code, policy=Policy.COMPILE)


async def test_a_writable_folder_is_writable_and_nothing_else(attack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    build = tmp_path / "build"
    (build / "deep").mkdir(parents=True)
    (build / "deep" / "old.o").write_text("old")
    code = f"""
open({str(build)!r} + '/new.o', 'w').write('new')
open({str(build)!r} + '/deep/old.o', 'w').write('newer')
for f in (lambda: open({str(tmp_path)!r} + '/beside', 'w'), lambda: os.rename({str(build)!r}, {str(build)!r} + '2')):
    try: f()
    except OSError: pass
print('fine')
"""
    before = [p for p in sorted(tmp_path.iterdir()) if p.name != "cache"]
    await attack(code, policy=Policy.COMPILE, writable=(build,))
    assert [p for p in sorted(tmp_path.iterdir()) if p.name != "cache"] == before
    assert (build / "new.o").read_text() == "new"
    assert (build / "deep" / "old.o").read_text() == "newer"


async def test_writable_counts_for_nothing_at_the_run_stage(attack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    build = tmp_path / "build"
    build.mkdir()
    build.chmod(0o777)
    await attack(f"attempt('write', lambda: open({str(build)!r} + '/x', 'w'))", writable=(build,))


async def test_root_does_not_give_away_hard_linked_files(attack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mine, build = tmp_path / "mine.txt", tmp_path / "build"
    build.mkdir()
    mine.write_text("mine")
    (build / "link.txt").hardlink_to(mine)
    (build / "symlink").symlink_to(tmp_path)
    owner, above = mine.stat().st_uid, tmp_path.stat().st_uid
    await attack("print('fine')", policy=Policy.COMPILE, writable=(build,))
    assert mine.stat().st_uid == owner
    assert tmp_path.stat().st_uid == above


C_ATTACKS = {
    "another ABI: int 0x80": 'int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(2)); if (r == 0) _exit(0);',
    "another ABI: x32": "long r = syscall(0x40000000 + 57); if (r == 0) _exit(0);",
    "clone3": "char a[88] = {0}; long r = syscall(435, a, 88); if (r == 0) _exit(0);",
    "vfork": "long r = vfork(); if (r == 0) _exit(0);",
    "exec of a forked shell": 'long r = system("true") ? -1 : 0;',
    "socketcall": "long r = socket(2, 1, 0);",
    "executable stack of another": (
        'char p[64]; sprintf(p, "/proc/%s/mem", argv[2]); long r = open(p, 2); if (r < 0) { sprintf(p, "/proc/%s/mem", '
        "argv[3]); r = open(p, 2); }"
    ),
}


@pytest.mark.parametrize("name", C_ATTACKS)
async def test_compiled(name: str, sandbox: Sandbox, world, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    compiler = shutil.which("cc")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("needs a C compiler and x86_64")
    source, program = tmp_path / "a.c", tmp_path / "bin" / "a"
    program.parent.mkdir()
    source.write_text(
        "#define _GNU_SOURCE\n#include <unistd.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <fcntl.h>\n"
        "#include <sys/socket.h>\n#include <sys/syscall.h>\n"
        'int main(int argc, char **argv) { puts("tried"); fflush(stdout); '
        + C_ATTACKS[name]
        + ' puts(r < 0 ? "refused" : "BREACH"); return 0; }\n'
    )
    subprocess.run([compiler, "-w", "-o", str(program), str(source)], check=True)
    arguments = (world.token, str(world.bystander.pid), "1")
    outcome = await sandbox.run(
        Command(
            argv=(str(program), *arguments),
            policy=Policy.RUN,
            cwd=program.parent,
            limits=Limits(wall=5),
            readable=(program.parent,),
        )
    )
    assert outcome.stdout.startswith(b"tried"), outcome
    assert b"BREACH" not in outcome.stdout
    assert b"refused" in outcome.stdout or outcome.ended is Ended.SIGNALLED, outcome
    world.check()


async def test_the_compiler_itself_runs_in_the_sandbox(sandbox: Sandbox, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    build = tmp_path / "build"
    build.mkdir()
    (build / "a.c").write_text('#include <stdio.h>\nint main(void) { puts("built"); return 0; }\n')
    compiled = await sandbox.run(
        Command(argv=("cc", "-o", "a", "a.c"), policy=Policy.COMPILE, cwd=build, writable=(build,))
    )
    assert compiled.ok, compiled
    ran = await sandbox.run(Command(argv=("./a",), policy=Policy.RUN, cwd=build, readable=(build,)))
    assert ran.stdout == b"built\n", ran


@pytest.mark.skipif(sys.platform != "linux", reason="these backends are Linux only")
async def test_an_include_cannot_read_a_secret(sandbox: Sandbox, world, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    build = tmp_path / "build"
    build.mkdir()
    (build / "a.c").write_text(f'#include "{world.outside}/secret.txt"\n')
    outcome = await sandbox.run(Command(argv=("cc", "-E", "a.c"), policy=Policy.COMPILE, cwd=build, writable=(build,)))
    assert not outcome.ok
    assert (world.outside / "secret.txt").read_bytes() not in outcome.stdout + outcome.stderr
    world.check()
