"""Time and memory of another process, read from outside, so that what it says of itself does not matter.

Linux in full. macOS and Windows go through psutil, whose clocks are coarser; that part is not exercised.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil


def cpu_seconds(pid: int) -> float:
    """CPU seconds spent by all threads of process `pid` so far. Raises ProcessLookupError when it is gone.

    On Linux the process' own CPU clock, with nanosecond resolution; its id is `(~pid << 3) | 2`, see
    clock_getcpuclockid(3).
    """
    if sys.platform == "linux":
        try:
            return time.clock_gettime(((~pid) << 3) | 2)
        except OSError as error:
            raise ProcessLookupError(f"process {pid} is gone") from error
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def queued_seconds(pid: int) -> float:
    """Seconds that the first thread of process `pid` was ready to run and waited for a processor; 0.0 where that is
    not told (see schedstat in proc(5))."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) * 1e-9
    except (OSError, ValueError, IndexError):
        return 0.0


def memory_bytes(pid: int) -> tuple[int, int]:
    """(resident now, highest resident since the start or the last `reset_peak`) in bytes. Raises ProcessLookupError."""
    if sys.platform != "linux":
        rss = psutil.Process(pid).memory_info().rss
        return rss, rss
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError as error:
        raise ProcessLookupError(f"process {pid} is gone") from error
    fields = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("VmRSS", "VmHWM")))
    if len(fields) < 2:
        raise ProcessLookupError(f"process {pid} is gone")
    return _kib(fields["VmRSS"]), _kib(fields["VmHWM"])


def _kib(field: str) -> int:
    return int(field.split()[0]) * 1024


def reset_peak(pid: int) -> bool:
    """Make the peak start again from what is resident now (proc(5), clear_refs 5). False where that is refused."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return False
    return True
