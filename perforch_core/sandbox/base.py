"""The backend for machines without namespaces: no_new_privs, seccomp, Landlock, rlimits, a session that cannot be left.

Holds for compiling and running. Project tests need namespaces (a loopback of their own, processes of their own), so
here they run only with the user's consent.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perforch_core.sandbox import common, filters, landlock, mirror, supervisor
from perforch_core.sandbox.disk import DiskGuard
from perforch_core.sandbox.interface import Command, Limits, Outcome, Policy
from perforch_core.sandbox.leftovers import Scratch
from perforch_core.sandbox.live import Live
from perforch_core.sandbox.spawner import End, Spawner, Spec, Started, Streams
from perforch_core.task import EnvironmentProblem

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full")
_FACTS = (
    "/dev/urandom", "/dev/random", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/version", "/proc/filesystems",
    "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/osrelease", "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
)  # fmt: skip


class Base:
    """Programs in the host's own namespaces, with everything taken away that can be."""

    def __init__(
        self, *, cache_dir: Path | None = None, allow_weak: bool = False, landlock_version: int, seccomp: bool = True
    ) -> None:
        parts = [*(["seccomp"] if seccomp else []), *(["Landlock"] if landlock_version else []), "limits"]
        self.name = f"base ({' + '.join(parts[:2])})"
        self._landlock = landlock_version
        self._seccomp = seccomp
        self._allow_weak = allow_weak
        self._as_root = os.geteuid() == 0
        self._scratch = Scratch(cache_dir)
        self._spawner = Spawner()
        self._live: set[Live] = set()
        self._users = itertools.count()
        self.guarantees: Mapping[str, str] = guarantees(
            landlock_version=landlock_version, seccomp=seccomp, as_root=self._as_root
        )

    async def run(self, command: Command) -> Outcome:
        process = await self.open(command)
        try:
            return await process.wait()
        finally:
            await process.close()

    async def open(self, command: Command) -> Live:
        common.check(command)
        if command.policy in (Policy.TEST, Policy.PREPARE) and not self._allow_weak:
            raise EnvironmentProblem(
                f"This machine's sandbox ({self.name}) has no namespaces, so project tests and build preparation run "
                "only with your consent. Install bubblewrap, or allow the weak sandbox in the settings."
            )
        folder = self._scratch.new()
        streams = Streams(command.stdin)
        try:
            spec = self._spec(command, folder)
            started = await self._spawner.start(spec, streams.inner)
        except BaseException:
            streams.failed()
            supervisor.remove([str(folder)])
            raise
        streams.started()
        forks = command.policy is not Policy.RUN or command.may_fork
        guard = DiskGuard([folder, *command.writable] if command.policy is not Policy.RUN else [])
        live: Live

        def forget() -> None:
            self._live.discard(live)

        handle = _Handle(started, streams, forks=forks, guard=guard)
        live = Live(handle, command.limits, streams.channel, on_end=forget)
        self._live.add(live)
        return live

    def no_fork_filter(self) -> bytes:
        return filters.no_fork()

    async def aclose(self) -> None:
        await asyncio.gather(*(live.close() for live in list(self._live)))
        await self._spawner.aclose()
        self._scratch.close()

    def _spec(self, command: Command, folder: Path) -> Spec:
        user = common.sandbox_user(command.policy, self._users) if self._as_root else None
        temporary = folder / "tmp"
        temporary.mkdir()
        folder.chmod(0o755)
        writable = list(command.writable) if command.policy in common.WRITABLE_POLICIES else []
        if command.policy is not Policy.RUN:
            writable.append(temporary)
        mapped = mirror.mirrored(command, folder / "mirror") if command.shadow else command
        env = {**common.environment(mapped, temporary=str(temporary)), "PERFORCH_CHANNEL": str(Streams.CHANNEL)}
        program = common.find_program(mapped, env)
        if user is not None:
            for path in writable:
                common.hand_over(path.resolve(), user)
        rules: dict[str, Any] | None = None
        if self._landlock:
            readable = [*common.system_folders(), *map(Path, _FACTS), *mapped.readable, folder]
            rules = {
                "readable": sorted({str(p) for path in readable for p in (path, path.resolve())}),
                "writable": [*_DEVICES, *(str(path.resolve()) for path in writable)],
                "network": command.policy in (Policy.PREPARE,),
                "version": self._landlock,
                "own_proc": not command.may_fork,
            }
        return Spec(
            argv=[program, *mapped.argv[1:]],
            env=env,
            cwd=str(mapped.cwd),
            fds=list(range(len(Streams.FIXED))),
            limits=self._limits(command),
            filters=self._filters(command),
            landlock=rules,
            user=user,
            # Their parents may be closed to the uid we drop to; Landlock decides what can be read.
            keep_read=bool(rules),
            kill_session=True,
            trash=[str(folder)],
        )

    def _limits(self, command: Command) -> dict[str, int]:
        limits = common.resource_limits(command, own_user=self._as_root)
        if not self._as_root and command.policy is not Policy.RUN:
            limits["NPROC"] = _own_threads() + command.limits.processes
        return limits

    def _filters(self, command: Command) -> list[str]:
        if not self._seccomp:
            return []
        scoped = self._landlock >= landlock.SIGNAL_SCOPE_VERSION
        program = filters.program(command.policy, may_fork=command.may_fork, namespaces=False, scoped_signals=scoped)
        return [program.hex()]


class _Handle:
    """A running program; all its processes are of its own session."""

    def __init__(self, started: Started, streams: Streams, *, forks: bool, guard: DiskGuard) -> None:
        self.stdout, self.stderr = streams.stdout, streams.stderr
        self._started = started
        self._forks = forks
        self._guard = guard

    def overfull(self) -> bool:
        return self._guard.overfull()

    def pids(self) -> list[int]:
        return supervisor.session_members(self._started.pid) if self._forks else [self._started.pid]

    def kill(self) -> None:
        self._started.kill()

    async def ended(self) -> End:
        return await asyncio.shield(self._started.end)


def _own_threads() -> int:
    """How many threads this user has running: RLIMIT_NPROC counts them all."""
    own, count = os.getuid(), 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == own:
                count += sum(1 for _ in (entry / "task").iterdir())
        except OSError:
            continue
    return count


def guarantees(*, landlock_version: int, seccomp: bool, as_root: bool) -> Mapping[str, str]:
    """What this backend holds, from knowledge; for the attacks see docs/security.md."""
    files = "enforced" if landlock_version else "none"
    calls = "enforced" if seccomp else "none"
    return {
        "fork bomb": "enforced" if as_root else calls,
        "memory of one process": "enforced",
        "memory of the tree": "watched",
        "endless loop": "enforced",
        "output flood": "enforced",
        "daemon left behind": calls,
        "write outside": "enforced" if landlock_version >= 3 else "watched" if landlock_version else "none",
        "change permissions": "enforced" if as_root else "none",
        "read secrets": files,
        "environment": "enforced",
        "inherited descriptors": "enforced",
        "network": calls,
        "signals to others": "enforced" if as_root else calls,
        "limits of others": "enforced" if as_root else calls,
        "ptrace": "enforced" if seccomp or landlock_version or as_root else "none",
        "new namespaces": calls,
        "setuid programs": "enforced" if seccomp or landlock_version else "none",
        "device and IPC leftovers": calls,
    }


async def find(*, cache_dir: Path | None, allow_weak: bool) -> Base | None:
    """The base backend, if a trial run shows that its layers work here (or the user takes less); else None."""
    version = landlock.version()
    seccomp = _has_seccomp()
    if not allow_weak and not (version and seccomp):
        return None
    backend = Base(cache_dir=cache_dir, allow_weak=allow_weak, landlock_version=version, seccomp=seccomp)
    limits = Limits(wall=20.0)
    try:
        works = await backend.run(Command(argv=("true",), policy=Policy.RUN, cwd=Path("/"), limits=limits))
        secret = await backend.run(
            Command(argv=("cat", "/etc/passwd"), policy=Policy.RUN, cwd=Path("/"), limits=limits)
        )
        if works.ok and (allow_weak or not secret.ok):
            return backend
    except (EnvironmentProblem, OSError):
        pass
    await backend.aclose()
    return None


def _has_seccomp() -> bool:
    try:
        filters.program(Policy.RUN, namespaces=False)
    except (ImportError, OSError, RuntimeError):
        return False
    return True
