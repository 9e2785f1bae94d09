"""The small process beside the server that starts every sandboxed program, reaps it, and outlives no owner.

It is the only subreaper: the server's own children are none of its business. It reads nothing that a sandboxed
program says. Standard library only, because it runs without site-packages. The protocol is one JSON object per packet
on a SOCK_SEQPACKET socket; a start's specification comes as a file, with the program's descriptors after it:

    owner: {"start": id} + descriptors        {"kill": id}
    us:    {"id", "started": pid} | {"id", "failed": text} | {"id", "ended": status, "cpu": s, "peak": bytes}
           {"orphan": pid, "cpu": s, "peak": bytes}
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

from perforch_core.sandbox import landlock, watch

_PARK = 400
"""Descriptors are parked above this number while they are put in order; no specification uses one so high."""

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS = 1, 22, 24, 28
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 36, 38, 47
_CAP_DAC_READ_SEARCH = 2
_LAST_CAPABILITY = 63
_SECBIT_NO_SETUID_FIXUP = 4


class _Run:
    def __init__(self, key: int, pid: int, spec: dict[str, Any]) -> None:
        self.key, self.pid = key, pid
        self.session: bool = spec["kill_session"]
        self.trash: list[str] = spec["trash"]
        self.cpu, self.peak = 0.0, 0
        self.status: int | None = None
        self.heirs: set[int] = set()


def main(descriptor: int) -> None:
    """Serve until the owner is gone, then kill all that still runs."""
    owner = socket.socket(fileno=descriptor)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    runs: dict[int, _Run] = {}
    poll = select.poll()
    poll.register(owner, select.POLLIN)
    poll.register(wake_r, select.POLLIN)
    try:
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if wake_r in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_r, 4096)
            _reap(owner, runs)
            if owner.fileno() in ready and not _serve(owner, runs):
                break
    except (BrokenPipeError, ConnectionResetError):
        pass
    _end_all(runs)


def _serve(owner: socket.socket, runs: dict[int, _Run]) -> bool:
    data, ancillary, _, _ = owner.recvmsg(4096, socket.CMSG_SPACE(253 * 4))
    if not data:
        return False
    fds = array.array("i")
    for _, _, payload in ancillary:
        fds.frombytes(payload[: len(payload) - len(payload) % 4])
    request = json.loads(data)
    try:
        if "start" in request:
            _start(owner, runs, request["start"], list(fds))
        else:
            for run in [run for run in runs.values() if run.key == request["kill"]]:
                _kill(run)
    finally:
        for fd in fds:
            os.close(fd)
    return True


def _start(owner: socket.socket, runs: dict[int, _Run], key: int, fds: list[int]) -> None:
    with os.fdopen(os.dup(fds[0]), "rb") as file:
        spec = json.load(file)
    report_r, report_w = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            _become(spec, fds[1:], report_w)
        except BaseException as error:
            os.write(_PARK, f"{type(error).__name__}: {error}".encode()[:2000])
        finally:
            os._exit(127)
    os.close(report_w)
    with os.fdopen(report_r, "rb") as report:
        problem = report.read()
    if problem:
        os.waitpid(pid, 0)
        remove(spec["trash"])
        _say(owner, {"id": key, "failed": problem.decode(errors="replace")})
        return
    runs[pid] = _Run(key, pid, spec)
    _say(owner, {"id": key, "started": pid})


def _become(spec: dict[str, Any], fds: list[int], report: int) -> None:
    """In the child: put on every restriction, in the order in which each is still allowed, and start the program."""
    _arrange_descriptors(spec["fds"], fds, report)
    parent = os.getppid()
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    os.chdir(spec["cwd"])
    for name, value in spec["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    rules = spec["landlock"]
    if rules or spec["filters"]:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    ruleset = landlock.prepare(**rules) if rules else -1
    if spec["user"] is not None:
        _drop(spec["user"], keep_read=spec["keep_read"])
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise RuntimeError("the supervisor is gone")
    if ruleset >= 0:
        landlock.restrict(ruleset)
        os.close(ruleset)
    for program in spec["filters"]:
        load_filter(bytes.fromhex(program).replace(b"PID!", os.getpid().to_bytes(4, sys.byteorder)))
    os.execve(spec["argv"][0], spec["argv"], spec["env"])


def _arrange_descriptors(targets: list[int], fds: list[int], report: int) -> None:
    os.dup2(report, _PARK, inheritable=False)
    parked = [fcntl.fcntl(fd, fcntl.F_DUPFD, _PARK + 1) for fd in fds]
    for target, fd in zip(targets, parked, strict=True):
        os.dup2(fd, target, inheritable=True)
    keep = sorted([*targets, _PARK])
    for low, high in zip([-1, *keep], [*keep, 1 << 20], strict=True):
        if low + 1 < high:  # an empty range at 0 would close everything
            os.closerange(low + 1, high)


def _drop(user: int, *, keep_read: bool) -> None:
    """Become `user`, without any capability but (with `keep_read`) the one to read what Landlock lets us see."""
    if keep_read:
        # Without it access(2) would ignore the capability, and programs ask it before they open.
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    for capability in range(_LAST_CAPABILITY + 1):
        if not (keep_read and capability == _CAP_DAC_READ_SEARCH):
            with contextlib.suppress(OSError):
                _prctl(_PR_CAPBSET_DROP, capability)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if keep_read:
        mask = 1 << _CAP_DAC_READ_SEARCH
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
        if ctypes.CDLL(None, use_errno=True).capset(header, data):
            raise OSError(ctypes.get_errno(), "capset")
        _prctl(_PR_CAP_AMBIENT, 2, _CAP_DAC_READ_SEARCH)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def load_filter(program: bytes) -> None:
    """Put this process under a seccomp program (array of struct sock_filter). Raises OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = _Program(len(program) // 8, ctypes.addressof(buffer))
    _prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(header))


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *words) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def _reap(owner: socket.socket, runs: dict[int, _Run]) -> None:
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
        run = runs.get(pid)
        if run is None:
            _say(owner, {"orphan": pid, "cpu": cpu, "peak": peak})
            for run in list(runs.values()):
                run.heirs.discard(pid)
                _report(owner, runs, run)
            continue
        run.status, run.cpu, run.peak = status, cpu, peak
        _end_session(run)
        # Killed before it could take its children along: they are ours now, and the program ends with them.
        run.heirs = {heir for heir in run.heirs if _parent(heir) == os.getpid()}
        _report(owner, runs, run)


def _report(owner: socket.socket, runs: dict[int, _Run], run: _Run) -> None:
    if run.status is None or run.heirs:
        return
    del runs[run.pid]
    remove(run.trash)
    _say(owner, {"id": run.key, "ended": run.status, "cpu": run.cpu, "peak": run.peak})


def _kill(run: _Run) -> None:
    """Kill the run's first process and what else would not die with it.

    Where bubblewrap is the first process, its child holds the namespace: the kernel ends the rest with it. bubblewrap
    is stopped before, so that it starts no child we do not see.
    """
    if run.status is None:
        if not run.session:
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.pid, signal.SIGSTOP)
            deadline = time.monotonic() + 0.1
            while _state(run.pid) not in (b"T", b"Z", b"") and time.monotonic() < deadline:
                time.sleep(0.0005)
            run.heirs |= set(watch.children(run.pid))
            for heir in run.heirs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(heir, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL)
    _end_session(run)


def _end_session(run: _Run) -> None:
    """Kill every process of the run's session, where no namespace does it for us.

    A sandboxed program cannot leave its session: the filter refuses setsid.
    """
    if not run.session:
        return
    deadline = time.monotonic() + 5
    while members := [pid for pid in session_members(run.pid) if pid != run.pid]:
        # Stopped first, so that a fork bomb cannot outrun us.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in members:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        if time.monotonic() > deadline:
            return
        time.sleep(0.001)


def _state(pid: int) -> bytes:
    fields = watch.stat_fields(pid)
    return fields[0] if fields else b""


def _parent(pid: int) -> int:
    fields = watch.stat_fields(pid)
    return int(fields[1]) if fields else 0


def session_members(session: int) -> list[int]:
    """Living processes of a session (zombies are dead), by pid."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        fields = watch.stat_fields(int(name))
        if fields and int(fields[3]) == session and fields[0] not in (b"Z", b"X"):
            found.append(int(name))
    return found


def running_with(word: str) -> list[int]:
    """Processes with `word` on their command line, by pid."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:  # noqa: PTH123
                if word.encode() in file.read():
                    found.append(int(name))
    return found


def remove(paths: list[str]) -> None:
    """Delete these folders with all they hold."""
    import shutil

    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _say(owner: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        owner.send(json.dumps(message).encode())


def _end_all(runs: dict[int, _Run]) -> None:
    for run in runs.values():
        _kill(run)
    deadline = time.monotonic() + 2
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)
    for run in runs.values():
        remove(run.trash)
