"""What a program sees in bubblewrap: the arguments that lay out its file system."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from perforch_core.sandbox import common
from perforch_core.sandbox.interface import Command, Policy


@dataclass(slots=True)
class Layout:
    """bubblewrap arguments in the making; `data` are contents to hand over by descriptor, by placeholder."""

    arguments: list[str] = field(default_factory=list)
    data: dict[str, bytes] = field(default_factory=dict)
    mounted: list[Path] = field(default_factory=list)
    made: set[Path] = field(default_factory=set)

    def add(self, *arguments: str | Path) -> None:
        self.arguments.extend(map(str, arguments))

    def parents(self, path: Path) -> None:
        """Make the folders above `path`; bubblewrap itself would make them closed to the uid we drop to."""
        for parent in reversed(path.parents[:-1]):
            if parent not in self.made and not self.covers(parent):
                self.made.add(parent)
                self.add("--perms", "0755", "--dir", parent)

    def file(self, path: str | Path, content: bytes, *, executable: bool = False) -> None:
        """A read-only file with this content at `path`, over whatever is there."""
        placeholder = f"\0{len(self.data)}"
        self.data[placeholder] = content
        self.parents(Path(path))
        self.add("--perms", "0555" if executable else "0444", "--ro-bind-data", placeholder, path)

    def covers(self, path: Path) -> bool:
        """Whether `path` lies in a part of the host's file system that is visible."""
        return any(path.is_relative_to(folder) for folder in self.mounted)

    def folder(self, path: Path, *, writable: bool = False) -> None:
        """Make `path` visible at its own place (and where it really is, if it is a symbolic link)."""
        real = path.resolve()
        if writable or not self.covers(real):
            self.parents(real)
            self.add("--bind" if writable else "--ro-bind", real, real)
            self.mounted.append(real)
        if path != real and not self.covers(path.parent.resolve() / path.name):
            self.parents(path)
            self.add("--symlink", real, path)


def layout(command: Command, *, user: int) -> Layout:
    """The file system for `command`, run as uid `user`. Raises ValueError for a shadow that cannot be made."""
    out = Layout()
    _system(out, command, user)
    for path in sorted(set(command.readable)):
        if path.exists():
            out.folder(path)
    if command.policy in common.WRITABLE_POLICIES:
        for path in sorted(set(command.writable)):
            out.folder(path, writable=True)
    remount = _shadow(out, command)
    for path in [*remount, Path("/dev"), Path("/")]:
        out.add("--remount-ro", path)
    out.add("--chdir", command.cwd)
    return out


def _system(out: Layout, command: Command, user: int) -> None:
    for name in common.SYSTEM:
        path = Path(name)
        if path.is_symlink():
            out.add("--symlink", path.readlink(), path)
        elif path.is_dir():
            out.parents(path)
            out.add("--ro-bind", path, path)
            out.mounted.append(path)
    for path in common.etc_paths():
        out.parents(path)
        out.add("--ro-bind", path, path)
        out.mounted.append(path)
    out.file("/etc/passwd", f"sandbox:x:{user}:{user}::/tmp:/bin/sh\n".encode())
    out.file("/etc/group", f"sandbox:x:{user}:\n".encode())
    out.file("/etc/hosts", b"127.0.0.1 localhost sandbox\n::1 localhost\n")
    if command.policy is Policy.PREPARE and Path("/etc/resolv.conf").exists():
        out.file("/etc/resolv.conf", Path("/etc/resolv.conf").read_bytes())
    out.add("--dev", "/dev")
    # A zygote's children hold different versions under one uid: without /proc none reaches another's memory.
    if not command.may_fork:
        out.add("--proc", "/proc")
        # bubblewrap's own first process has the program's uid where we are no root: its memory could be written.
        out.add("--perms", "0555", "--size", "4096", "--tmpfs", "/proc/1", "--remount-ro", "/proc/1")
    if command.policy is Policy.RUN:
        out.add("--perms", "0755", "--dir", "/tmp")
        return
    size = str(command.limits.scratch)
    for place in ("/dev/shm", "/tmp"):
        out.add("--perms", "1777", "--size", size, "--tmpfs", place)
    out.parents(Path("/var/tmp"))
    out.add("--symlink", "/tmp", "/var/tmp")


def _shadow(out: Layout, command: Command) -> list[Path]:
    """Put shadowed contents in place; returns folders that had to be rebuilt entry by entry, to be made read-only.

    A mount needs something to be mounted on. Where a file does not exist yet, its folder is rebuilt as a tmpfs of
    bind mounts, because nothing may be created in the user's own.
    """
    files = {_real(path): content for path, content in command.shadow.items()}
    writable = [path.resolve() for path in command.writable] if command.policy in common.WRITABLE_POLICIES else []
    rebuilt: set[Path] = set()
    for path in files:
        if path.exists() or not out.covers(path):
            continue
        if any(path.is_relative_to(folder) for folder in writable):
            raise ValueError(f"{path} is in a writable folder: write it there instead of shadowing it")
        rebuilt.add(_existing(path.parent))
    for folder in sorted(rebuilt):
        _rebuild(out, folder)
    out.mounted = [path for path in out.mounted if path not in rebuilt]
    for path, content in files.items():
        executable = path.is_file() and bool(path.stat().st_mode & stat.S_IXUSR)
        out.file(path, content, executable=executable)
    return sorted(rebuilt, reverse=True)


def _rebuild(out: Layout, folder: Path) -> None:
    out.add("--perms", "0755", "--size", str(64 << 20), "--tmpfs", folder)
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink():
            out.add("--symlink", entry.readlink(), entry)
        elif entry.is_dir() or entry.is_file():
            out.add("--ro-bind", entry, entry)


def _existing(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path


def _real(path: Path) -> Path:
    return path.resolve()


def all_readable(paths: Iterable[Path]) -> bool:
    """Whether a stranger on this machine could read these folders (their own permission bits only)."""
    return all(not path.exists() or path.stat().st_mode & 0o005 == 0o005 for path in paths)
