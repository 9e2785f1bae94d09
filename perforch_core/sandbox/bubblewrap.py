"""The strongest backend on Linux: bubblewrap's namespaces, a seccomp filter, rlimits and a watcher outside."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from perforch_core.sandbox import common, disk, filters, mounts, watch
from perforch_core.sandbox.interface import Command, Limits, Outcome, Policy
from perforch_core.sandbox.live import Live
from perforch_core.sandbox.spawner import End, Spawner, Spec, Started, Streams
from perforch_core.task import EnvironmentProblem

_DAC_READ_SEARCH = "dac_read_search"

GUARANTEES: Mapping[str, str] = {
    "fork bomb": "enforced",
    "memory of one process": "enforced",
    "memory of the tree": "watched",
    "endless loop": "enforced",
    "output flood": "enforced",
    "daemon left behind": "enforced",
    "write outside": "enforced",
    "change permissions": "enforced",
    "read secrets": "enforced",
    "environment": "enforced",
    "inherited descriptors": "enforced",
    "network": "enforced",
    "signals to others": "enforced",
    "limits of others": "enforced",
    "ptrace": "enforced",
    "new namespaces": "enforced",
    "setuid programs": "enforced",
    "device and IPC leftovers": "enforced",
}


class Bubblewrap:
    """Every program in namespaces of its own."""

    name = "bubblewrap"

    def __init__(self, *, executable: str) -> None:
        self._executable = executable
        self._live: set[Live] = set()
        self._spawner = Spawner()
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
        common.check(command)
        user = common.sandbox_user(command.policy, self._users) if self._as_root else os.geteuid()
        env = common.environment(command)
        layout = mounts.layout(command, user=user)
        program = common.find_program(command, env)
        _check_visible(program, command, layout)
        if self._as_root and command.policy in common.WRITABLE_POLICIES:
            for folder in command.writable:
                common.hand_over(folder.resolve(), user)
        streams = Streams(command.stdin)
        try:
            handle = await self._start(command, layout, (program, *command.argv[1:]), env, user, streams)
        except BaseException:
            streams.failed()
            raise
        streams.started()
        live: Live

        def forget() -> None:
            self._live.discard(live)

        live = Live(handle, command.limits, streams.channel, on_end=forget)
        self._live.add(live)
        return live

    def no_fork_filter(self) -> bytes:
        return filters.no_fork()

    async def aclose(self) -> None:
        await asyncio.gather(*(live.close() for live in list(self._live)))
        await self._spawner.aclose()

    async def _start(
        self,
        command: Command,
        layout: mounts.Layout,
        argv: tuple[str, ...],
        env: Mapping[str, str],
        user: int,
        streams: Streams,
    ) -> _Handle:
        status, status_w = streams.pipe()
        data = {name: str(streams.give(streams.file(content))) for name, content in layout.data.items()}
        settings = [*self._settings(command, env), *(data.get(a, a) for a in layout.arguments)]
        args = streams.give(streams.file("\0".join(settings).encode() + b"\0"))
        seccomp = streams.give(streams.file(filters.program(command.policy, may_fork=command.may_fork)))
        spec = Spec(
            argv=[
                self._executable, "--args", str(args), "--seccomp", str(seccomp),
                "--json-status-fd", str(streams.give(status_w)), "--", *self._inner(command, user), *argv,
            ],
            env={},
            cwd="/",
            fds=list(range(len(streams.inner))),
            limits=common.resource_limits(command, own_user=self._as_root),
        )  # fmt: skip
        try:
            started = await self._spawner.start(spec, streams.inner)
            return _Handle(started, self._spawner, status, streams, command)
        except BaseException:
            os.close(status)
            raise

    def _settings(self, command: Command, env: Mapping[str, str]) -> list[str]:
        out = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]
        out += ["--die-with-parent", "--new-session", "--clearenv"]
        if command.policy is not Policy.PREPARE:
            out.append("--unshare-net")
        if self._as_root:
            out += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            out += ["--cap-add", "CAP_SETPCAP", "--cap-add", "CAP_DAC_READ_SEARCH"]
        else:
            out += ["--unshare-user", "--cap-drop", "ALL"]
        for name, value in {**env, "PERFORCH_CHANNEL": str(Streams.CHANNEL)}.items():
            out += ["--setenv", name, value]
        return out

    def _inner(self, command: Command, user: int) -> list[str]:
        """What runs first inside. Limits on processes are set here: outside they would count the user's others."""
        if not self._as_root:
            return ["prlimit", f"--nproc={command.limits.processes + 2}", "--"]
        # A root user's private folders (mode 0700) would be closed to the uid we drop to; whatever is mounted here is
        # meant to be read, and nothing else is there to be read.
        readable = (*command.readable, *command.writable)
        closed = not mounts.all_readable(readable)
        keep = f"-all,+{_DAC_READ_SEARCH}" if closed else "-all"
        return [
            "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
            f"--inh-caps={keep}", f"--ambient-caps={keep}", f"--bounding-set={keep}",
            # Without it access(2) would ignore the capability, and programs ask it before they open.
            *(["--securebits=+no_setuid_fixup"] if closed else []), "--",
        ]  # fmt: skip


def _check_visible(program: str, command: Command, layout: mounts.Layout) -> None:
    """Raises EnvironmentProblem when the program is hidden from the sandbox."""
    real = Path(program).resolve()
    if not layout.covers(real) and real not in command.shadow:
        raise EnvironmentProblem(f"{real} is hidden in the sandbox: its folder must be listed as readable.")


class _Handle:
    """A running bubblewrap. Killing the namespace's first process makes the kernel end all others first."""

    def __init__(self, started: Started, spawner: Spawner, status: int, streams: Streams, command: Command) -> None:
        self.stdout, self.stderr = streams.stdout, streams.stderr
        self._started = started
        self._spawner = spawner
        self._status = status
        self._status_text = b""
        self._has_scratch = command.policy is not Policy.RUN
        self._guard = disk.DiskGuard(command.writable if command.policy in common.WRITABLE_POLICIES else ())
        self._first: int | None = None
        self._first_pidfd: int | None = None
        self._done = False

    def overfull(self) -> bool:
        self._learn()
        if self._first and self._has_scratch and disk.too_many_files(f"/proc/{self._first}/root/tmp"):
            return True
        return self._guard.overfull()

    def pids(self) -> list[int]:
        self._learn()
        return watch.tree(self._first) if self._first else []

    def kill(self) -> None:
        if self._done:
            return
        self._learn()
        if self._first_pidfd is None:
            self._started.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._first_pidfd, signal.SIGKILL)

    async def ended(self) -> End:
        end = await asyncio.shield(self._started.end)
        self._learn()
        inside = await self._namespace_end()
        self._done = True
        os.close(self._status)
        if self._first_pidfd is not None:
            os.close(self._first_pidfd)
        # bubblewrap's own memory is no part of the program's.
        return End(end.status, end.cpu + inside.cpu, inside.peak) if inside else End(end.status, end.cpu, 0)

    async def _namespace_end(self) -> End | None:
        """Wait for the namespace's first process, which may outlive bubblewrap itself, and say what it used."""
        if self._first is None or self._first_pidfd is None:
            return None
        if used := await self._spawner.orphan(self._first, timeout=0.01):
            return used
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._first_pidfd, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), 5.0)
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(self._first_pidfd)
        # No news after that: bubblewrap waited for it, and has its CPU time in its own.
        return await self._spawner.orphan(self._first, timeout=0.02)

    def _learn(self) -> None:
        """Take the first process' pid from what bubblewrap says."""
        if self._first is not None or self._done:
            return
        with contextlib.suppress(BlockingIOError):
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
        if outcome.ok:
            return backend
    except (EnvironmentProblem, OSError, ImportError):
        pass
    await backend.aclose()
    return None
