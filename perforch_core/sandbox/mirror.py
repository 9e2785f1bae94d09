"""Shadowed files without mounts: a private mirror of the folders on the way to them, the rest as symbolic links.

The program is told other paths than the user's: every path under a mirrored root that occurs in its arguments, its
working folder or its environment is rewritten, and PERFORCH_ROOT_MAP tells it what was ({"original": "mirror"} as
JSON). Files beside a shadowed one are copied, folders beside it are links, so a program that resolves links by itself
may find its way back to the original: the canary tells when that happens. Nothing is ever linked hard.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from perforch_core.sandbox.interface import Command

_FICLONE = 0x40049409


def mirrored(command: Command, folder: Path) -> Command:
    """`command` as it must be run for its shadow to hold, with mirrors made in `folder`."""
    if not command.shadow:
        return command
    roots: dict[Path, Path] = {}
    for path in command.shadow:
        root = _root(path, command.readable)
        roots.setdefault(root, folder / f"root{len(roots)}" / root.name)
    for root, mirror in roots.items():
        mirror.mkdir(parents=True)
        _mirror(root, mirror, {p: c for p, c in command.shadow.items() if _root(p, command.readable) == root})
    names = {str(root): str(mirror) for root, mirror in roots.items()}
    return replace(
        command,
        argv=tuple(rewritten(a, names) for a in command.argv),
        cwd=Path(rewritten(str(command.cwd), names)),
        env={
            **{name: rewritten(value, names) for name, value in command.env.items()},
            "PERFORCH_ROOT_MAP": json.dumps(names),
        },
        readable=(*command.readable, folder),
        shadow={},
    )


def rewritten(text: str, names: Mapping[str, str]) -> str:
    """`text` with every path below a mirrored root replaced by its mirror, longest roots first."""
    for root in sorted(names, key=len, reverse=True):
        pattern = rf"(?<![\w./-]){re.escape(root)}(?=$|[/:;,'\"\s])"
        text = re.sub(pattern, names[root].replace("\\", r"\\"), text)
    return text


def _root(path: Path, readable: tuple[Path, ...]) -> Path:
    """The outermost readable folder around `path`, or its own folder where it is in none."""
    around = [folder for folder in readable if path.is_relative_to(folder) and folder != path and folder.is_dir()]
    return min(around, key=lambda folder: len(folder.parts), default=path.parent)


def _mirror(root: Path, mirror: Path, files: Mapping[Path, bytes]) -> None:
    inner = {parent for path in files for parent in path.parents if parent.is_relative_to(root)} | {root}
    for folder in sorted(inner):
        place = mirror / folder.relative_to(root)
        place.mkdir(exist_ok=True)
        if not folder.is_dir():
            continue
        for entry in folder.iterdir():
            if entry not in inner and entry not in files:
                _place(entry, place / entry.name, beside=any(path.parent == folder for path in files))
    for path, content in files.items():
        place = mirror / path.relative_to(root)
        place.write_bytes(content)
        with contextlib.suppress(OSError):
            place.chmod(path.stat().st_mode & 0o755 | 0o444)


def _place(entry: Path, place: Path, *, beside: bool) -> None:
    if entry.is_symlink() or not entry.is_file() or not beside:
        place.symlink_to(entry.resolve())
        return
    try:
        _copy(entry, place)
    except OSError:
        place.unlink(missing_ok=True)
        place.symlink_to(entry)


def _copy(source: Path, target: Path) -> None:
    """Share the blocks where the file system can (FICLONE, see ioctl_ficlone(2)), else copy."""
    with source.open("rb") as old, target.open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            shutil.copyfileobj(old, new)
    target.chmod(os.stat(source).st_mode & 0o777 | 0o444)  # noqa: PTH116
