from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from perforch_core.measure.lock import measuring
from perforch_core.measure.machine import Conditions, conditions, notes
from perforch_core.task import Event


def test_conditions_tell_only_what_matters() -> None:
    now = conditions()
    assert now.cores >= 1
    calm = Conditions(cores=4, load=1.0, mhz=3000, throttled=5, cgroup_throttled=0)
    assert notes(calm, calm) == ()
    hot = Conditions(cores=4, load=9.0, mhz=1500, throttled=6, cgroup_throttled=2)
    told = notes(calm, hot)
    assert len(told) == 4 and "load 9.0 on 4 cores" in told[0]


async def test_one_measurement_at_a_time_and_the_wait_is_told_and_cancellable(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "measuring.lock"
    said: list[Event] = []
    order: list[str] = []

    async def second() -> None:
        async with measuring(said.append, path=path) as held:
            assert held
            order.append("second")

    async with measuring(path=path):
        impatient = asyncio.create_task(second())
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.2)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        order.append("first")
    await waiting
    assert order == ["first", "second"]
    assert [event.text for event in said] == ["waiting for another measurement on this machine to end"] * 2


async def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "measuring.lock"
    code = (
        "import asyncio, sys, pathlib\n"
        "from perforch_core.measure.lock import measuring\n"
        "async def main():\n"
        "    async with measuring(path=pathlib.Path(sys.argv[1])):\n"
        "        print('held', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), measuring(path=path):
                pass
        holder.kill()
    async with asyncio.timeout(5), measuring(path=path) as held:
        assert held


async def test_without_a_place_for_the_file_measuring_goes_on_unlocked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[Event] = []
    async with measuring(said.append, path=tmp_path / "file" / "measuring.lock") as held:
        assert not held
    assert len(said) == 1
