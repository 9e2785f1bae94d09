"""What a process tree uses, read from outside through /proc. Processes may vanish at any moment: that is no error."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class Usage:
    """`cpu` in seconds (children already waited for included), `memory` in bytes, over `processes` processes."""

    cpu: float = 0.0
    memory: int = 0
    processes: int = 0


def tree(root: int) -> list[int]:
    """`root` and all its living descendants, by host pid."""
    found = [root]
    for pid in found:
        found.extend(children(pid))
    return found


def children(pid: int) -> list[int]:
    """The living children of `pid`, by host pid."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.extend(map(int, (task / "children").read_bytes().split()))
    except OSError:
        pass
    return found


def stat_fields(pid: int) -> list[bytes]:
    """What /proc/PID/stat says after the command's name (state, parent, group, session, ...); empty when gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def usage(pids: Iterable[int]) -> Usage:
    """The sum over `pids`. Pages shared after a fork count once per process: see `proportional_memory`."""
    cpu, memory, count = 0.0, 0, 0
    for pid in pids:
        fields = stat_fields(pid)
        try:
            status = Path(f"/proc/{pid}/status").read_bytes()
        except OSError:
            continue
        if not fields:
            continue
        cpu += sum(map(int, fields[11:15])) / _TICK
        memory += _kilobytes(status, b"RssAnon:") + _kilobytes(status, b"RssShmem:")
        count += 1
    return Usage(cpu, memory, count)


def proportional_memory(pids: Iterable[int]) -> int:
    """Bytes used by `pids` together with shared pages counted once; slower than `usage`."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
        except OSError:
            continue
        total += _kilobytes(rollup, b"Pss_Anon:") + _kilobytes(rollup, b"Pss_Shmem:")
    return total


def _kilobytes(text: bytes, label: bytes) -> int:
    _, found, rest = text.partition(label)
    return int(rest.split(None, 1)[0]) * 1024 if found else 0
