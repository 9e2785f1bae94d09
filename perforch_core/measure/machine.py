"""The state of the machine while something was measured on it (the clocks are in sandbox/clock.py)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The machine at one moment. `load` is the number of runnable programs (1 minute mean), None where unknown.

    `mhz` is the current clock rate, `throttled` counts thermal throttling events since boot (summed over cores), and
    `cgroup_throttled` the periods in which a container's CPU limit stopped us; each None where it cannot be read.
    """

    cores: int
    load: float | None = None
    mhz: float | None = None
    throttled: int | None = None
    cgroup_throttled: int | None = None


def conditions() -> Conditions:
    """The state of the machine now. Never raises: what cannot be read is None."""
    return Conditions(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=_load(),
        mhz=_mhz(),
        throttled=_throttled(),
        cgroup_throttled=_cgroup_throttled(),
    )


def notes(before: Conditions, after: Conditions) -> tuple[str, ...]:
    """What a reader of a measurement should know of the machine, given its state before and after."""
    told: list[str] = []
    load = max((c.load for c in (before, after) if c.load is not None), default=None)
    if load is not None and load > before.cores:
        told.append(f"the machine was busy (load {load:.1f} on {before.cores} cores): the interval is wider for it")
    if before.mhz and after.mhz and abs(before.mhz - after.mhz) > 0.2 * before.mhz:
        told.append(f"the clock rate changed from {before.mhz:.0f} to {after.mhz:.0f} MHz")
    if (after.throttled or 0) > (before.throttled or 0):
        told.append("the processor throttled itself (heat) during the measurement")
    if (after.cgroup_throttled or 0) > (before.cgroup_throttled or 0):
        told.append("the container's CPU limit stopped the measurement at times")
    return tuple(told)


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _mhz() -> float | None:
    try:
        frequency = psutil.cpu_freq()
    except Exception:  # psutil raises all kinds of errors on unusual machines, and this is only a note
        return None
    return float(frequency.current) if frequency and frequency.current else None


def _throttled() -> int | None:
    counters = list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
    values = [number for counter in counters if (number := _number(counter)) is not None]
    return sum(values) if values else None


def _cgroup_throttled() -> int | None:
    for name in ("/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"):
        try:
            lines = Path(name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition(" ")
            if key == "nr_throttled" and value.strip().isdigit():
                return int(value)
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
