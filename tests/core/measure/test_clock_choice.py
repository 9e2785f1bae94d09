"""Which clock a comparison goes by, and that a busy machine does not change it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from perforch_core.measure.blocks import Cost, Plan, Sample, Side
from perforch_core.measure.verdict import Record, read
from perforch_core.measure.workload import Stratum
from perforch_core.sandbox.clock import cpu_seconds, queued_seconds

NOTHING = Cost(0.0, 0.0)
SIDE = Side(calls=1, fixed=NOTHING, per_call=NOTHING)


def clock_for(before: Cost, after: Cost) -> str:
    """The clock for rounds in which wall time says 2.5x and CPU time says nothing."""
    samples = [
        Sample(cpu=0.01 * (n % 3), wall=0.9 + 0.01 * (n % 5), first_cpu=0.0, first_wall=0.9, before=before, after=after)
        for n in range(12)
    ]
    stratum = Stratum(name="large", n=1000, make=lambda seed, count: [])
    reading = read(Record(stratum, Plan(inputs=1, before=SIDE, after=SIDE), samples))
    assert reading is not None
    return reading.clock


def test_what_only_computes_is_judged_by_its_cpu_time_however_the_wall_time_looks() -> None:
    assert clock_for(Cost(1e-3, 1.05e-3), Cost(1e-3, 1.1e-3)) == "cpu"


def test_what_waits_or_uses_threads_is_judged_by_its_wall_time() -> None:
    assert clock_for(Cost(1e-3, 9e-3), Cost(1e-3, 4e-3)) == "wall"
    assert clock_for(Cost(1e-3, 1e-3), Cost(2e-3, 1.1e-3)) == "wall"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="told on Linux only")
def test_time_in_the_run_queue_is_told_apart_from_waiting() -> None:
    core = min(os.sched_getaffinity(0))
    spin = (
        f"import os, time; os.sched_setaffinity(0, {{{core}}})\nend = time.time() + 20\nwhile time.time() < end: pass"
    )
    both = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(2)]
    try:
        time.sleep(0.5)
        pid = both[0].pid
        queued, cpu, wall = queued_seconds(pid), cpu_seconds(pid), time.monotonic()
        time.sleep(1.0)
        queued, cpu, wall = queued_seconds(pid) - queued, cpu_seconds(pid) - cpu, time.monotonic() - wall
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert queued > 0.2 * wall  # two programs share one processor
    assert abs(queued + cpu - wall) < 0.2 * wall


def test_a_process_that_is_gone_has_not_queued() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert queued_seconds(gone.pid) == 0.0
