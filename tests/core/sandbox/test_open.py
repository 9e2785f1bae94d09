"""Programs that are talked to: the channel, a trusted zygote, its children, and the end of all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import time
from pathlib import Path

import pytest

from perforch_core.sandbox import Ended, Limits, Policy, Sandbox
from perforch_core.sandbox.filters import OWN_PID

ZYGOTE = """
import array, ctypes, json, os, resource, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
channel = socket.socket(fileno=int(os.environ["PERFORCH_CHANNEL"]))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
def tried(f):
    try: return repr(f())
    except BaseException as error: return type(error).__name__
def restrict(program):
    program = program.replace(b"PID!", struct.pack("=I", os.getpid()))
    buffer = ctypes.create_string_buffer(program, len(program))
    header = Program(len(program) // 8, ctypes.addressof(buffer))
    return libc.prctl(22, 2, ctypes.byref(header), 0, 0)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
zygote, siblings = os.getpid(), []
while True:
    data, ancillary, _, _ = channel.recvmsg(65536, socket.CMSG_SPACE(4))
    if not data: break
    fds = array.array("i")
    for _, _, payload in ancillary: fds.frombytes(payload)
    pid = os.fork()
    if pid:
        siblings.append(pid)
        os.close(fds[0])
        continue
    channel.close()
    mine = socket.socket(fileno=fds[0])
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
    mine.sendall(b"H")
    answer = {"loaded": restrict(data)}
    victims = [zygote, *siblings, 1]
    answer["fork"] = tried(os.fork)
    answer["socket"] = tried(socket.socket)
    answer["exec"] = tried(lambda: os.execv("/bin/true", ["true"]))
    answer["write"] = tried(lambda: open("/tmp/x", "w"))
    answer["memory"] = [tried(lambda: open(f"/proc/{p}/mem", "r+b")) for p in victims]
    answer["kill"] = [tried(lambda: os.kill(p, 9)) for p in victims]
    answer["tgkill"] = [libc.syscall(234, p, p, 9) for p in victims]
    answer["ptrace"] = [libc.ptrace(16, p, 0, 0) for p in victims]
    mine.sendall(json.dumps(answer).encode())
    block = b"x" * (80 << 20)
    command = mine.recv(1)
    if command == b"a": os.abort()
    while command == b"l": pass
"""


class Child:
    """One child of the zygote as its owner has it: a socket of its own, and the pid that the kernel vouches for."""

    def __init__(self, channel: socket.socket, program: bytes) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.settimeout(10)
        socket.send_fds(channel, [program], [theirs.fileno()])
        theirs.close()
        _, ancillary, _, _ = self.sock.recvmsg(1, socket.CMSG_SPACE(struct.calcsize("3i")))
        self.pid = struct.unpack("3i", ancillary[0][2])[0]
        self.pidfd = os.pidfd_open(self.pid)
        self.said = json.loads(self.sock.recv(65536))

    def cpu(self) -> float:
        return time.clock_gettime(((~self.pid) << 3) | 2)

    def resident(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) << 10

    async def gone(self) -> None:
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        loop.add_reader(self.pidfd, event.set)
        await asyncio.wait_for(event.wait(), 5)
        loop.remove_reader(self.pidfd)
        os.close(self.pidfd)
        self.sock.close()


async def test_a_zygote_and_its_children(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    program = sandbox.no_fork_filter()
    assert OWN_PID in program
    process = await sandbox.open(python(ZYGOTE, may_fork=True))
    process.channel.settimeout(10)
    first = await asyncio.to_thread(Child, process.channel, program)
    second = await asyncio.to_thread(Child, process.channel, program)
    for child in (first, second):
        said = child.said
        assert said["loaded"] == 0
        assert said["fork"] == said["exec"] == said["socket"] == "PermissionError"
        assert said["write"] in ("OSError", "PermissionError")
        assert set(said["memory"]) <= {"PermissionError", "FileNotFoundError"}
        assert set(said["kill"]) == {"PermissionError"}
        assert set(said["tgkill"]) == set(said["ptrace"]) == {-1}
    assert len(second.said["memory"]) == 3
    before = first.cpu()
    first.sock.sendall(b"l")
    await asyncio.sleep(0.5)
    assert first.cpu() > before + 0.01
    assert first.resident() > 80 << 20
    signal.pidfd_send_signal(first.pidfd, signal.SIGKILL)
    await first.gone()
    second.sock.sendall(b"a")
    await second.gone()
    third = await asyncio.to_thread(Child, process.channel, program)
    outcome = await process.close()
    await third.gone()
    assert outcome.ended is Ended.KILLED
    assert await process.close() == outcome


async def test_closing_the_channel_ends_a_polite_program(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    code = "import os, socket; s = socket.socket(fileno=int(os.environ['PERFORCH_CHANNEL'])); s.recv(1); print('bye')"
    process = await sandbox.open(python(code))
    process.channel.close()
    outcome = await process.wait()
    assert outcome.ok
    assert outcome.stdout == b"bye\n"


async def test_the_owner_sees_the_end_on_the_channel(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    process = await sandbox.open(python("import os; os._exit(3)"))
    process.channel.setblocking(False)
    assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(process.channel, 1), 5) == b""
    assert (await process.wait()).returncode == 3
    await process.close()


def processes_with(word: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


SWARM = """
import os, signal, sys, time
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
for _ in range(3):
    if os.fork() == 0:
        if os.fork(): os._exit(0)
        break
print("up", flush=True)
while True: time.sleep(1)
"""


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.02, 0.3])
async def test_cancelling_ends_the_whole_tree_first(sandbox: Sandbox, python, tmp_path: Path, delay: float) -> None:  # type: ignore[no-untyped-def]
    token = f"cancel-{os.getpid()}-{tmp_path.name}"
    task = asyncio.ensure_future(sandbox.run(python(SWARM, token, policy=Policy.COMPILE)))
    await asyncio.sleep(delay)
    if delay > 0.2:  # here the whole swarm must be up before it is ended
        async with asyncio.timeout(20):
            while len(processes_with(token)) < 2:
                await asyncio.sleep(0.05)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_with(token) == []
    assert time.monotonic() - started < 1.0


async def test_waiting_can_be_cancelled_without_harm(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    process = await sandbox.open(python("import time; time.sleep(0.4); print('done')"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait(), 0.05)
    assert (await process.wait()).stdout == b"done\n"
    await process.close()


async def test_many_at_once(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    outcomes = await asyncio.gather(*(sandbox.run(python(f"print({n})")) for n in range(12)))
    assert [int(o.stdout) for o in outcomes] == list(range(12))


async def test_closing_the_sandbox_ends_what_runs(sandbox: Sandbox, python, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    token = f"close-{os.getpid()}-{tmp_path.name}"
    process = await sandbox.open(python(SWARM, token, policy=Policy.COMPILE))
    await asyncio.sleep(0.2)
    await sandbox.aclose()
    assert processes_with(token) == []
    assert (await process.wait()).ended is Ended.KILLED
    assert (await sandbox.run(python("print(1)", limits=Limits(wall=20)))).ok, "it can be used again"
