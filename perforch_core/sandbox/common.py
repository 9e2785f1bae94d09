"""What all backends do alike: environment, limits, the uid to drop to, finding the program."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from perforch_core.sandbox.interface import MOST_SHADOWS, Command, Policy
from perforch_core.task import EnvironmentProblem

WRITABLE_POLICIES = frozenset({Policy.COMPILE, Policy.PREPARE})
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
# From /etc only what programs need to start; never the folder itself, which holds secrets on many machines.
_ETC = (
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki/tls/certs", "/etc/crypto-policies", "/etc/nsswitch.conf",
    "/etc/protocols", "/etc/services", "/etc/mime.types", "/etc/fonts",
)  # fmt: skip
_ETC_PREFIXES = ("java-",)

# As root a program gets a uid of its own: limits on processes do not bind root, and permissions would not either.
_FIRST_USER, _USERS = 61_500, 3_000
_COMPILE_USER = 61_400


def etc_paths() -> list[Path]:
    """The parts of /etc that a sandboxed program may read, as far as they exist."""
    extra = [entry for entry in Path("/etc").iterdir() if entry.name.startswith(_ETC_PREFIXES)]
    return [path for path in [*map(Path, _ETC), *extra] if path.exists()]


def system_folders() -> list[Path]:
    """What every sandboxed program may read of the system."""
    return [*(path for path in map(Path, SYSTEM) if path.exists()), *etc_paths()]


def sandbox_user(policy: Policy, numbers: Iterator[int]) -> int:
    """The uid that a program gets where we are root.

    One for each run makes the kernel count its processes alone; built files keep one owner.
    """
    return _COMPILE_USER if policy in WRITABLE_POLICIES else _FIRST_USER + next(numbers) % _USERS


def environment(command: Command, *, temporary: str = "/tmp") -> dict[str, str]:
    """The program's whole environment: the command's own over the few names the sandbox adds."""
    base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": temporary, "LANG": "C.UTF-8", "TMPDIR": temporary}
    return {**base, **command.env}


def check(command: Command) -> None:
    """Raises ValueError for what no backend can do."""
    if len(command.shadow) > MOST_SHADOWS:
        raise ValueError(f"{len(command.shadow)} files to shadow: at most {MOST_SHADOWS} are possible.")


def find_program(command: Command, env: Mapping[str, str]) -> str:
    """The path of the command's program. Raises EnvironmentProblem when it is missing."""
    name = command.argv[0]
    found = name if "/" in name else shutil.which(name, path=env["PATH"])
    path = command.cwd / found if found else None
    if path is None or not (path.exists() or path in command.shadow):
        raise EnvironmentProblem(f"{name} was not found; install it, or put its folder into the project's settings.")
    return str(path)


def resource_limits(command: Command, *, own_user: bool) -> dict[str, int]:
    """The limits of each process, by the names of setrlimit. `own_user`: the uid is this run's alone."""
    limits = command.limits
    out = {"CORE": 0, "FSIZE": limits.file_size, "NOFILE": 1024, "MEMLOCK": 0, "RTPRIO": 0, "CPU": int(limits.cpu) + 2}
    if not command.reserves_memory:
        out["DATA"] = limits.memory
    if own_user:
        out["NPROC"] = limits.processes
    return out


def hand_over(folder: Path, user: int) -> None:
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
