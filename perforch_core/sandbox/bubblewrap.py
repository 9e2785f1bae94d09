"""The strongest backend on Linux: bubblewrap's namespaces, a seccomp filter, rlimits and a watcher outside."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from perforch_core.sandbox import filters, mounts
from perforch_core.sandbox.interface import Command, Ended, Limits, Outcome, Policy
from perforch_core.sandbox.live import Live
from perforch_core.task import EnvironmentProblem

# As root a program gets a uid of its own: limits on processes do not bind root, and permissions would not either.
_FIRST_USER, _USERS = 61_500, 3_000
_COMPILE_USER = 61_400
_DAC_READ_SEARCH = "dac_read_search"

GUARANTEES: Mapping[str, str] = {
    "fork bomb": "enforced",
    "memory of one process": "enforced",
    "memory of the tree": "watched",
    "endless loop": "enforced",
    "output flood": "enforced",
    "daemon left behind": "enforced",
    "write outside": "enforced",
    "read secrets": "enforced",
    "environment": "enforced",
    "inherited descriptors": "enforced",
    "network": "enforced",
    "signals to others": "enforced",
    "ptrace": "enforced",
    "new namespaces": "enforced",
    "setuid programs": "enforced",
    "device and IPC leftovers": "enforced",
}


class Bubblewrap:
    """Every program in namespaces of its own. Holds no process between runs."""

    name = "bubblewrap"

    def __init__(self, *, executable: str) -> None:
        self._executable = executable
        self._live: set[Live] = set()
        self._users = itertools.count()
        self._as_root = os.geteuid() == 0
        self.guarantees: Mapping[str, str] = GUARANTEES

    async def run(self, command: Command) -> Outcome:
        process = await self.open(command)
        try:
            return await process.wait()
        finally:
            await process.close()

    async def open(self, command: Command) -> Live:
        user = self._user(command.policy)
        env = environment(command)
        layout = mounts.layout(command, user=user)
        program = visible_program(command, env, layout)
        if self._as_root and command.policy in mounts.WRITABLE_POLICIES:
            for folder in command.writable:
                _hand_over(folder.resolve(), user)
        handle, channel = self._spawn(command, layout, (program, *command.argv[1:]), env, user)
        live: Live

        def forget() -> None:
            self._live.discard(live)

        live = Live(handle, command.limits, channel, on_end=forget)
        self._live.add(live)
        return live

    def no_fork_filter(self) -> bytes:
        return filters.no_fork()

    async def aclose(self) -> None:
        await asyncio.gather(*(live.close() for live in list(self._live)))

    def _user(self, policy: Policy) -> int:
        if not self._as_root:
            return os.geteuid()
        # A uid for each run makes the kernel count its processes alone; built files keep one owner.
        if policy in mounts.WRITABLE_POLICIES:
            return _COMPILE_USER
        return _FIRST_USER + next(self._users) % _USERS

    def _spawn(
        self, command: Command, layout: mounts.Layout, argv: tuple[str, ...], env: Mapping[str, str], user: int
    ) -> tuple[_Handle, socket.socket]:
        with contextlib.ExitStack() as stack:

            def sealed(content: bytes) -> int:
                fd = _memory_file(content)
                stack.callback(os.close, fd)
                return fd

            def pipe() -> tuple[int, int]:
                ours, theirs = os.pipe2(os.O_CLOEXEC)
                stack.callback(os.close, theirs)
                os.set_blocking(ours, False)
                return ours, theirs

            channel, inner = socket.socketpair()
            stack.callback(inner.close)
            data = {placeholder: sealed(content) for placeholder, content in layout.data.items()}
            status, status_w = pipe()
            stdout, stdout_w = pipe()
            stderr, stderr_w = pipe()
            program = filters.program(command.policy, may_fork=command.may_fork)
            settings = [str(data.get(a, a)) for a in layout.arguments]
            args = sealed("\0".join([*self._settings(command, env, inner.fileno()), *settings]).encode() + b"\0")
            seccomp = sealed(program)
            full = [
                *_outer_limits(command, as_root=self._as_root),
                self._executable, "--args", str(args), "--seccomp", str(seccomp), "--json-status-fd", str(status_w),
                "--", *self._inner(command, user), *argv,
            ]  # fmt: skip
            try:
                popen = subprocess.Popen(
                    full,
                    stdin=sealed(command.stdin) if command.stdin else subprocess.DEVNULL,
                    stdout=stdout_w,
                    stderr=stderr_w,
                    pass_fds=(args, seccomp, status_w, inner.fileno(), *data.values()),
                    env={},
                    cwd="/",
                )
            except OSError as error:
                for fd in (status, stdout, stderr):
                    os.close(fd)
                channel.close()
                raise EnvironmentProblem(f"bubblewrap could not be started: {error}") from error
        has_scratch = command.policy is not Policy.RUN
        return _Handle(popen, status, stdout, stderr, has_scratch=has_scratch), channel

    def _settings(self, command: Command, env: Mapping[str, str], channel: int) -> list[str]:
        out = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]
        out += ["--die-with-parent", "--new-session", "--clearenv"]
        if command.policy is not Policy.PREPARE:
            out.append("--unshare-net")
        if self._as_root:
            out += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            out += ["--cap-add", "CAP_SETPCAP", "--cap-add", "CAP_DAC_READ_SEARCH"]
        else:
            out += ["--unshare-user", "--cap-drop", "ALL"]
        for name, value in {**env, "PERFORCH_CHANNEL": str(channel)}.items():
            out += ["--setenv", name, value]
        return out

    def _inner(self, command: Command, user: int) -> list[str]:
        """What runs first inside. Limits on processes are set here: outside they would count the user's others."""
        if not self._as_root:
            return ["prlimit", f"--nproc={command.limits.processes + 2}", "--"]
        # A root user's private folders (mode 0700) would be closed to the uid we drop to; whatever is mounted here is
        # meant to be read, and nothing else is there to be read.
        readable = (*command.readable, *command.writable)
        keep = "-all" if mounts.all_readable(readable) else f"-all,+{_DAC_READ_SEARCH}"
        return [
            "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
            f"--inh-caps={keep}", f"--ambient-caps={keep}", f"--bounding-set={keep}", "--",
        ]  # fmt: skip


def environment(command: Command) -> dict[str, str]:
    """The program's whole environment: the command's own over the few names the sandbox adds."""
    base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}
    return {**base, **command.env}


def visible_program(command: Command, env: Mapping[str, str], layout: mounts.Layout) -> str:
    """The program's path. Raises EnvironmentProblem when it is missing or hidden from the sandbox."""
    name = command.argv[0]
    found = name if "/" in name else shutil.which(name, path=env["PATH"])
    path = Path(command.cwd, found) if found else None
    if path is None or not (path.exists() or path in command.shadow):
        raise EnvironmentProblem(f"{name} was not found; install it, or put its folder into the project's settings.")
    if not layout.covers(path.resolve()) and path.resolve() not in command.shadow:
        raise EnvironmentProblem(f"{path.resolve()} is hidden in the sandbox: its folder must be listed as readable.")
    return str(path)


def _outer_limits(command: Command, *, as_root: bool) -> list[str]:
    limits: Limits = command.limits
    out = ["prlimit", "--core=0:0", f"--fsize={limits.file_size}", "--nofile=1024", "--memlock=0"]
    out += [f"--cpu={int(limits.cpu) + 2}:{int(limits.cpu) + 4}", "--rtprio=0"]
    if not command.reserves_memory:
        out.append(f"--data={limits.memory}")
    if as_root:
        out.append(f"--nproc={limits.processes}")
    return [*out, "--"]


def _hand_over(folder: Path, user: int) -> None:
    """Give root's own files in `folder` to the uid that will write there; hard-linked files are left alone."""
    own = os.geteuid()

    def give(path: Path) -> None:
        info = path.lstat()
        if info.st_uid == own and (stat.S_ISDIR(info.st_mode) or (stat.S_ISREG(info.st_mode) and info.st_nlink == 1)):
            os.chown(path, user, user, follow_symlinks=False)

    give(folder)
    for parent, names, files in os.walk(folder):
        for name in (*names, *files):
            with contextlib.suppress(OSError):
                give(Path(parent, name))


def _memory_file(content: bytes) -> int:
    """A read-only descriptor of exactly this content, sealed so that it cannot serve as writable memory."""
    writable = os.memfd_create("data", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(writable, view) :]
        seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(writable, fcntl.F_ADD_SEALS, seals)
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writable)


class _Handle:
    """A running bubblewrap. Killing the namespace's first process makes the kernel end all others first."""

    def __init__(
        self, popen: subprocess.Popen[bytes], status: int, stdout: int, stderr: int, *, has_scratch: bool
    ) -> None:
        self.pid = popen.pid
        self.stdout, self.stderr = stdout, stderr
        self._popen = popen
        self._status = status
        self._status_text = b""
        self._has_scratch = has_scratch
        self._pidfd = os.pidfd_open(popen.pid)
        self._first: int | None = None
        self._first_pidfd: int | None = None
        self._done = False

    def scratch(self) -> str | None:
        self._learn()
        return f"/proc/{self._first}/root/tmp" if self._first and self._has_scratch else None

    def kill(self) -> None:
        if self._done:
            return
        self._learn()
        target = self._pidfd if self._first_pidfd is None else self._first_pidfd
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(target, signal.SIGKILL)

    async def ended(self) -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._pidfd, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._pidfd)
        _, status, used = os.wait4(self.pid, 0)  # noqa: ASYNC222 (it has ended already)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        self._learn()
        await self._namespace_gone()
        self._done = True
        for fd in (self._pidfd, self._status, self._first_pidfd):
            if fd is not None:
                os.close(fd)
        return status, used.ru_utime + used.ru_stime

    async def _namespace_gone(self) -> None:
        """Wait for the first process where it outlives bubblewrap itself (bubblewrap was killed early)."""
        if self._first_pidfd is None:
            return
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._first_pidfd, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), 5.0)
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(self._first_pidfd)

    def _learn(self) -> None:
        """Take the first process' pid from what bubblewrap says."""
        if self._first is not None:
            return
        with contextlib.suppress(BlockingIOError, OSError):
            self._status_text += os.read(self._status, 4096)
        line, complete, _ = self._status_text.partition(b"\n")
        if not complete:
            return
        with contextlib.suppress(ValueError, KeyError, ProcessLookupError):
            self._first = int(json.loads(line)["child-pid"])
            self._first_pidfd = os.pidfd_open(self._first)


async def find() -> Bubblewrap | None:
    """bubblewrap, if a trial run shows that it works here; else None."""
    executable = shutil.which("bwrap")
    if executable is None or not shutil.which("prlimit") or (os.geteuid() == 0 and not shutil.which("setpriv")):
        return None
    backend = Bubblewrap(executable=executable)
    trial = Command(argv=("true",), policy=Policy.RUN, cwd=Path("/"), limits=Limits(wall=20.0))
    try:
        outcome = await backend.run(trial)
    except (EnvironmentProblem, OSError, ImportError):
        return None
    return backend if outcome.ended is Ended.EXITED and outcome.returncode == 0 else None
