"""Attacks of a candidate: at the run stage nothing may be forked, written, connected to, signalled or read."""

from __future__ import annotations

import platform

import pytest

from perforch_core.sandbox import Ended, Limits

ATTACKS = {
    "fork": "attempt('fork', os.fork)",
    "vfork and raw clone": (
        "import platform\n"
        "numbers={'x86_64':(56,57,58,435),'aarch64':(220,435)}[platform.machine()]\n"
        "for n in numbers: attempt(f'syscall {n}', lambda n=n: call(n, 17, 0, 0, 0, 0))"
    ),
    "subprocess": "import subprocess\nattempt('run', lambda: subprocess.run(['true']))",
    "write a canary": "for c in CANARIES:\n  for mode in ('w','a','r+'): attempt(c, lambda c=c, m=mode: open(c, m))",
    "truncate": "for c in CANARIES: attempt(c, lambda c=c: os.truncate(c, 0))",
    "delete": "for c in CANARIES: attempt(c, lambda c=c: os.unlink(c))",
    "rename": "for c in CANARIES: attempt(c, lambda c=c: os.rename(c, c + '.x'))",
    "hard link": "for c in CANARIES: attempt(c, lambda c=c: os.link(c, c + '.x'))",
    "symbolic link": "attempt('symlink', lambda: os.symlink('/', PROJECT + '/x'))",
    "change mode": "for c in CANARIES: attempt(c, lambda c=c: os.chmod(c, 0o777))",
    "change mode by descriptor": "attempt('fchmod', lambda: os.fchmod(os.open(CANARIES[0], os.O_RDONLY), 0o777))",
    "change times": "for c in CANARIES: attempt(c, lambda c=c: os.utime(c, (1, 1)))",
    "change owner": "for c in CANARIES: attempt(c, lambda c=c: os.chown(c, 1, 1))",
    "extended attributes": "for c in CANARIES: attempt(c, lambda c=c: os.setxattr(c, 'user.x', b'1'))",
    "delete the project": "import shutil\nattempt('rmtree', lambda: shutil.rmtree(PROJECT))",
    "anything writable": (
        "places=['/', '/tmp', '/dev/shm', '/var/tmp', '/dev', '/proc', '/run', '/usr', PROJECT, '/home',\n"
        "        os.path.dirname(SECRET_FILE)+'/open', '/root', os.environ['HOME'], os.environ['TMPDIR']]\n"
        "for p in places:\n"
        "  attempt(p, lambda p=p: open(p + '/perforch-probe', 'w'))\n"
        "  attempt(p, lambda p=p: os.mkdir(p + '/perforch-probe-d'))"
    ),
    "unnamed temporary file": (
        "for p in ('/tmp', '/dev/shm', PROJECT): attempt(p, lambda p=p: os.open(p, os.O_TMPFILE | os.O_RDWR))"
    ),
    "read the secret": "attempt('open', lambda: print(open(SECRET_FILE).read()))",
    "read the system's secrets": (
        "for p in ('/etc/shadow', '/root/.ssh/id_rsa', '/etc/ssh/ssh_host_rsa_key', '/proc/kcore', '/dev/mem',\n"
        "          '/var/log/dpkg.log', '/boot'):\n"
        "  attempt(p, lambda p=p: os.listdir(p) if os.path.isdir(p) else open(p, 'rb').read(1))"
    ),
    "environment": (
        "attempt('name', lambda: 'PERFORCH_TEST_SECRET' in os.environ)\n"
        "raw = b''\n"
        "try: raw = open('/proc/self/environ', 'rb').read()\n"
        "except OSError: pass\n"
        "attempt('raw', lambda: b'the-secret-' in raw)"
    ),
    "other processes' environment and memory": (
        "for pid in (BYSTANDER, OWNER, os.getppid(), 1):\n"
        "  for name in ('environ', 'mem', 'maps', 'root/etc/shadow', 'cwd/canary.txt', 'fd/0', 'cmdline'):\n"
        "    def look(path=f'/proc/{pid}/{name}'):\n"
        "      with open(path, 'rb') as f: return f.read(1) or False\n"
        "    attempt(f'{pid} {name}', look)"
    ),
    "inherited descriptors": (
        "import stat\n"
        "def extra():\n"
        "  found=[]\n"
        "  for fd in range(3, 1024):\n"
        "    try: os.fstat(fd)\n"
        "    except OSError: continue\n"
        "    if fd != int(os.environ['PERFORCH_CHANNEL']): found.append(fd)\n"
        "  return found or False\n"
        "attempt('descriptors', extra)"
    ),
    "TCP": "attempt('connect', lambda: socket.create_connection(('127.0.0.1', PORT), 1))",
    "UDP": "attempt('sendto', lambda: socket.socket(2, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT)))",
    "unix sockets": (
        "for a in (UNIX, ABSTRACT): attempt(a, lambda a=a: socket.socket(socket.AF_UNIX).connect(a))"
    ),
    "strange sockets": (
        "for f, t in ((17, 3), (16, 3), (40, 1), (38, 5), (31, 3), (29, 3)):\n"
        "  attempt(f, lambda f=f, t=t: socket.socket(f, t))"
    ),
    "kill the bystander": (
        "for pid in (BYSTANDER, OWNER, os.getppid()):\n"
        "  if pid > 1: attempt(f'kill {pid}', lambda pid=pid: os.kill(pid, 9))\n"
        "attempt('tgkill', lambda: call(234, BYSTANDER, BYSTANDER, 9))\n"
        "attempt('tkill', lambda: call(200, BYSTANDER, 9))\n"
        "attempt('pidfd', lambda: signal.pidfd_send_signal(os.pidfd_open(BYSTANDER), 9))"
    ),
    "stop the owner": "attempt('stop', lambda: os.kill(OWNER, signal.SIGSTOP))",
    "ptrace": (
        "attempt('attach', lambda: call(101, 16, BYSTANDER, 0, 0))\n"
        "attempt('traceme', lambda: call(101, 0, 0, 0, 0))"
    ),
    "another's memory": (
        "b=ctypes.create_string_buffer(8); v=(ctypes.c_size_t*2)(ctypes.addressof(b), 8)\n"
        "for n in (310, 311): attempt(n, lambda n=n: call(n, BYSTANDER, v, 1, v, 1, 0))"
    ),
    "another's limits": (
        "import resource\n"
        "for pid in (BYSTANDER, OWNER):\n"
        "  attempt(pid, lambda pid=pid: resource.prlimit(pid, resource.RLIMIT_CPU, (0, 0)))"
    ),
    "own limits upwards": (
        "import resource\n"
        "def raise_it():\n"
        "  resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))\n"
        "attempt('data', raise_it)"
    ),
    "another's priority": "attempt('nice', lambda: os.setpriority(os.PRIO_PROCESS, BYSTANDER, 19))",
    "becoming root": (
        "for f in (os.setuid, os.setgid): attempt(f.__name__, lambda f=f: f(0) if os.getuid() else 1/0)\n"
        "attempt('privileges', lambda: libc.prctl(39, 0, 0, 0, 0) != 1)"
    ),
    "setuid programs": (
        "attempt('su', lambda: False if libc.prctl(39, 0, 0, 0, 0) else os.execv('/bin/su', ['su', '-c', 'id']))"
    ),
    "namespaces": (
        "for f in (0x10000000, 0x20000, 0x40000000, 0x20000000): attempt(hex(f), lambda f=f: call(272, f))\n"
        "attempt('setns', lambda: call(308, os.open('/', 0), 0))\n"
        "attempt('clone', lambda: call(56, 0x10000000 | 17, 0, 0, 0, 0))"
    ),
    "mounting": (
        "attempt('mount', lambda: call(165, b'none', b'/tmp', b'tmpfs', 0, 0))\n"
        "attempt('umount', lambda: call(166, b'/proc', 2))\n"
        "attempt('chroot', lambda: os.chroot('/'))\n"
        "attempt('fsopen', lambda: call(430, b'tmpfs', 0))"
    ),
    "kernel surface": (
        "for n in (321, 298, 323, 425, 248, 250, 304, 303, 175, 246, 169, 154, 103, 447):\n"
        "  attempt(n, lambda n=n: call(n, 0, 0, 0, 0, 0, 0))"
    ),
    "uncounted memory": (
        "attempt('memfd', lambda: os.memfd_create('x'))\n"
        "import mmap\n"
        "attempt('shared', lambda: mmap.mmap(-1, 1 << 20))\n"
        "attempt('shm', lambda: call(29, 0, 1 << 20, 0o1600))\n"
        "attempt('queue', lambda: call(240, b'perforch', 0o102, 0o600, 0))"
    ),
    "the kernel's settings": (
        "for p in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/sys/kernel/uevent_helper',\n"
        "          '/proc/sys/kernel/hostname', '/sys/fs/cgroup/cgroup.procs', '/proc/self/oom_score_adj'):\n"
        "  attempt(p, lambda p=p: os.write(os.open(p, os.O_WRONLY), b'-1000' if 'oom' in p else b'x'))"
    ),
    "terminal": "import fcntl\nattempt('TIOCSTI', lambda: fcntl.ioctl(0, 0x5412, b'x'))",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
async def test_refused(name: str, attack, request: pytest.FixtureRequest) -> None:  # type: ignore[no-untyped-def]
    if "call(" in ATTACKS[name] and platform.machine() != "x86_64":
        pytest.skip("the numbers of the system calls are those of x86_64")
    await attack(ATTACKS[name])


async def test_one_big_allocation(attack) -> None:  # type: ignore[no-untyped-def]
    await attack("attempt('10 GB', lambda: bytearray(10 << 30))")


async def test_thread_bomb(attack) -> None:  # type: ignore[no-untyped-def]
    code = """
import threading
def bomb():
    for _ in range(20000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
attempt('threads', bomb)
sys.stdout.flush(); os._exit(0)
"""
    await attack(code, limits=Limits(wall=10, cpu=5, memory=512 << 20))


async def test_endless_loop(attack) -> None:  # type: ignore[no-untyped-def]
    outcome = await attack("while True: pass", limits=Limits(wall=10, cpu=0.3), ends=(Ended.CPU,))
    assert outcome.wall < 8


async def test_sleep_that_ignores_every_signal(attack) -> None:  # type: ignore[no-untyped-def]
    code = """
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: time.sleep(1)
"""
    await attack(code, limits=Limits(wall=0.5), ends=(Ended.WALL,))


@pytest.mark.parametrize("descriptor", [1, 2])
async def test_flood(descriptor: int, attack) -> None:  # type: ignore[no-untyped-def]
    outcome = await attack(
        f"while True: os.write({descriptor}, b'x' * 65536)", limits=Limits(output=1 << 20), ends=(Ended.OUTPUT,)
    )
    assert len(outcome.stdout) + len(outcome.stderr) <= 1 << 20


async def test_flood_of_the_channel_is_held_by_its_buffer(attack) -> None:  # type: ignore[no-untyped-def]
    code = "c = socket.socket(fileno=int(os.environ['PERFORCH_CHANNEL']))\nwhile True: c.send(b'x' * 65536)"
    await attack(code, limits=Limits(wall=0.5, cpu=5), ends=(Ended.WALL,))
